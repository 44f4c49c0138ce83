//! A page: what a generation has counted, in memory that others can read without asking.
//!
//! A page is an anonymous file (memfd_create(2)). It lives as long as somebody has a descriptor of it, also after the
//! death of who wrote it. One process writes, any number read, at any time and without a lock:
//!
//! ```text
//!        0  magic, 8 bytes; version of the format, 4 bytes
//!       16  index: number of the text and its length, 4 bytes each; then both again, inverted
//!     4096  texts with an even number
//!   4096+N  texts with an odd number; N is the longest text there may be
//! ```
//!
//! All numbers are little-endian. A text is written where the last one is not, and then the index is. Whoever reads a text
//! and finds the index as it was before has read a whole one. The file is sparse: what is not used takes no memory.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::Arc,
};

use nix::sys::memfd::{MFdFlags, memfd_create};

/// See the module. Clones are the same page.
#[derive(Clone, Debug)]
pub(crate) struct Page(Arc<File>);

/// Why a page cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    #[error("it is no page of statistics, or one of another version")]
    Foreign,
    #[error("it was never found at rest")]
    Restless,
    #[error("it holds no text")]
    NoText,
    #[error(transparent)]
    Io(#[from] io::Error),
}

const MAGIC: [u8; 12] = *b"portcull\x01\0\0\0";
const INDEX: u64 = 16;
const TEXTS: u64 = 4096;
/// The longest text in bytes: that of about 100,000 series.
const LONGEST: u32 = 16 * 1024 * 1024;
/// Each try fails only if the page was written meanwhile, which happens once a second.
const TRIES: usize = 16;

impl Page {
    /// An empty one, closed on `exec`.
    pub(super) fn create() -> io::Result<Self> {
        let page = Self::from(memfd_create(c"portcullis-statistics", MFdFlags::MFD_CLOEXEC)?);
        page.0.write_all_at(&MAGIC, 0)?;
        page.0.write_all_at(&Index::EMPTY.to_bytes(), INDEX)?;
        Ok(page)
    }

    /// Replaces the text. Only one process may do that, and one thread at a time.
    pub(super) fn write(&self, text: &str) -> io::Result<()> {
        let length = u32::try_from(text.len()).ok().filter(|length| *length <= LONGEST);
        let length =
            length.ok_or_else(|| io::Error::other(format!("a text of {} bytes is too long", text.len())))?;
        let last = self.index()?.unwrap_or(Index::EMPTY);
        let next = Index { number: last.number.wrapping_add(1), length };
        self.0.write_all_at(text.as_bytes(), next.offset())?;
        self.0.write_all_at(&next.to_bytes(), INDEX)
    }

    /// The text that was written last; empty if none was.
    pub(super) fn read(&self) -> Result<String, PageError> {
        let mut magic = [0; MAGIC.len()];
        self.0.read_exact_at(&mut magic, 0)?;
        if magic != MAGIC {
            return Err(PageError::Foreign);
        }
        for _ in 0..TRIES {
            let Some(index) = self.index()? else { continue };
            let mut text = vec![0; index.length as usize];
            self.0.read_exact_at(&mut text, index.offset())?;
            if self.index()? == Some(index) {
                return String::from_utf8(text).map_err(|_| PageError::NoText);
            }
        }
        Err(PageError::Restless)
    }

    /// `None` if it is half written, or garbage.
    fn index(&self) -> io::Result<Option<Index>> {
        let mut bytes = [0; Index::SIZE];
        self.0.read_exact_at(&mut bytes, INDEX)?;
        Ok(Index::from_bytes(bytes))
    }
}

impl From<OwnedFd> for Page {
    fn from(descriptor: OwnedFd) -> Self {
        Self(Arc::new(descriptor.into()))
    }
}

impl AsFd for Page {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Which text holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Index {
    number: u32,
    length: u32,
}

impl Index {
    const EMPTY: Self = Self { number: 0, length: 0 };
    const SIZE: usize = 16;

    const fn offset(self) -> u64 {
        TEXTS + (self.number % 2) as u64 * LONGEST as u64
    }

    const fn word(self) -> u64 {
        (self.length as u64) << 32 | self.number as u64
    }

    fn to_bytes(self) -> [u8; Self::SIZE] {
        // Twice, because nobody promises that as few as eight bytes are read as they were written, all at once.
        let (word, inverted) = (self.word().to_le_bytes(), (!self.word()).to_le_bytes());
        std::array::from_fn(|place| if place < 8 { word[place] } else { inverted[place - 8] })
    }

    fn from_bytes(bytes: [u8; Self::SIZE]) -> Option<Self> {
        let number = u32::from_le_bytes(*bytes.first_chunk()?);
        let length = u32::from_le_bytes(*bytes[4..].first_chunk()?);
        let index = Self { number, length };
        (index.to_bytes() == bytes && length <= LONGEST).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As another process has it.
    fn shared(page: &Page) -> Page {
        page.as_fd().try_clone_to_owned().unwrap().into()
    }

    #[test]
    fn the_last_text_is_read() {
        let page = Page::create().unwrap();
        let reader = shared(&page);
        assert_eq!(reader.read().unwrap(), "");
        for text in ["a long one", "short", "", "longer than the first one"] {
            page.write(text).unwrap();
            assert_eq!(reader.read().unwrap(), text);
        }
        drop(page);
        assert_eq!(reader.read().unwrap(), "longer than the first one");
    }

    #[test]
    fn no_reader_sees_half_a_text() {
        let page = Page::create().unwrap();
        let reader = shared(&page);
        let reading = std::thread::spawn(move || {
            let mut read = 0;
            while read < 2000 {
                match reader.read() {
                    Ok(text) if text == "over" => break,
                    Ok(text) => {
                        let first = text.bytes().next().unwrap_or_default();
                        assert!(text.bytes().all(|byte| byte == first), "two texts in one");
                        read += 1;
                    }
                    // A reader that is slower than a writer without rest.
                    Err(PageError::Restless) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            read
        });
        let mut length = 1;
        while !reading.is_finished() {
            length = length * 7 % 60_013;
            let letter = char::from(b'a' + (length % 26) as u8);
            page.write(&String::from_iter(std::iter::repeat_n(letter, length))).unwrap();
        }
        assert!(reading.join().unwrap() >= 2000);
    }

    #[test]
    fn a_text_that_is_too_long_is_refused_and_the_last_one_stays() {
        let page = Page::create().unwrap();
        page.write("short").unwrap();
        page.write(&"x".repeat(LONGEST as usize + 1)).unwrap_err();
        assert_eq!(page.read().unwrap(), "short");
    }

    #[test]
    fn what_is_no_page_is_told_apart() {
        let foreign = |bytes: &[u8]| {
            let file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
            file.write_all_at(bytes, 0).unwrap();
            Page(Arc::new(file)).read().unwrap_err()
        };
        assert!(matches!(foreign(b"#!/bin/sh\necho hello\n"), PageError::Foreign));
        assert!(matches!(foreign(b"portcull\x02\0\0\0"), PageError::Foreign));
        assert!(matches!(foreign(b""), PageError::Io(_)));
        let (reader, _writer) = std::io::pipe().unwrap();
        assert!(matches!(Page::from(OwnedFd::from(reader)).read(), Err(PageError::Io(_))));
    }

    proptest! {
        #[test]
        fn no_content_makes_a_reader_panic(
            number: u32,
            length in prop_oneof![0..64_u32, any::<u32>()],
            honest: bool,
            content: Vec<u8>,
        ) {
            let page = Page::create().unwrap();
            let index = Index { number, length };
            let mut bytes = index.to_bytes();
            bytes[15] ^= u8::from(!honest);
            page.0.write_all_at(&content, index.offset()).unwrap();
            page.0.write_all_at(&bytes, INDEX).unwrap();
            if let Ok(text) = page.read() {
                prop_assert!(honest && text.len() == length as usize);
            }
            // And its writer gets over it.
            page.write("whole").unwrap();
            prop_assert_eq!(page.read().unwrap(), "whole");
        }
    }
}
