//! The metrics of one process in a page of shared memory that other processes can read.
//!
//! A page consists of 64-bit words in native byte order: a magic number, a version, the number of
//! used words (including these three), and entries. An entry is appended once, when its series is
//! registered, and is never removed:
//!
//! ```text
//! kind (1 counter, 2 gauge, 3 histogram) | number of bounds << 8 | bytes of text << 32
//! text: the name, then name and value of each label, each after its length in 4 bytes; zeros fill
//!       the last word
//! bounds: the bits of each
//! cells: what the series counts (see `Kind`)
//! ```
//!
//! The number of used words is stored after the words that it covers; after that, only cells
//! change. A reader validates everything: it reads no further than the page, copies the values, and
//! stops at the first invalid entry.

use std::{
    iter,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use super::{
    labels::Labels,
    series::{Kind, SharedCells},
    totals::{Totals, is_family_name},
};
use crate::sys::{MemfdError, SharedMemory, create_shared_memory, reserve_shared_memory};

/// The size of a page in bytes: enough for half a million series. Only used pages of memory are
/// allocated.
const SIZE: u64 = 64 << 20;
/// Memory is reserved in steps of this many words.
const STEP: usize = (256 << 10) / WORD;
const WORD: usize = size_of::<u64>();

const MARK: u64 = u64::from_ne_bytes(*b"portcull");
const VERSION: u64 = 1;
/// The index of the number of used words.
const USED: usize = 2;
/// The index of the first entry.
const FIRST: usize = 3;

/// The memfd of a page. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct MetricsPage(Arc<OwnedFd>);

/// A page that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    #[error(transparent)]
    Memory(#[from] MemfdError),
    #[error("the page is full")]
    Full,
    #[error("it is not a page of metrics that this version knows")]
    Foreign,
}

impl MetricsPage {
    pub(super) fn create() -> Result<Self, PageError> {
        Ok(create_shared_memory("portcullis metrics", SIZE)?.into())
    }

    /// Reads the counts of its process.
    pub(super) fn read(&self) -> Result<Totals, PageError> {
        let memory = SharedMemory::map_written(self.as_fd(), SIZE)?;
        let words = memory.words();
        if words.is_empty() || words[0].load(Acquire) == 0 {
            // Its process has not counted yet.
            return Ok(Totals::default());
        }
        let [mark, version, used, ..] = words else { return Err(PageError::Foreign) };
        if (mark.load(Relaxed), version.load(Relaxed)) != (MARK, VERSION) {
            return Err(PageError::Foreign);
        }
        let used = usize::try_from(used.load(Acquire)).unwrap_or(usize::MAX).min(words.len());
        let mut totals = Totals::default();
        let mut rest = words.get(FIRST..used).unwrap_or_default();
        while let Some(after) = read_entry(rest, &mut totals) {
            rest = after;
        }
        Ok(totals)
    }
}

impl From<OwnedFd> for MetricsPage {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }
}

impl AsFd for MetricsPage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Adds the first entry to `totals`, and returns what follows it. `None` if there is none, or one
/// that makes no sense.
fn read_entry<'a>(words: &'a [AtomicU64], totals: &mut Totals) -> Option<&'a [AtomicU64]> {
    let load = |words: &[AtomicU64]| words.iter().map(|word| word.load(Relaxed)).collect::<Vec<_>>();
    let (head, rest) = words.split_first()?;
    let head = head.load(Relaxed);
    let text_length = usize::try_from(head >> 32).ok()?;
    let (text, rest) = rest.split_at_checked(text_length.div_ceil(WORD))?;
    let (bounds, rest) = rest.split_at_checked(usize::try_from(head >> 8 & 0xff_ffff).ok()?)?;
    let kind = match (head & 0xff, bounds) {
        (1, []) => Kind::Counter,
        (2, []) => Kind::Gauge,
        (3, bounds) => Kind::Histogram(load(bounds).into_iter().map(f64::from_bits).collect()),
        _ => return None,
    };
    let (cells, rest) = rest.split_at_checked(kind.words())?;
    let text: Vec<u8> = load(text).into_iter().flat_map(u64::to_ne_bytes).take(text_length).collect();
    let (name, labels) = read_text(&text)?;
    totals.add_value(name, &labels, &kind.value(&load(cells))?);
    Some(rest)
}

fn read_text(mut text: &[u8]) -> Option<(&str, Labels)> {
    let mut strings = iter::from_fn(|| {
        let (length, rest) = text.split_first_chunk()?;
        let (string, rest) = rest.split_at_checked(usize::try_from(u32::from_ne_bytes(*length)).ok()?)?;
        text = rest;
        str::from_utf8(string).ok()
    });
    let name = strings.next().filter(|name| is_family_name(name))?;
    let mut labels = Vec::new();
    while let Some(label) = strings.next() {
        labels.push((label.to_owned(), strings.next()?.to_owned()));
    }
    Some((name, Labels::new(labels)?))
}

fn write_text(name: &str, labels: &Labels) -> Vec<u8> {
    let mut text = Vec::new();
    for string in iter::once(name).chain(labels.iter().flat_map(|(label, value)| [label, value])) {
        // One that is longer does not fit into a page.
        text.extend(u32::try_from(string.len()).unwrap_or(u32::MAX).to_ne_bytes());
        text.extend(string.as_bytes());
    }
    text
}

/// Appends series to a page. There is one for each page.
#[derive(Debug)]
pub(super) struct PageWriter {
    page: MetricsPage,
    memory: Arc<SharedMemory>,
    /// In words.
    used: usize,
    reserved: usize,
}

impl PageWriter {
    /// Begins with an empty page, whatever it held before.
    pub(super) fn new(page: MetricsPage) -> Result<Self, PageError> {
        let memory = Arc::new(SharedMemory::map(page.as_fd(), SIZE)?);
        let mut writer = Self { page, memory, used: 0, reserved: 0 };
        writer.reserve(FIRST)?;
        let words = writer.memory.words();
        words[USED].store(FIRST as u64, Relaxed);
        words[1].store(VERSION, Relaxed);
        words[0].store(MARK, Release);
        writer.used = FIRST;
        Ok(writer)
    }

    /// Appends a series. After an error, nothing can be appended any more.
    pub(super) fn append(
        &mut self,
        kind: &Kind,
        name: &str,
        labels: &Labels,
    ) -> Result<SharedCells, PageError> {
        let text = write_text(name, labels);
        let bounds = kind.bounds();
        let number = match kind {
            Kind::Counter => 1,
            Kind::Gauge => 2,
            Kind::Histogram(_) => 3,
        };
        if bounds.len() > 0xff_ffff || u32::try_from(text.len()).is_err() {
            return Err(PageError::Full);
        }
        let head = number | (bounds.len() as u64) << 8 | (text.len() as u64) << 32;
        let text = text.chunks(WORD).map(|chunk| {
            let mut word = [0; WORD];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        });
        let fixed = iter::once(head).chain(text).chain(bounds.iter().map(|bound| bound.to_bits()));
        let entry: Vec<u64> = fixed.chain(iter::repeat_n(0, kind.words())).collect();
        let end = self.used + entry.len();
        self.reserve(end)?;
        let words = self.memory.words();
        for (word, value) in words[self.used..end].iter().zip(entry) {
            word.store(value, Relaxed);
        }
        words[USED].store(end as u64, Release);
        self.used = end;
        Ok(SharedCells { memory: self.memory.clone(), start: end - kind.words(), end })
    }

    /// Reserves this many words, so that writing to them cannot fail.
    fn reserve(&mut self, words: usize) -> Result<(), PageError> {
        let all = self.memory.words().len();
        if words > all {
            return Err(PageError::Full);
        }
        if words > self.reserved {
            let reserved = words.next_multiple_of(STEP).min(all);
            reserve_shared_memory(self.page.as_fd(), (reserved * WORD) as u64)?;
            self.reserved = reserved;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use metrics::{CounterFn, HistogramFn};
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::series::Series;

    /// As another process has it.
    fn shared(page: &MetricsPage) -> MetricsPage {
        page.as_fd().try_clone_to_owned().unwrap().into()
    }

    fn labels(value: &str) -> Labels {
        Labels::new([("listener".to_owned(), value.to_owned())]).unwrap()
    }

    #[test]
    fn what_is_counted_is_read_while_it_is_counted_and_afterwards() {
        let page = MetricsPage::create().unwrap();
        let reader = shared(&page);
        assert_eq!(reader.read().unwrap(), Totals::default());
        let mut writer = PageWriter::new(page).unwrap();
        assert_eq!(reader.read().unwrap(), Totals::default());
        let append = |writer: &mut PageWriter, kind: Kind, name: &str| {
            let cells = writer.append(&kind, name, &labels("ü \"\n")).unwrap();
            Series::in_page(kind, cells)
        };
        let counter = append(&mut writer, Kind::Counter, "a_total");
        counter.increment(3);
        let read = reader.read().unwrap().to_string();
        assert!(read.ends_with("a_total{listener=\"ü \\\"\\n\"} 3\n\n"), "{read}");
        let histogram = append(&mut writer, Kind::Histogram([1.0].into()), "b_seconds");
        histogram.record(2.5);
        counter.increment(1);
        drop((counter, histogram, writer));
        let read = reader.read().unwrap().to_string();
        assert!(
            read.contains("} 4\n") && read.contains("b_seconds_sum{listener=\"ü \\\"\\n\"} 2.5\n"),
            "{read}"
        );
    }

    #[test]
    fn a_full_page_stays_as_it_is() {
        let page = MetricsPage::create().unwrap();
        let mut writer = PageWriter::new(page.clone()).unwrap();
        let half = labels(&"x".repeat(SIZE as usize / 2));
        writer.append(&Kind::Counter, "a_total", &half).unwrap();
        let full = writer.append(&Kind::Counter, "b_total", &half);
        assert!(matches!(full, Err(PageError::Full)), "{full:?}");
        assert_eq!(page.read().unwrap().counted().count(), 1);
    }

    #[test]
    fn what_is_not_a_page_is_an_error() {
        let foreign = |words: &[u64]| {
            let page = MetricsPage::create().unwrap();
            reserve_shared_memory(page.as_fd(), 4096).unwrap();
            let memory = SharedMemory::map(page.as_fd(), SIZE).unwrap();
            memory.words().iter().zip(words).for_each(|(word, value)| word.store(*value, Relaxed));
            page.read().unwrap_err()
        };
        assert!(matches!(foreign(&[7]), PageError::Foreign));
        assert!(matches!(foreign(&[MARK, VERSION + 1]), PageError::Foreign));
        let (reader, _writer) = std::io::pipe().unwrap();
        assert!(matches!(MetricsPage::from(OwnedFd::from(reader)).read(), Err(PageError::Memory(_))));
    }

    proptest! {
        #[test]
        fn no_content_makes_a_reader_panic(
            used in prop_oneof![0..64_u64, any::<u64>()],
            content in proptest::collection::vec(
                prop_oneof![any::<u64>(), 0..4_u64, (0..4_u64, 0..3_u64, 0..40_u64)
                    .prop_map(|(kind, bounds, text)| kind | bounds << 8 | text << 32)],
                0..40,
            ),
        ) {
            let page = MetricsPage::create().unwrap();
            reserve_shared_memory(page.as_fd(), 4096).unwrap();
            let memory = SharedMemory::map(page.as_fd(), SIZE).unwrap();
            let words = [MARK, VERSION, used].into_iter().chain(content);
            memory.words().iter().zip(words).for_each(|(word, value)| word.store(value, Relaxed));
            let mut totals = page.read().unwrap();
            totals.add(&totals.clone());
            totals.add_open(&totals.clone(), u64::MAX);
            _ = totals.to_string();
            // And its writer gets over it.
            PageWriter::new(page.clone()).unwrap().append(&Kind::Counter, "a_total", &labels("x")).unwrap();
            prop_assert_eq!(page.read().unwrap().counted().count(), 1);
        }

        #[test]
        fn an_entry_with_wrong_text_ends_what_is_read(place in 0..60_usize, byte: u8) {
            let page = MetricsPage::create().unwrap();
            let mut writer = PageWriter::new(page.clone()).unwrap();
            for name in ["a_total", "b_total"] {
                writer.append(&Kind::Counter, name, &labels("echo")).unwrap();
            }
            let words = &writer.memory.words()[FIRST..];
            let mut bytes = words[place / WORD].load(Relaxed).to_ne_bytes();
            bytes[place % WORD] = byte;
            words[place / WORD].store(u64::from_ne_bytes(bytes), Relaxed);
            prop_assert!(page.read().unwrap().counted().count() <= 2);
        }
    }
}
