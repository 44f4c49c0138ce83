//! What can be wrong with ticket keys.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Ticket keys that cannot be used. Nothing of a key is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TicketKeysError {
    /// The system has no randomness to give.
    #[error("the system gives no random numbers for ticket keys")]
    Random,
    /// What was exported is in no form that is known here.
    #[error("the ticket keys are in a form that this version does not know")]
    Form,
    /// What was given for the path of the file is a key. It is shown nowhere.
    #[error("the path of the ticket keys is a key itself (not shown)")]
    KeyForPath,
    /// The file cannot be read.
    #[error("cannot read the ticket keys {}", .path.display())]
    #[non_exhaustive]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is in the file is no key.
    #[error("line {line} of the ticket keys {} is no key", .path.display())]
    #[non_exhaustive]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
    },
    /// A key is in the file twice.
    #[error("line {line} of the ticket keys {} is there before", .path.display())]
    #[non_exhaustive]
    Twice {
        /// The file.
        path: PathBuf,
        /// The number of the second line, from 1.
        line: usize,
    },
    /// There is no key in the file.
    #[error("there is no key in the ticket keys {}", .path.display())]
    #[non_exhaustive]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// There are more keys in the file than anybody needs.
    #[error("there are more than {most} ticket keys in {}", .path.display())]
    #[non_exhaustive]
    TooMany {
        /// The file.
        path: PathBuf,
        /// How many there may be.
        most: usize,
    },
}

impl TicketKeysError {
    /// What an operator can do about the error. Print it next to the message and its source.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Random | Self::Form => None,
            Self::KeyForPath => Some("write it to a file, and give its path"),
            Self::Read { .. } => Some("check that the file exists and that this process may read it"),
            Self::Line { .. } => Some(
                "a key is 64 hexadecimal digits, as `openssl rand -hex 32` makes them; the first one seals, all of them open",
            ),
            Self::Twice { .. } => Some("delete one of the two"),
            Self::Empty { .. } => Some("make a key by `openssl rand -hex 32`"),
            Self::TooMany { .. } => Some("delete the last ones, which are the oldest"),
        }
    }

    /// The file, where it is about one.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::Random | Self::Form | Self::KeyForPath => None,
            Self::Read { path, .. }
            | Self::Line { path, .. }
            | Self::Twice { path, .. }
            | Self::Empty { path }
            | Self::TooMany { path, .. } => Some(path),
        }
    }
}
