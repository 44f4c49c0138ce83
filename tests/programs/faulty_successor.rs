//! A successor that goes wrong, in the way that its first argument says: what `tests/` starts instead of `echo` to
//! prove that a predecessor survives it.

use std::{future::pending, process::exit};

use portcullis::{Accepted, Generation};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mode = std::env::args().nth(1).unwrap_or_default();
    match mode.as_str() {
        "exit-before-hello" => exit(3),
        "hang-before-hello" => pending().await,
        "garbage" => garbage(),
        _ => {}
    }
    let mut builder = Generation::builder();
    if let Some(path) = std::env::var_os("TAKEOVER_PATH") {
        builder = builder.control(path);
    }
    let generation = builder.start().await.expect("the sockets are handed over");
    assert!(generation.number() > 1, "not a successor");
    match mode.as_str() {
        "exit-after-sockets" => exit(3),
        "hang-after-sockets" => pending().await,
        _ => {}
    }
    // Not the address that it was handed: the listener is bound anew, which must leave the old one alone.
    let listener = generation.listen("echo", "tcp://127.0.0.1:0").expect("a port of its own");
    match mode.as_str() {
        "exit-while-starting" => exit(3),
        "hang-before-ready" => {
            let _hold = generation.hold();
            let service = tower::service_fn(|_: Accepted| async { Ok::<_, std::io::Error>(()) });
            listener.serve(service).await.expect("held for ever");
        }
        mode => panic!("no such mode: {mode:?}"),
    }
}

/// Answers on the handoff socket with what is no message.
fn garbage() -> ! {
    use std::{
        io::Write,
        os::fd::{FromRawFd, OwnedFd},
    };

    let variable = std::env::var("PORTCULLIS_HANDOFF").expect("started by a predecessor");
    let descriptor = variable.split(':').next().and_then(|number| number.parse().ok()).expect("a descriptor");
    // SAFETY: the predecessor opened it for this process, and nothing else here takes it.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let mut socket = std::os::unix::net::UnixStream::from(socket);
    socket.write_all(b"\0\0\0\x05hello and more").expect("the predecessor listens");
    loop {
        std::thread::park();
    }
}
