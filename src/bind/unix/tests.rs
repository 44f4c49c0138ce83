use std::{
    os::{
        fd::AsFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    sync::Barrier,
};

use rustix::io::{FdFlags, fcntl_getfd};
use tempfile::TempDir;

use super::*;

struct Place {
    _directory: TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    Place { path: directory.path().join("echo"), _directory: directory }
}

impl Place {
    fn uri(&self) -> ListenAddr {
        format!("unix://{}", self.path.display()).parse().unwrap()
    }

    fn leave_a_stale_socket(&self) {
        drop(UnixListener::bind(&self.path).unwrap());
        assert!(self.path.exists());
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path.parent().unwrap()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// As a listener does it at its end: the socket is closed after it.
#[track_caller]
fn unlink_if_ours(socket: ListeningSocket) -> bool {
    let ListeningSocket::Unix(listener, path) = socket else { panic!("not a Unix socket") };
    path.unlink_if_ours(listener.as_fd()).unwrap()
}

#[test]
fn a_free_path_is_bound_and_unlinked_in_the_end() {
    let place = place();
    let socket = place.uri().bind().unwrap();
    UnixStream::connect(&place.path).unwrap();
    assert_eq!(place.names(), ["echo"], "no lock file");
    assert!(unlink_if_ours(socket));
    assert!(place.names().is_empty());
}

#[test]
fn a_stale_path_is_taken_over() {
    let place = place();
    place.leave_a_stale_socket();
    let _socket = place.uri().bind().unwrap();
    UnixStream::connect(&place.path).unwrap();
}

#[test]
fn a_live_server_is_left_alone() {
    let place = place();
    let server = UnixListener::bind(&place.path).unwrap();
    let error = place.uri().bind().unwrap_err();
    assert!(matches!(error, BindError::LiveServer { .. }), "{error:?}");
    assert!(error.to_string().contains(place.path.to_str().unwrap()), "{error}");
    drop(server.accept().unwrap());
    UnixStream::connect(&place.path).unwrap();
}

#[test]
fn a_live_server_whose_queue_is_full_is_left_alone() {
    let place = place();
    let _server = place.uri().backlog(0).bind().unwrap();
    let mut waiting = Vec::new();
    let full = loop {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
        match socket.connect(&SockAddr::unix(&place.path).unwrap()) {
            Ok(()) => waiting.push(socket),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    let error = place.uri().bind().unwrap_err();
    assert!(matches!(error, BindError::LiveServer { .. }), "{error:?}");
}

#[test]
fn a_live_datagram_server_is_left_alone() {
    let place = place();
    let _server = UnixDatagram::bind(&place.path).unwrap();
    let error = place.uri().bind().unwrap_err();
    assert!(matches!(error, BindError::LiveServer { .. }), "{error:?}");
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let file = place();
    fs::write(&file.path, "precious").unwrap();
    let directory = place();
    fs::create_dir(&directory.path).unwrap();
    let link = place();
    link.leave_a_stale_socket();
    let target = link.path.with_file_name("target");
    fs::rename(&link.path, &target).unwrap();
    std::os::unix::fs::symlink(&target, &link.path).unwrap();

    for (place, what) in [(&file, "a regular file"), (&directory, "a directory"), (&link, "a symbolic link")]
    {
        let error = place.uri().bind().unwrap_err();
        assert!(matches!(&error, BindError::NotASocket { found, .. } if *found == what), "{error:?}");
    }
    assert_eq!(fs::read_to_string(&file.path).unwrap(), "precious");
    assert!(directory.path.is_dir());
    assert!(link.path.is_symlink() && target.exists());
}

#[test]
fn a_path_replaced_by_somebody_else_is_left_alone() {
    let place = place();
    let ours = place.uri().bind().unwrap();
    fs::remove_file(&place.path).unwrap();
    let _theirs = UnixListener::bind(&place.path).unwrap();
    assert!(!unlink_if_ours(ours));
    UnixStream::connect(&place.path).unwrap();
}

#[test]
fn a_path_that_is_gone_is_not_an_error() {
    let Place { _directory, path } = place();
    let uri = || format!("unix://{}", path.display()).parse::<ListenAddr>().unwrap();
    let socket = uri().bind().unwrap();
    fs::remove_file(&path).unwrap();
    assert!(!unlink_if_ours(socket));

    let socket = uri().bind().unwrap();
    drop(_directory);
    assert!(!unlink_if_ours(socket));
}

#[test]
fn a_path_replaced_before_it_is_handed_down_is_left_alone() {
    let place = place();
    let ours = place.uri().bind().unwrap();
    let description = ours.describe();
    fs::remove_file(&place.path).unwrap();
    let _theirs = UnixListener::bind(&place.path).unwrap();

    let handed = ours.as_fd().try_clone_to_owned().unwrap();
    let inherited = ListeningSocket::inherited("echo", handed, &description).unwrap();
    assert!(!unlink_if_ours(inherited));
    assert!(place.path.exists());
}

#[test]
fn a_path_of_somebody_else_is_left_alone() {
    let place = place();
    let listener = UnixListener::bind(&place.path).unwrap();
    let found = ListeningSocket::found(listener.into(), UnixPath::of_another).unwrap();
    // As their successor is told.
    let handed = found.as_fd().try_clone_to_owned().unwrap();
    let inherited = ListeningSocket::inherited("echo", handed, &found.describe()).unwrap();
    assert!(!unlink_if_ours(found));
    assert!(!unlink_if_ours(inherited));
    assert!(place.path.exists());
}

#[test]
fn a_path_that_comes_back_is_ours_while_it_is_a_socket() {
    let place = place();
    let listener = UnixListener::bind(&place.path).unwrap();
    let found = ListeningSocket::found(listener.into(), UnixPath::come_back).unwrap();
    assert!(unlink_if_ours(found));
    assert!(!place.path.exists());
}

#[test]
fn of_many_starters_at_once_one_wins_and_is_reachable() {
    for _ in 0..20 {
        let place = place();
        place.leave_a_stale_socket();
        let uri = place.uri();
        let starters = 8;
        let barrier = Barrier::new(starters);
        let results: Vec<_> = thread::scope(|scope| {
            let start = || {
                barrier.wait();
                uri.bind()
            };
            let threads: Vec<_> = (0..starters).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let won: Vec<_> = results.into_iter().filter_map(Result::ok).collect();
        assert_eq!(won.len(), 1);
        let ListeningSocket::Unix(listener, _) = &won[0] else { panic!() };
        // Behind the probes of the losers.
        let _client = UnixStream::connect(&place.path).unwrap();
        let accepted = std::iter::from_fn(|| listener.accept().ok()).count();
        assert_eq!(accepted, starters);
    }
}

#[test]
fn a_directory_that_somebody_keeps_locked_is_waited_for_and_then_used_without_the_lock() {
    let place = place();
    let directory = parent(&place.path);
    let held = lock(directory, Duration::ZERO).unwrap();
    assert!(held.is_some());
    assert!(lock(directory, LOCK_RETRY).unwrap().is_none());
    let bound = place.uri().bind().unwrap();
    assert!(unlink_if_ours(bound));
    drop(held);
    assert!(lock(directory, Duration::ZERO).unwrap().is_some());
}

#[test]
fn the_mode_is_exact_whatever_the_umask() {
    for mode in [0o600, 0o660, 0o666, 0o777, 0o000] {
        let place = place();
        let _socket = place.uri().mode(mode).bind().unwrap();
        assert_eq!(fs::metadata(&place.path).unwrap().mode() & 0o7777, mode, "{mode:o}");
    }
}

#[test]
fn the_mode_is_never_wider_than_asked_for() {
    for mode in [0o600, 0o660, 0o666, 0o000] {
        let place = place();
        let _socket = bound(&place.path, Some(mode)).unwrap();
        assert_eq!(fs::metadata(&place.path).unwrap().mode() & 0o7777 & !mode, 0, "{mode:o}");
    }
}

#[test]
fn a_mode_with_other_bits_is_refused() {
    let place = place();
    let error = place.uri().mode(0o1777).bind().unwrap_err();
    assert!(matches!(error, BindError::Mode { mode: 0o1777, .. }), "{error:?}");
    assert!(error.to_string().contains("0o1777"), "{error}");
    assert!(place.names().is_empty());
}

#[test]
fn a_missing_directory_is_named() {
    let place = place();
    let missing = place.path.join("deeper");
    let error =
        format!("unix://{}/echo", missing.display()).parse::<ListenAddr>().unwrap().bind().unwrap_err();
    assert!(matches!(&error, BindError::NoDirectory { directory, .. } if *directory == missing), "{error:?}");
    assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");

    fs::write(&place.path, "").unwrap();
    let error =
        format!("unix://{}/echo", place.path.display()).parse::<ListenAddr>().unwrap().bind().unwrap_err();
    assert!(matches!(error, BindError::NoDirectory { .. }), "{error:?}");
}

#[test]
fn a_bound_socket_does_not_block_and_closes_on_exec() {
    let place = place();
    let socket = place.uri().bind().unwrap();
    assert!(fcntl_getfd(&socket).unwrap().contains(FdFlags::CLOEXEC));
    let ListeningSocket::Unix(listener, _) = socket else { panic!() };
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}
