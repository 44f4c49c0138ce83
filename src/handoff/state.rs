//! A state that travels: bytes in a memfd (memfd_create(2)) that nobody can change any more.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};

/// See the module. It is never on a disk, and no other process can open it by a name.
#[derive(Debug)]
pub(crate) struct SealedState(File);

impl SealedState {
    /// What makes it safe to read at any time: it neither changes nor shrinks.
    const SEALS: SealFlag =
        SealFlag::F_SEAL_WRITE.union(SealFlag::F_SEAL_SHRINK).union(SealFlag::F_SEAL_GROW);

    /// Holds these bytes.
    pub(crate) fn new(bytes: &[u8]) -> io::Result<Self> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let mut file = File::from(memfd_create(c"portcullis state", flags)?);
        file.write_all(bytes)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(Self::SEALS | SealFlag::F_SEAL_SEAL))?;
        Ok(Self(file))
    }

    /// What another process calls one; it is checked when it is read.
    pub(super) fn received(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }

    /// Reads it, if it has at most `limit` bytes.
    pub(crate) fn read(mut self, limit: usize) -> io::Result<Vec<u8>> {
        // Fails for what is no memfd.
        let seals = SealFlag::from_bits_truncate(fcntl(&self.0, FcntlArg::F_GET_SEALS)?);
        if !seals.contains(Self::SEALS) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the memfd that holds it is not sealed"));
        }
        let length = self.0.metadata()?.len();
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
        let open = memfd_create(c"open", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        assert_eq!(SealedState::received(open).read(9).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (pipe, _writer) = io::pipe().unwrap();
        assert!(SealedState::received(pipe.into()).read(9).is_err());
    }
}
