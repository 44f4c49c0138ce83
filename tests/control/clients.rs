//! Who connects to the control path and says nothing, half of something, nonsense, or is another user is turned away; the
//! server serves and restarts as if nobody had been there.

use std::{
    fs,
    os::{
        fd::{AsRawFd, RawFd},
        unix::{fs::PermissionsExt, net::UnixListener},
    },
    path::Path,
    time::{Duration, Instant},
};

use harness::{Ctl, Echo, Exit, Kind, Load, copy_program, until, within};
use nix::{
    sys::socket::{ControlMessage, MsgFlags, sendmsg},
    unistd::geteuid,
};
use rustix::{process::Uid, thread::set_thread_res_uid};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::outcome::{gated, open};

async fn connect(path: &Path) -> UnixStream {
    UnixStream::connect(path).await.expect("the control path is there")
}

/// Sends this, and gives what comes back until the server hangs up.
pub(crate) async fn said_to(path: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(path).await;
    // The server may have hung up before all of it was taken.
    _ = stream.write_all(bytes).await;
    answered(stream).await
}

async fn answered(mut stream: UnixStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // It resets a connection whose bytes it has not read.
    _ = within("the server hangs up", stream.read_to_end(&mut answer)).await;
    answer
}

pub(crate) fn frame(json: &str) -> Vec<u8> {
    let mut frame = u32::try_from(json.len()).expect("short").to_be_bytes().to_vec();
    frame.extend_from_slice(json.as_bytes());
    frame
}

#[tokio::test]
async fn a_client_of_another_protocol_is_rejected() {
    let server = Echo::new(Kind::Tcp).controlled().start().await;
    let load = Load::on(server.target());
    let path = server.control();
    let too_long = (64_u32 * 1024 + 1).to_be_bytes();
    for garbage in [
        &b"GET /metrics HTTP/1.1\r\n\r\n"[..],
        &[0; 64],
        &[0xff; 64],
        &too_long,
        &frame("restart"),
        &frame("{}"),
        &frame(r#"{"type":"request"}"#),
        &frame(r#"{"type":"hello"}"#),
        &frame(r#"{"type":["request"],"command":"drain"}"#),
    ] {
        assert_eq!(said_to(&path, garbage).await, b"", "{garbage:?}");
    }
    let refused = |line: &str| line.contains("a message of 65537 bytes");
    server.log().wait_from(0, "it was refused by its length, and not waited for", refused).await;
    // What a newer client may say is answered.
    for (unknown, says) in [
        (r#"{"type":"weather"}"#, "does not support this type of message"),
        (r#"{"type":"request","command":"dance","well":true}"#, "does not support the command `dance`"),
    ] {
        let answer = String::from_utf8_lossy(&said_to(&path, &frame(unknown)).await).into_owned();
        assert!(answer.contains(r#""type":"abort""#) && answer.contains(says), "{answer}");
    }
    let known = r#"{"type":"request","command":"status","later":[1]}"#;
    let answer = String::from_utf8_lossy(&said_to(&path, &frame(known)).await).into_owned();
    assert!(answer.contains(r#""phase":"serving""#), "{answer}");

    server.ctl(&["status"]).await.done();
    load.more(10).await;
    load.stop().await.assert_clean(10);
    assert_eq!(server.terminate().await, Exit::Code(0));
}

#[tokio::test]
async fn a_client_that_sends_descriptors_is_rejected() {
    let server = Echo::new(Kind::Tcp).controlled().start().await;
    let before = server.serving().descriptors().len();
    for _ in 0..20 {
        let stream = connect(&server.control()).await;
        stream.writable().await.expect("a connection");
        let null = fs::File::open("/dev/null").expect("it is there");
        let many: Vec<RawFd> = std::iter::repeat_n(null.as_raw_fd(), 200).collect();
        let rights = [ControlMessage::ScmRights(&many)];
        let bytes = [std::io::IoSlice::new(&[0, 0, 0])];
        sendmsg::<()>(stream.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None).expect("they are sent");
        assert_eq!(answered(stream).await, b"");
    }
    until("they are closed", async || match server.serving().descriptors().len() {
        now if now <= before => Ok(()),
        now => Err((before, now)),
    })
    .await;
    server.ctl(&["status"]).await.done();
}

/// Fifty of them, some silent, some in the middle of a frame.
#[tokio::test]
async fn a_silent_client_is_disconnected() {
    let mut server = Echo::new(Kind::Tcp).controlled().start().await;
    let load = Load::on(server.target());
    let before = server.serving().descriptors().len();
    let mut rogues = Vec::new();
    for number in 0..50 {
        let mut rogue = connect(&server.control()).await;
        match number % 3 {
            0 => {}
            1 => rogue.write_all(&[0, 0]).await.expect("bytes are taken"),
            _ => rogue.write_all(&frame(r#"{"type":"request""#)[..10]).await.expect("bytes are taken"),
        }
        rogues.push(rogue);
    }
    // They cost it sixteen descriptors, beside those of the load.
    let most = before + 16 + 8;
    load.more(10).await;
    let now = server.serving().descriptors().len();
    assert!(now <= most, "{now} descriptors, where there were {before}");
    // A restart does not wait for them.
    let begun = Instant::now();
    let predecessor = server.restart().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    assert_eq!(predecessor.ended().await, Exit::Code(0));
    // An operator's turn comes when theirs are over.
    server.ctl(&["status"]).await.done();

    for _ in 0..50 {
        rogues.push(connect(&server.control()).await);
    }
    // Nor does the end.
    let begun = Instant::now();
    load.more(10).await;
    load.stop().await.assert_clean(10);
    assert_eq!(server.terminate().await, Exit::Code(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    let cut_off = server.log().count_from(0, |line| line.contains("drain_forced"));
    assert_eq!(cut_off, 0, "none of them was waited for");
    for rogue in rogues {
        assert_eq!(answered(rogue).await, b"");
    }
}

/// As many as are heard at the same time ask for a drain; some wait for its end, some go. It waits for none of them.
#[tokio::test]
async fn clients_that_do_not_wait_for_the_answer_delay_no_drain() {
    let server = Echo::new(Kind::Tcp).controlled().start().await;
    let mut client = server.target().connect().await.expect("a connection");
    client.echo(10).await.expect("an echo");
    let drain = frame(r#"{"type":"request","command":"drain"}"#);
    let mut waiting = Vec::new();
    for _ in 0..16 {
        let mut rogue = connect(&server.control()).await;
        rogue.write_all(&drain).await.expect("bytes are taken");
        waiting.push(rogue);
    }
    until("all of them were heard", async || {
        match server.log().count_from(0, |line| line.contains("control request")) {
            16 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    waiting.truncate(8);
    client.finish().await.expect("an orderly end");
    assert_eq!(server.serving().ended().await, Exit::Code(0));
    for rogue in waiting {
        let answer = answered(rogue).await;
        assert!(answer.ends_with(br#"{"type":"drained","forced":0}"#), "{answer:?}");
    }
}

/// More than are heard at the same time wait for a restart that does not end.
#[tokio::test]
async fn clients_that_wait_for_a_restart_keep_no_others_out() {
    const MANY: usize = 40;

    let (echo, script, _) = Echo::new(Kind::Tcp).controlled().start_script();
    let (gate, gated) = gated(&echo, "exit 3");
    script.write(&gated);
    let server = echo.start().await;
    let restart = frame(r#"{"type":"request","command":"restart"}"#);
    let mut waiting = Vec::new();
    for _ in 0..MANY {
        let mut client = connect(&server.control()).await;
        client.write_all(&restart).await.expect("bytes are taken");
        waiting.push(client);
    }
    let heard = |line: &str| line.contains("control request") && line.contains("restart");
    until("all of them were heard", async || match server.log().count_from(0, heard) {
        MANY => Ok(()),
        other => Err(other),
    })
    .await;
    server.ctl(&["status"]).await.done();

    // A client that has gone is not waited for, and its restart goes on.
    let before = server.serving().descriptors().len();
    // A half-close is no end.
    waiting[0].shutdown().await.expect("a connection");
    waiting.truncate(1);
    until("their connections are closed", async || match server.serving().descriptors().len() {
        now if now + MANY - 1 <= before => Ok(()),
        now => Err((before, now)),
    })
    .await;
    // The restart under way ends, then the one that follows, most of whose clients are gone.
    open(&gate).await;
    let begun = |line: &str| line.contains("restart requested");
    until("the one that follows has begun", async || match server.log().count_from(0, begun) {
        2 => Ok(()),
        other => Err(other),
    })
    .await;
    open(&gate).await;
    let answer = answered(waiting.remove(0)).await;
    assert!(answer.windows(7).any(|word| word == b"crashed"), "{answer:?}");
    server.ctl(&["status"]).await.done();
}

/// There is a bound, and it concerns those alone that ask for more.
#[tokio::test]
async fn a_client_too_many_that_waits_is_rejected() {
    const MOST: usize = 128;

    let server = Echo::new(Kind::Tcp).controlled().start().await;
    let mut client = server.target().connect().await.expect("a connection");
    client.echo(10).await.expect("an echo");
    let drain = frame(r#"{"type":"request","command":"drain"}"#);
    let mut waiting = Vec::new();
    for _ in 0..MOST {
        let mut rogue = connect(&server.control()).await;
        rogue.write_all(&drain).await.expect("bytes are taken");
        waiting.push(rogue);
    }
    until("all of them were heard", async || {
        match server.log().count_from(0, |line| line.contains("control request")) {
            MOST => Ok(()),
            other => Err(other),
        }
    })
    .await;
    server.ctl(&["drain"]).await.failed(&["128 clients already wait"]);
    assert!(server.ctl(&["status"]).await.done().contains("draining"));
    client.finish().await.expect("an orderly end");
    assert_eq!(server.serving().ended().await, Exit::Code(0));
}

#[tokio::test]
#[ignore = "needs root: becomes another user"]
async fn a_client_of_another_user_is_rejected() {
    const NOBODY: u32 = 65_534;

    assert!(geteuid().is_root(), "only root can become another user");
    let server = Echo::new(Kind::Tcp).controlled().start().await;
    let program = server.place().path("ctl");
    copy_program(&harness::program("ctl"), &program);
    let chmod = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a file of ours");
    };
    let stranger = Ctl::new(server.control()).program(&program).user(NOBODY);

    // The permissions of the path keep them out to begin with.
    chmod(server.place().directory(), 0o755);
    stranger.ask(&["status"]).await.failed(&["cannot connect", "Permission denied"]);

    // And whoever opens it to everybody has not opened the server.
    chmod(&server.control(), 0o777);
    for command in ["restart", "drain", "status", "connections"] {
        stranger.ask(&[command]).await.failed(&["refused", "only root and the user of this server"]);
    }
    let told = |line: &str| line.contains("control connection rejected") && line.contains("65534");
    until("each is told of in the log", async || match server.log().count_from(0, told) {
        4 => Ok(()),
        other => Err(other),
    })
    .await;
    assert!(server.ctl(&["status"]).await.done().contains("serving: generation 1"));
}

/// A socket of another user's is not believed.
#[tokio::test]
#[ignore = "needs root: becomes another user"]
async fn a_server_of_another_user_is_rejected() {
    const NOBODY: u32 = 65_534;
    const SOMEBODY: u32 = 65_533;

    assert!(geteuid().is_root(), "only root can become another user");
    let place = harness::Place::new();
    let program = place.path("ctl");
    copy_program(&harness::program("ctl"), &program);
    fs::set_permissions(place.directory(), fs::Permissions::from_mode(0o777)).expect("a directory of ours");
    let path = place.path("control.sock");
    let listening = std::thread::spawn({
        let path = path.clone();
        move || {
            // Of this thread alone: that is what the system call does.
            set_thread_res_uid(Uid::ROOT, Uid::from_raw(NOBODY), Uid::ROOT).expect("root becomes nobody");
            UnixListener::bind(path)
        }
    });
    let _socket = listening.join().expect("no panic").expect("a directory of everybody's");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("root may");

    let stranger = Ctl::new(&path).program(&program).user(SOMEBODY);
    stranger.ask(&["status"]).await.failed(&["served by user 65534", "not trusted"]);
}
