//! Files in memory (memfd_create(2)) that are sealed. No other process can open one by a name.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{MemfdFlags, SealFlags},
    io::Errno,
    process::{Resource, getrlimit},
};

/// A system call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{call} failed")]
pub(crate) struct MemfdError {
    /// Its name.
    pub(crate) call: &'static str,
    source: io::Error,
}

impl MemfdError {
    pub(super) fn of<E: Into<io::Error>>(call: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self { call, source: error.into() }
    }
}

impl From<MemfdError> for io::Error {
    fn from(error: MemfdError) -> Self {
        Self::new(error.source.kind(), error)
    }
}

/// The seals of a file that neither shrinks nor grows.
pub(super) const FIXED_SIZE: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);
/// The seals of a file that does not change.
const READ_ONLY: SealFlags = FIXED_SIZE.union(SealFlags::WRITE);

/// Creates a file of `size` bytes. None of them is reserved.
pub(super) fn create(name: &str, size: u64) -> Result<OwnedFd, MemfdError> {
    // A file that grows past RLIMIT_FSIZE raises SIGXFSZ, which ends the process (setrlimit(2)).
    if getrlimit(Resource::Fsize).current.is_some_and(|limit| limit < size) {
        return Err(MemfdError::of("ftruncate")(Errno::FBIG));
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // With `vm.memfd_noexec=2`, a memfd that could be executed is forbidden. Linux before 6.3 does
    // not know the flag.
    let descriptor = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        created => created,
    };
    let descriptor = descriptor.map_err(MemfdError::of("memfd_create"))?;
    rustix::fs::ftruncate(&descriptor, size).map_err(MemfdError::of("ftruncate"))?;
    Ok(descriptor)
}

/// Adds the seals, and prevents further ones.
pub(super) fn seal(descriptor: BorrowedFd<'_>, seals: SealFlags) -> Result<(), MemfdError> {
    rustix::fs::fcntl_add_seals(descriptor, seals | SealFlags::SEAL)
        .map_err(MemfdError::of("fcntl(F_ADD_SEALS)"))
}

/// Returns the size in bytes. An error if it is no memfd, or lacks one of the seals.
pub(super) fn sealed_size(descriptor: BorrowedFd<'_>, seals: SealFlags) -> Result<u64, MemfdError> {
    let wrong = MemfdError::of("fcntl(F_GET_SEALS)");
    match rustix::fs::fcntl_get_seals(descriptor) {
        Ok(found) if found.contains(seals) => {}
        Ok(_) => return Err(wrong(Errno::PERM)),
        Err(error) => return Err(wrong(error)),
    }
    let status = rustix::fs::fstat(descriptor).map_err(MemfdError::of("fstat"))?;
    Ok(u64::try_from(status.st_size).unwrap_or_default())
}

/// Creates an immutable file with these bytes.
pub(crate) fn create_read_only(name: &str, bytes: &[u8]) -> Result<File, MemfdError> {
    let mut file = File::from(create(name, bytes.len() as u64)?);
    file.write_all(bytes).map_err(MemfdError::of("write"))?;
    seal(std::os::fd::AsFd::as_fd(&file), READ_ONLY)?;
    Ok(file)
}

/// Returns the size in bytes. An error if the file is not immutable.
pub(crate) fn read_only_size(descriptor: BorrowedFd<'_>) -> Result<u64, MemfdError> {
    sealed_size(descriptor, READ_ONLY)
}
