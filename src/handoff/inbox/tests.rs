//! However a stream is cut, it means the same; whatever comes that is no stream is an error.

use std::fs::File;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::handoff::message::{Claim, Commit, Message, Serving};

fn frame(message: &Message) -> Vec<u8> {
    let body = serde_json::to_vec(message).unwrap();
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

fn bytes(piece: &[u8]) -> Received {
    Received { bytes: piece.len(), descriptors: Vec::new(), cut_off: false, sender: None, too_long: false }
}

/// What comes of bytes that arrive in these pieces: the messages, and the error that ended it.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, Option<ChannelError>) {
    let mut inbox = Inbox::new(0);
    let mut messages = Vec::new();
    for piece in pieces {
        if let Err(error) = inbox.take_in(bytes(piece), piece) {
            return (messages, Some(error));
        }
        loop {
            match inbox.next_frame() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(inbox.bytes.len() < HEADER + LONGEST_FRAME, "it keeps no more than one frame");
    }
    (messages, None)
}

/// In quarters: JSON may change the last digit of others.
fn seconds() -> impl Strategy<Value = f64> {
    any::<u32>().prop_map(|quarters| f64::from(quarters) / 4.0)
}

fn any_message() -> impl Strategy<Value = Message> {
    let names = || vec(".*", 0..4);
    prop_oneof![
        Just(Message::Ready),
        Just(Message::Settled),
        Just(Message::Unknown),
        any::<usize>().prop_map(|count| Message::Descriptors { count }),
        ".*".prop_map(|reason| Message::Abort { reason }),
        ".*".prop_map(|reason| Message::Sick { reason }),
        (names(), names(), names()).prop_map(|(used, bound, unwanted)| Message::Claim(Claim {
            used,
            bound,
            unwanted
        })),
        seconds().prop_map(|took_seconds| Message::Commit(Commit { took_seconds })),
        seconds().prop_map(|probation_seconds| Message::Serving(Serving { probation_seconds })),
    ]
}

/// The bytes in pieces of these sizes, again and again.
fn cut<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

proptest! {
    #[test]
    fn a_stream_means_the_same_however_it_is_cut(
        messages in vec(any_message(), 0..8),
        sizes in vec(1_usize..64, 1..8),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(frame).collect();
        let (read, error) = read(cut(&stream, &sizes));
        prop_assert!(error.is_none(), "{error:?}");
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn garbage_is_an_error_and_no_more(bytes in vec(any::<u8>(), 0..256), sizes in vec(1_usize..64, 1..4)) {
        let (messages, _) = read(cut(&bytes, &sizes));
        // A frame of garbage would have to be JSON with a known type by chance.
        prop_assert_eq!(messages, []);
    }

    #[test]
    fn a_frame_of_garbage_is_an_error(body in vec(any::<u8>(), 0..256)) {
        let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend(body);
        let (_, error) = read([&frame[..]]);
        prop_assert!(matches!(error, Some(ChannelError::Garbled(_))), "{error:?}");
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_at_once(beyond in 1..=u32::MAX - 0x10_0000) {
        let length = u32::try_from(LONGEST_FRAME).unwrap() + beyond;
        let (_, error) = read([&length.to_be_bytes()[..]]);
        prop_assert!(matches!(error, Some(ChannelError::Garbled(_))), "{error:?}");
    }
}

#[test]
fn the_longest_frame_is_read() {
    let reason = "x".repeat(LONGEST_FRAME - frame(&Message::Abort { reason: String::new() }).len() + HEADER);
    let message = Message::Abort { reason };
    let stream = frame(&message);
    assert_eq!(stream.len(), HEADER + LONGEST_FRAME);
    let (messages, error) = read(stream.chunks(4096));
    assert!(error.is_none(), "{error:?}");
    assert_eq!(messages, [message]);
}

#[test]
fn descriptors_beyond_those_that_are_welcome_are_refused() {
    let with = |count, cut_off| {
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        Received {
            bytes: 1,
            descriptors: (0..count).map(|_| null()).collect(),
            cut_off,
            sender: None,
            too_long: false,
        }
    };
    let mut inbox = Inbox::new(2);
    inbox.take_in(with(2, false), b"x").unwrap();
    assert!(matches!(inbox.take_descriptors(3), Err(ChannelError::DescriptorsLost)));
    assert_eq!(inbox.take_descriptors(2).unwrap().len(), 2);
    inbox.take_in(with(2, false), b"x").unwrap();
    assert!(matches!(inbox.take_in(with(1, false), b"x"), Err(ChannelError::Garbled(_))));
    let mut inbox = Inbox::new(2);
    assert!(matches!(inbox.take_in(with(1, true), b"x"), Err(ChannelError::DescriptorsLost)));
}
