//! A server made by hand, with sd_notify(3) and sd_listen_fds(3) alone: what `tests/` start below a supervisor to prove
//! what it does for any program, and what it puts up with.
//!
//! `hand_made --supervise MODE ADDRESS` is the supervisor, `hand_made MODE ADDRESS` the server below it. A client
//! sends a line and is answered with the pid; some lines end the process instead.

use std::{
    env,
    io::{self, BufRead, BufReader, IoSlice, Write},
    net::{TcpListener, TcpStream},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    process::{Command, ExitCode, exit},
};

use nix::sys::{
    memfd::{MFdFlags, memfd_create},
    socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socket},
};
use portcullis::{StartCommand, Supervisor};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["--supervise", ..] => {
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::DEBUG)
                .with_ansi(false)
                .with_writer(io::stderr)
                .init();
            let server = StartCommand::itself().without("--supervise");
            Supervisor::new(server).run().unwrap_or_else(|error| {
                eprintln!("hand_made: {error}");
                ExitCode::from(9)
            })
        }
        [mode, address] => serve(mode, address),
        _ => panic!("usage: hand_made [--supervise] MODE ADDRESS"),
    }
}

fn serve(mode: &str, address: &str) -> ! {
    let passed = passed();
    match mode {
        "serve" | "many" => {}
        // The first one serves, the others do not even start.
        "once" if passed.is_some() => exit(3),
        "once" => {}
        "fail" => exit(3),
        "finish" => {
            notify(b"READY=1", &[]);
            exit(0);
        }
        "nonsense" => nonsense(),
        "orphans" => orphans(),
        mode => panic!("no such mode: {mode}"),
    }
    let (listener, names) = passed
        .unwrap_or_else(|| (TcpListener::bind(address).expect("the address is free"), "nothing".to_owned()));
    if mode == "many" {
        store("gap", 5);
    }
    notify(b"FDSTORE=1\nFDNAME=by hand", &[listener.as_raw_fd()]);
    if mode == "many" {
        store("early", 50);
        // Numbers become free that are lower than those in use; the last ones get them.
        for index in 0..5 {
            notify(format!("FDSTOREREMOVE=1\nFDNAME=gap {index}").as_bytes(), &[]);
        }
        store("late", 3);
    }
    notify(b"READY=1", &[]);
    println!("hand made: process {} serves, was passed {names}", std::process::id());
    for client in listener.incoming() {
        answer(client.expect("a connection"));
    }
    exit(0)
}

fn answer(mut client: TcpStream) {
    let mut word = String::new();
    _ = BufReader::new(&client).read_line(&mut word);
    match word.trim_end() {
        "exit 0" => exit(0),
        "exit 7" => exit(7),
        "abort" => std::process::abort(),
        "forget" => {
            notify(b"FDSTOREREMOVE=1\nFDNAME=by hand", &[]);
            exit(7);
        }
        // As one does that was told to end by somebody else than the supervisor.
        "stop" => {
            notify(b"STOPPING=1", &[]);
            exit(7);
        }
        _ => _ = write!(client, "{}", std::process::id()),
    }
}

/// The socket that was passed, and the names of all that were.
fn passed() -> Option<(TcpListener, String)> {
    if env::var("LISTEN_PID").ok()?.parse() != Ok(std::process::id()) {
        return None;
    }
    let count: RawFd = env::var("LISTEN_FDS").expect("it comes with LISTEN_PID").parse().expect("a number");
    assert!(count > 0, "there are none");
    // SAFETY: whoever started this process has opened it for it, and nothing else here takes it.
    let first = unsafe { OwnedFd::from_raw_fd(3) };
    let names = env::var("LISTEN_FDNAMES").expect("it comes with LISTEN_PID");
    assert_eq!(names.split(':').count(), usize::try_from(count).expect("it is positive"), "{names}");
    for (number, name) in (4..).zip(names.split(':').skip(1)) {
        let found = std::fs::read_link(format!("/proc/self/fd/{number}")).expect("it was passed");
        assert_eq!(found.to_str(), Some(&*format!("/memfd:{name} (deleted)")), "descriptor {number}");
    }
    Some((first.into(), names))
}

/// Tells the supervisor.
fn notify(text: &[u8], descriptors: &[RawFd]) {
    let name = env::var("NOTIFY_SOCKET").expect("a supervisor");
    let name = name.strip_prefix('@').expect("an abstract address");
    let address = UnixAddr::new_abstract(name.as_bytes()).expect("an address");
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
    let socket = socket.expect("a socket");
    let rights = [ControlMessage::ScmRights(descriptors)];
    let control = if descriptors.is_empty() { &rights[..0] } else { &rights[..] };
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(text)], control, MsgFlags::empty(), Some(&address))
        .expect("the supervisor hears");
}

/// Has files kept that are called as their descriptors are.
fn store(name: &str, count: usize) {
    for index in 0..count {
        let name = format!("{name} {index}");
        let file = memfd_create(&*name, MFdFlags::MFD_CLOEXEC).expect("a file");
        notify(format!("FDSTORE=1\nFDNAME={name}").as_bytes(), &[file.as_raw_fd()]);
    }
}

/// All that one can say wrong.
fn nonsense() {
    let (reader, _writer) = io::pipe().expect("a pipe");
    let many = vec![reader.as_raw_fd(); 253];
    let mut other =
        Command::new("cat").stdin(reader.try_clone().expect("a pipe")).spawn().expect("cat is there");
    for text in [
        &b""[..],
        b"\0\0\0",
        b"\xff\xfe\n=\n==1",
        b"MAINPID=0",
        b"MAINPID=1",
        b"MAINPID=4194304",
        b"FDSTOREREMOVE=1\nFDNAME=none",
        b"FDSTORE=1",
        &[b'x'; 5000],
        &[b'\n'; 60_000],
    ] {
        notify(text, &[]);
        notify(text, &many);
    }
    store("junk", 1500);
    for _ in 0..500 {
        notify(format!("MAINPID={}", other.id()).as_bytes(), &[]);
        notify(format!("MAINPID={}\nREADY=1", std::process::id()).as_bytes(), &[]);
    }
    notify(b"FDSTOREREMOVE=1\nFDNAME=stored", &[]);
    for index in 0..1500 {
        notify(format!("FDSTOREREMOVE=1\nFDNAME=junk {index}").as_bytes(), &[]);
    }
    other.kill().and_then(|()| other.wait()).expect("a child of ours");
}

/// Leaves processes behind whose parent is gone, and lets them end.
fn orphans() {
    let (reader, writer) = io::pipe().expect("a pipe");
    for _ in 0..20 {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "exec 3<&0; cat <&3 &"]).stdin(reader.try_clone().expect("a pipe"));
        assert!(shell.status().expect("a shell").success());
    }
    drop(writer);
}
