//! R12: children of the user's own, before, amid and after a restart, inherit no descriptor of ours.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

use portcullis::{Accepted, Generation, StartCommand};

use crate::harness::{Place, Process, Target, example, within};

/// What a child finds open beside the standard descriptors and the directory that it looks at.
fn inherited() -> BTreeSet<String> {
    let listed = Command::new("/bin/ls")
        .args(["-l", "/proc/self/fd"])
        .stdin(Stdio::null())
        .output()
        .expect("a list of descriptors");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let entries = listed.lines().filter_map(|line| line.split_once(" -> "));
    let number = |entry: &str| entry.rsplit(' ').next().and_then(|number| number.parse::<u32>().ok());
    entries
        .filter(|(entry, leads_to)| {
            number(entry).is_some_and(|number| number > 2) && !leads_to.ends_with("/fd")
        })
        .map(|(_, leads_to)| leads_to.to_owned())
        .collect()
}

/// This process is the generation that restarts, and starts children all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amid_a_restart() {
    // What whoever runs this test has left open.
    let left_open = inherited();
    let place = Place::new();
    let address = place.address(6789);
    let command = StartCommand::new(
        example("echo"),
        ["--bind", &format!("tcp://{address}"), "--admin", &format!("tcp://{}", place.address(9100))],
    );
    let generation = Generation::builder().signals(false).start_command(command);
    let generation = generation.start().await.expect("it starts");
    let listener = generation.listen("echo", format!("tcp://{address}")).expect("an address of ours");
    let serving = tokio::spawn(listener.serve(tower::service_fn(async |connection: Accepted| {
        let (mut reader, mut writer) = tokio::io::split(connection);
        tokio::io::copy(&mut reader, &mut writer).await.map(drop)
    })));
    let target = Target::tcp(address);
    let mut held = target.connect().await.expect("a connection");
    held.echo(1000).await.expect("an echo");

    let restarting = tokio::spawn({
        let generation = generation.clone();
        async move { generation.restart().await }
    });
    let mut children = 0;
    let mut look = async |until: &dyn Fn() -> bool| {
        while !until() {
            let found = tokio::task::spawn_blocking(inherited).await.expect("no panic");
            assert!(
                found.is_subset(&left_open),
                "child {children} has {found:?}, and {left_open:?} was open"
            );
            children += 1;
        }
        children
    };
    look(&|| restarting.is_finished()).await;
    let restarted = within("the restart", restarting).await.expect("no panic").expect("it succeeds");
    let successor = Process::new(restarted.pid);
    let more = look(&{
        let begun = std::cell::Cell::new(0);
        move || begun.replace(begun.get() + 1) >= 5
    })
    .await;
    assert!(more > 10, "too few children to prove anything: {more}");

    held.echo(1000).await.expect("it drains");
    held.finish().await.expect("an orderly end");
    within("the drain", serving).await.expect("no panic").expect("it drains");
    target.visit(1000).await.expect("the successor serves");
    successor.signal(crate::harness::Signal::TERM);
    successor.ended().await;
}
