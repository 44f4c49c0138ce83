//! A state that travels: bytes in a memfd (memfd_create(2)) that nobody can change any more.

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use crate::sys;

/// See the module. It is never on a disk, and no other process can open it by a name.
#[derive(Debug)]
pub(crate) struct SealedState(File);

impl SealedState {
    /// Holds these bytes.
    pub(crate) fn new(bytes: &[u8]) -> io::Result<Self> {
        Ok(Self(sys::create_read_only("portcullis state", bytes)?))
    }

    /// What another process calls one; it is checked when it is read.
    pub(super) fn received(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }

    /// Reads it, if it has at most `limit` bytes.
    pub(crate) fn read(mut self, limit: usize) -> io::Result<Vec<u8>> {
        let length = sys::read_only_size(self.0.as_fd())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if length > limit as u64 {
            let reason = format!("it has {length} bytes, and {limit} are the limit");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        self.0.rewind()?;
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl AsFd for SealedState {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    fn handed_over(state: &SealedState) -> SealedState {
        SealedState::received(state.as_fd().try_clone_to_owned().unwrap())
    }

    #[test]
    fn what_was_put_in_comes_out() {
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let state = SealedState::new(&bytes).unwrap();
        assert_eq!(handed_over(&state).read(bytes.len()).unwrap(), bytes);
        assert!(handed_over(&SealedState::new(&[]).unwrap()).read(0).unwrap().is_empty());
    }

    #[test]
    fn nobody_can_change_it() {
        let state = SealedState::new(b"ticket keys").unwrap();
        let mut theirs = File::from(state.as_fd().try_clone_to_owned().unwrap());
        assert!(theirs.write_all(b"!").is_err());
        assert!(theirs.set_len(1).is_err());
    }

    #[test]
    fn what_is_larger_than_allowed_or_no_sealed_memory_is_refused() {
        let state = SealedState::new(b"four").unwrap();
        assert_eq!(handed_over(&state).read(3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let open = memfd_create("open", MemfdFlags::ALLOW_SEALING).unwrap();
        assert_eq!(SealedState::received(open).read(9).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (pipe, _writer) = io::pipe().unwrap();
        assert!(SealedState::received(pipe.into()).read(9).is_err());
    }
}
