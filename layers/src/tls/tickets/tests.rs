//! The lives of keys and tickets, by a clock of the test's own.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;
use tokio_rustls::rustls::{pki_types::UnixTime, server::ProducesTickets, time_provider::TimeProvider};

use super::{
    TicketKeys, Ticketer,
    key::{ROTATION, TICKET_LIFETIME},
};
use crate::tls::TicketKeysError;

mod returning;

const HOUR: u64 = 60 * 60;
/// When the tests begin.
const START: u64 = 1_700_000_000;
const TRUST: [u8; 32] = [7; 32];

#[derive(Clone, Debug)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(START)))
    }

    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.now())))
    }
}

fn own_keys() -> TicketKeys {
    TicketKeys::generate_at(START).unwrap()
}

fn ticketer(keys: &TicketKeys, clock: &Clock) -> Ticketer {
    Ticketer::new(keys.clone(), TRUST, None, Arc::new(clock.clone()))
}

fn opens(ticketer: &Ticketer, ticket: &[u8]) -> bool {
    ticketer.decrypt(ticket).is_some_and(|session| session == b"a session")
}

fn issue(ticketer: &Ticketer) -> Vec<u8> {
    ticketer.encrypt(b"a session").unwrap()
}

/// The name of the key that has sealed it.
fn name(ticket: &[u8]) -> &[u8] {
    &ticket[..16]
}

fn file(lines: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tickets.keys");
    fs::write(&path, lines).unwrap();
    (directory, path)
}

fn line(digit: char) -> String {
    std::iter::repeat_n(digit, 64).chain(['\n']).collect()
}

#[test]
fn lifetimes_are_within_those_of_the_standard() {
    assert_eq!((ROTATION.as_secs(), TICKET_LIFETIME.as_secs()), (6 * HOUR, 6 * HOUR));
    let ticketer = ticketer(&own_keys(), &Clock::new());
    assert!(ticketer.enabled());
    assert_eq!(u64::from(ticketer.lifetime()), TICKET_LIFETIME.as_secs());
    assert!(ticketer.lifetime() <= 7 * 24 * 60 * 60, "RFC 8446, 4.6.1");
}

#[test]
fn a_key_seals_for_six_hours_and_the_next_one_does_then() {
    let clock = Clock::new();
    let ticketer = ticketer(&own_keys(), &clock);
    let first = issue(&ticketer);
    clock.pass(6 * HOUR - 1);
    assert_eq!(name(&issue(&ticketer)), name(&first));
    clock.pass(1);
    let next = issue(&ticketer);
    assert_ne!(name(&next), name(&first));
    assert_eq!(name(&issue(&ticketer)), name(&next), "one rotation, not one a ticket");
    assert!(opens(&ticketer, &next) && opens(&ticketer, &first));
}

#[test]
fn a_ticket_is_good_for_six_hours_whichever_key_seals_by_then() {
    let clock = Clock::new();
    let ticketer = ticketer(&own_keys(), &clock);
    for age_of_the_key in [0, 3 * HOUR, 6 * HOUR - 1] {
        clock.set(START + age_of_the_key);
        let ticket = issue(&ticketer);
        clock.pass(6 * HOUR);
        assert!(opens(&ticketer, &ticket));
        clock.pass(1);
        assert!(!opens(&ticketer, &ticket));
        clock.set(START);
    }
}

#[test]
fn a_key_that_opens_nothing_any_more_is_forgotten() {
    let clock = Clock::new();
    let keys = own_keys();
    let ticketer = ticketer(&keys, &clock);
    let one_key = keys.export().len();
    let mut names = vec![name(&issue(&ticketer)).to_vec()];
    for _ in 0..20 {
        clock.pass(6 * HOUR);
        names.push(name(&issue(&ticketer)).to_vec());
        let exported = keys.export();
        // Two of them: the one that seals, and the one before it.
        assert_eq!(exported.len(), 2 * one_key - 1);
        for (age, name) in names.iter().rev().enumerate() {
            assert_eq!(exported.windows(16).any(|window| window == name), age < 2);
        }
    }
    clock.pass(1000 * HOUR);
    keys.retire_at(clock.now());
    assert_eq!(keys.export().len(), 1, "an idle server keeps none of them");
    issue(&ticketer);
    assert_eq!(keys.export().len(), one_key);
}

#[test]
fn a_clock_that_is_set_back_makes_neither_a_key_nor_a_ticket_good_for_ever() {
    let clock = Clock::new();
    let keys = own_keys();
    let ticketer = ticketer(&keys, &clock);
    let ticket = issue(&ticketer);
    clock.set(START - HOUR);
    let after = issue(&ticketer);
    assert_ne!(name(&after), name(&ticket), "a key of the future seals no more");
    assert!(opens(&ticketer, &after) && opens(&ticketer, &ticket), "an hour is no reason to forget sessions");
    clock.set(START - 7 * HOUR);
    assert!(!opens(&ticketer, &ticket), "nor are seven, but who knows how old it is");

    // There and back, without end.
    let most = 1 + 8 * (keys.export().len() - 1) / 2;
    for round in 0..50 {
        clock.set(START - 100 * HOUR * round);
        issue(&ticketer);
        assert!(keys.export().len() <= most);
    }
}

#[test]
fn another_trust_opens_no_ticket_and_nothing_else_does() {
    let clock = Clock::new();
    let keys = own_keys();
    let ours = ticketer(&keys, &clock);
    let ticket = issue(&ours);
    let others = Ticketer::new(keys.clone(), [8; 32], None, Arc::new(clock.clone()));
    assert!(!opens(&others, &ticket));
    assert!(!opens(&ticketer(&own_keys(), &clock), &ticket), "other keys");
    for place in 0..ticket.len() {
        let mut broken = ticket.clone();
        broken[place] ^= 1;
        assert!(ours.decrypt(&broken).is_none(), "byte {place}");
        assert!(ours.decrypt(&ticket[..place]).is_none(), "the first {place} bytes");
    }
    assert!(opens(&ours, &ticket));
}

#[test]
fn no_two_tickets_are_the_same_and_none_shows_the_session() {
    let ticketer = ticketer(&own_keys(), &Clock::new());
    let (one, other) = (issue(&ticketer), issue(&ticketer));
    assert_ne!(one, other);
    assert!(!one.windows(9).any(|window| window == b"a session"));
    // The name of the key, the nonce, the moment, the tag.
    assert_eq!(one.len(), 16 + 12 + 8 + b"a session".len() + 16);
}

/// rustls would write the length of a longer one in two bytes, and break the handshake.
#[test]
fn a_ticket_that_is_too_long_is_not_given() {
    let ticketer = ticketer(&own_keys(), &Clock::new());
    assert!(ticketer.encrypt(&[0; 16 * 1024 - 52]).is_some());
    assert!(ticketer.encrypt(&[0; 16 * 1024 - 51]).is_none());
    assert!(ticketer.encrypt(&[0; 70_000]).is_none());
}

#[test]
fn another_process_opens_what_this_one_has_sealed_and_seals_for_what_is_left() {
    let clock = Clock::new();
    let (ours, theirs) = (own_keys(), own_keys());
    let before = issue(&ticketer(&ours, &clock));
    clock.pass(5 * HOUR);
    theirs.import_at(&ours.export(), START + 5 * HOUR).unwrap();
    let theirs = ticketer(&theirs, &clock);
    assert!(opens(&theirs, &before));
    let after = issue(&theirs);
    assert!(opens(&ticketer(&ours, &clock), &after));
    clock.pass(HOUR);
    assert_ne!(name(&issue(&theirs)), name(&after), "a key does not begin a new life in a new process");

    // One that was handed on too late is not used.
    let late = own_keys();
    late.import_at(&ours.export(), START + 12 * HOUR).unwrap();
    clock.set(START + 12 * HOUR);
    let late = ticketer(&late, &clock);
    assert_ne!(name(&issue(&late)), name(&before));
    assert!(!opens(&late, &before));
}

#[test]
fn bytes_that_are_no_keys_change_nothing() {
    let keys = own_keys();
    let good = keys.export();
    let too_many = [&[1][..], &good[1..].repeat(9)].concat();
    let longer = [&good[..], &[0]].concat();
    for garbage in [&b""[..], &[2], &good[..good.len() - 1], &longer, &[&[9], &good[1..]].concat(), &too_many]
    {
        assert!(
            matches!(keys.import_at(garbage, START), Err(TicketKeysError::Form)),
            "{} bytes",
            garbage.len()
        );
        assert_eq!(keys.export(), good);
    }
    keys.import_at(&[1], START).unwrap();
    assert_eq!(keys.export(), good, "an idle server has no keys to hand on");
    keys.import_at(&[&[1][..], &good[1..].repeat(8)].concat(), START).unwrap();
}

#[test]
fn keys_of_a_file_are_the_same_everywhere_and_do_not_rotate() {
    let clock = Clock::new();
    let (_directory, path) = file(&format!("\n{}  {}", line('a'), line('B')));
    let (one, other) = (TicketKeys::from_file(&path).unwrap(), TicketKeys::from_file(&path).unwrap());
    let (one, other) = (ticketer(&one, &clock), ticketer(&other, &clock));
    let first = issue(&one);
    assert!(opens(&other, &first));
    clock.pass(1000 * HOUR);
    let later = issue(&one);
    assert_eq!(name(&later), name(&first));
    assert!(opens(&other, &later));
    // The key is as good as ever, the ticket is not.
    assert!(!opens(&one, &first));
}

#[test]
fn what_is_imported_does_not_take_the_place_of_a_file() {
    let (_directory, path) = file(&line('a'));
    let keys = TicketKeys::from_file(&path).unwrap();
    let before = keys.export();
    keys.import_at(&own_keys().export(), START).unwrap();
    assert_eq!(keys.export(), before);
    // Nor the other way round: a key of a file is nobody's own, and has no age.
    let own = own_keys();
    let first = issue(&ticketer(&own, &Clock::new()));
    own.import_at(&before, START).unwrap();
    let ticket = issue(&ticketer(&own, &Clock::new()));
    assert!(opens(&ticketer(&own, &Clock::new()), &first), "its own are not forgotten for it");
    assert!(!opens(&ticketer(&keys, &Clock::new()), &ticket));
}

#[test]
fn a_new_line_on_top_seals_when_it_was_read_again_and_the_old_one_opens() {
    let clock = Clock::new();
    let (_directory, path) = file(&line('a'));
    let keys = TicketKeys::from_file(&path).unwrap();
    let ticketer = ticketer(&keys, &clock);
    let before = issue(&ticketer);
    fs::write(&path, line('b') + &line('a')).unwrap();
    assert_eq!(name(&issue(&ticketer)), name(&before), "nobody has read it yet");
    keys.take(keys.reread().unwrap().unwrap());
    assert_ne!(name(&issue(&ticketer)), name(&before));
    assert!(opens(&ticketer, &before));
    fs::write(&path, line('b')).unwrap();
    keys.take(keys.reread().unwrap().unwrap());
    assert!(!opens(&ticketer, &before));
    fs::write(&path, "").unwrap();
    assert!(keys.reread().is_err());
    issue(&ticketer);
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_line() {
    let told = |lines: &str| {
        let (_directory, path) = file(lines);
        let error = TicketKeys::from_file(&path).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("tickets.keys"), "{text}");
        (error, text)
    };
    for bad in
        ["a secret that is no key", &"a".repeat(63), &"a".repeat(65), &"g".repeat(64), &"\u{e9}".repeat(32)]
    {
        let (error, text) = told(&format!("{}\n{bad}\n", line('a')));
        assert!(matches!(error, TicketKeysError::Line { line: 3, .. }), "{error:?}");
        assert!(text.contains("line 3") && error.hint().unwrap().contains("openssl rand -hex 32"), "{text}");
        assert!(!format!("{error:?} {text}").contains(bad), "what may be a secret is in {text}");
    }
    let (error, _) = told(&(line('a') + &line('b') + &line('A')));
    assert!(matches!(error, TicketKeysError::Twice { line: 3, .. }), "{error:?}");
    assert!(matches!(told("\n \n").0, TicketKeysError::Empty { .. }));
    let lines = |count: usize| "123456789".chars().take(count).map(line).collect::<String>();
    assert!(matches!(told(&lines(9)).0, TicketKeysError::TooMany { most: 8, .. }));
    let (_directory, path) = file(&lines(8));
    TicketKeys::from_file(&path).unwrap();

    for lines in [line('a'), line('a') + &line('b')] {
        let error = TicketKeys::from_file(&lines).unwrap_err();
        assert!(matches!(error, TicketKeysError::KeyForPath), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("aaaa"), "{error}");
    }
    let error = TicketKeys::from_file("/nowhere/tickets.keys").unwrap_err();
    assert!(matches!(error, TicketKeysError::Read { .. }), "{error:?}");
}

#[test]
fn nothing_secret_is_in_debug() {
    let (_directory, path) = file(&line('a'));
    for keys in [TicketKeys::from_file(path).unwrap(), own_keys()] {
        let exported = keys.export();
        let ticketer = ticketer(&keys, &Clock::new());
        let key = keys.sealing(START).unwrap();
        let output = format!("{keys:?} {ticketer:?} {key:?}");
        let secret = &exported[17..49];
        let hex: String = secret.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let numbers = format!("{:?}", &secret[..4]);
        assert!(!output.contains(&hex) && !output.contains(numbers.trim_matches(['[', ']'])), "{output}");
    }
}
