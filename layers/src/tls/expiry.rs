//! When something that was read from a file is good no more.

use std::time::SystemTime;

/// When a certificate ends, or a revocation list should have been replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expiry {
    /// What it is.
    pub kind: ExpiryKind,
    /// The file that it was read from. Where there is none (PEM bytes of the program), nothing is told of it.
    pub file: std::path::PathBuf,
    /// The moment.
    pub at: SystemTime,
}

/// See [`Expiry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExpiryKind {
    /// The end of a server certificate, the first of its chain to end.
    Certificate,
    /// The next update of a revocation list.
    Crl,
}
