//! Memory that several processes map: a memfd (memfd_create(2)) that can neither shrink nor grow.
//!
//! The memory consists of 64-bit words that are read and written atomically by all processes. A
//! faulty process can corrupt values, but not cause undefined behaviour. The seals do not forbid
//! punching holes into the file (fallocate(2)): accessing a hole allocates memory, and raises SIGBUS
//! where a limit forbids that. Only the generations of one service have the descriptor.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::AtomicU64,
};

use rustix::{
    fs::{FallocateFlags, SeekFrom},
    io::{Errno, retry_on_intr},
    mm::{MapFlags, ProtFlags},
};

use super::memfd::{self, FIXED_SIZE, MemfdError};

/// Creates memory of `size` bytes for [`SharedMemory::map`]. None of it is reserved.
pub(crate) fn create_shared_memory(name: &str, size: u64) -> Result<OwnedFd, MemfdError> {
    let descriptor = memfd::create(name, size)?;
    // The seals guarantee the length, so accessing the memory cannot raise SIGBUS.
    memfd::seal(descriptor.as_fd(), FIXED_SIZE)?;
    Ok(descriptor)
}

/// Reserves the first `size` bytes, so that they can be accessed. A lack of memory is an error
/// here, and would raise SIGBUS on access.
pub(crate) fn reserve_shared_memory(descriptor: BorrowedFd<'_>, size: u64) -> Result<(), MemfdError> {
    retry_on_intr(|| rustix::fs::fallocate(descriptor, FallocateFlags::empty(), 0, size))
        .map_err(MemfdError::of("fallocate"))
}

/// A mapping of shared memory, for reading and writing.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    start: NonNull<AtomicU64>,
    /// In words.
    length: usize,
}

// SAFETY: it owns its mapping, which belongs to no thread, and gives away nothing but shared
// references to atomics.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Maps all of it, `limit` bytes at most.
    pub(crate) fn map(descriptor: BorrowedFd<'_>, limit: u64) -> Result<Self, MemfdError> {
        let size = memfd::sealed_size(descriptor, FIXED_SIZE)?;
        Self::map_bytes(descriptor, size.min(limit))
    }

    /// Maps the part that has been written, from the start, at most `limit` bytes plus one page of
    /// memory. The part after a hole is not mapped: accessing a hole allocates memory, and raises
    /// SIGBUS if there is none.
    pub(crate) fn map_written(descriptor: BorrowedFd<'_>, limit: u64) -> Result<Self, MemfdError> {
        let size = memfd::sealed_size(descriptor, FIXED_SIZE)?;
        let hole =
            rustix::fs::seek(descriptor, SeekFrom::Hole(0)).map_err(MemfdError::of("lseek(SEEK_HOLE)"))?;
        Self::map_bytes(descriptor, hole.min(size).min(limit))
    }

    fn map_bytes(descriptor: BorrowedFd<'_>, size: u64) -> Result<Self, MemfdError> {
        let length = usize::try_from(size).unwrap_or_default() / size_of::<AtomicU64>();
        if length == 0 {
            // mmap(2) refuses to map nothing.
            return Ok(Self { start: NonNull::dangling(), length });
        }
        // SAFETY: the kernel chooses the place, so no other memory is concerned.
        let start = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                length * size_of::<AtomicU64>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                descriptor,
                0,
            )
        };
        let start = start.map_err(MemfdError::of("mmap"))?;
        let start = NonNull::new(start.cast()).ok_or_else(|| MemfdError::of("mmap")(Errno::NOMEM))?;
        Ok(Self { start, length })
    }

    /// All of it.
    pub(crate) const fn words(&self) -> &[AtomicU64] {
        // SAFETY: `length` words from `start` on are mapped for reading and writing as long as
        // `self` lives, and the file below them cannot shrink (its seals were checked, and seals
        // stay). A mapping begins at a page, and is aligned for any word; with a length of 0, the
        // pointer is dangling and aligned. Every bit pattern is an `AtomicU64`. All of this program
        // that reaches the memory goes through this function; other processes may write at any
        // time, which is why the words are atomic.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: it was mapped by `map_bytes` with this length, and all references into it
            // have ended with `self`. An error would mean that it is not mapped.
            _ = unsafe {
                rustix::mm::munmap(self.start.as_ptr().cast(), self.length * size_of::<AtomicU64>())
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::atomic::Ordering};

    use rustix::fs::MemfdFlags;

    use super::*;

    const SIZE: u64 = 1 << 20;

    #[test]
    fn what_one_mapping_writes_another_reads() {
        let descriptor = create_shared_memory("test", SIZE).unwrap();
        let writer = SharedMemory::map(descriptor.as_fd(), u64::MAX).unwrap();
        assert_eq!(writer.words().len() as u64, SIZE / 8);
        assert_eq!(SharedMemory::map_written(descriptor.as_fd(), u64::MAX).unwrap().words().len(), 0);
        reserve_shared_memory(descriptor.as_fd(), SIZE / 2).unwrap();
        writer.words()[7].store(42, Ordering::Relaxed);
        let reader = SharedMemory::map_written(descriptor.as_fd(), u64::MAX).unwrap();
        drop((writer, descriptor));
        assert_eq!(reader.words()[7].load(Ordering::Relaxed), 42);
        assert!((reader.words().len() as u64) < SIZE / 8, "what was not written is not mapped");
    }

    #[test]
    fn it_neither_shrinks_nor_grows() {
        let descriptor = create_shared_memory("test", SIZE).unwrap();
        for size in [SIZE - 1, SIZE + 1] {
            assert_eq!(rustix::fs::ftruncate(&descriptor, size), Err(Errno::PERM));
        }
    }

    #[test]
    fn what_could_shrink_is_not_mapped() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let unsealed = rustix::fs::memfd_create("test", flags).unwrap();
        rustix::fs::ftruncate(&unsealed, SIZE).unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let (pipe, _writer) = io::pipe().unwrap();
        for descriptor in [unsealed.as_fd(), file.as_fd(), pipe.as_fd()] {
            SharedMemory::map(descriptor, SIZE).unwrap_err();
            SharedMemory::map_written(descriptor, SIZE).unwrap_err();
        }
    }
}
