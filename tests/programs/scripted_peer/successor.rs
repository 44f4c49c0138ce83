//! A successor: it takes the listener `echo`, and answers whoever connects with a line of its own.

use std::{
    io::Write,
    net::TcpListener,
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    thread,
};

use rustix::event::{PollFd, PollFlags, poll};
use serde_json::Value;

use crate::{
    channel::Channel,
    transcript::{Line, Speaker},
};

pub(crate) fn play(lines: Vec<Line>, variable: &str) {
    let [descriptor, pid, nonce] = variable.split(':').collect::<Vec<_>>()[..] else {
        panic!("not descriptor:pid:nonce: {variable:?}")
    };
    assert_eq!(pid.parse(), Ok(std::process::id()), "meant for us");
    let descriptor = descriptor.parse().expect("a number");
    // SAFETY: the predecessor opened it for this process, and nothing else here takes it.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let replacements = vec![
        (r#""pid":4711"#.to_owned(), format!(r#""pid":{}"#, std::process::id())),
        ("00c0ffee00c0ffee".to_owned(), nonce.to_owned()),
    ];
    let mut channel = Channel::new(UnixStream::from(socket), replacements);

    let mut listeners = Value::Null;
    for line in lines {
        let message = channel.play(&line, Speaker::Successor, &mut Vec::new());
        match message["type"].as_str() {
            Some("manifest") => listeners = message["listeners"].clone(),
            Some("commit") => serve(&listeners, channel.take_descriptors()),
            // The process that serves is this one for good, and the golden lines are over.
            Some("abort") => std::process::exit(1),
            _ => {}
        }
    }
    eprintln!("scripted peer: done");
    loop {
        thread::park();
    }
}

fn serve(listeners: &Value, descriptors: Vec<OwnedFd>) {
    let entries = listeners.as_array().expect("a list").iter();
    let (_, listener) =
        entries.zip(descriptors).find(|(entry, _)| entry["name"] == "echo").expect("the listener `echo`");
    let listener = TcpListener::from(listener);
    thread::spawn(move || {
        loop {
            // It is non-blocking, and that is the same for all who have it.
            let mut polled = [PollFd::new(&listener, PollFlags::IN)];
            poll(&mut polled, None).expect("a socket can be polled");
            if let Ok((mut stream, _)) = listener.accept() {
                _ = stream.write_all(b"the scripted peer\n");
            }
        }
    });
}
