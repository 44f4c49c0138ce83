//! Where a server of a test lives: an address and a directory that no other test has.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;

/// An address of loopback's own, and a directory. The directory goes with it.
#[derive(Debug)]
pub struct Place {
    ip: Ipv4Addr,
    directory: TempDir,
}

/// Servers that one test program may have. The pid takes the rest of the 24 bits: 14 of its bits are
/// enough to distinguish programs that run at the same time.
const EACH: u32 = 1024;

impl Place {
    /// Every address of 127.0.0.0/8 is the machine's own, so each server gets one and a fixed port on it: a port that the
    /// kernel chose could not be known before the server has it, nor be found again by a second one.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);

        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        assert!(number < EACH, "more than {EACH} servers in one test program: give it more room here");
        let bits = (std::process::id().wrapping_mul(EACH) + number) & 0x00ff_ffff;
        let [_, b, c, d] = bits.to_be_bytes();
        // Not 127.0.x.x, which clients come from and people use, nor the broadcast address.
        let b = 1 + b % 254;
        let directory =
            tempfile::Builder::new().prefix("portcullis-").tempdir().expect("a temporary directory");
        Self { ip: Ipv4Addr::new(127, b, c, d), directory }
    }

    pub fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip), port)
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The path of a file in the directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Which file it is that is at a path.
pub fn inode(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).expect("the path is there").ino()
}
