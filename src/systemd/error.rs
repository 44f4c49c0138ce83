//! What can be wrong with a descriptor that the service manager passed.

use std::io;

use crate::bind::Unfit;

/// Why a descriptor that the service manager passed under the name of a listener (socket activation, `sd_listen_fds(3)`) cannot
/// be that listener.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivationError {
    /// It is no socket, or one of another type or family.
    #[error(
        "the service manager passed a descriptor named `{name}` that is {found}, and a listener needs a stream socket of \
         TCP or on a Unix path: correct the .socket unit (`ListenStream=`)"
    )]
    WrongType {
        /// Its name: `FileDescriptorName=` of the .socket unit.
        name: String,
        /// What it is.
        found: String,
    },
    /// The socket does not listen.
    #[error(
        "the service manager passed a socket named `{name}` that does not listen: the .socket unit needs `Accept=no`"
    )]
    NotListening {
        /// Its name.
        name: String,
    },
    /// The socket listens, but not where the listener should.
    #[error(
        "the service manager passed a socket named `{name}` that listens on {found}, and the listener should on `{wanted}`: \
         make the .socket unit and the configuration agree"
    )]
    WrongAddress {
        /// Its name.
        name: String,
        /// The address it is bound to.
        found: String,
        /// The URI of the listener.
        wanted: String,
    },
    /// The system refused to say, or to set what the descriptor needs.
    #[error("the service manager passed a descriptor named `{name}`, but this process cannot {doing} it")]
    Io {
        /// Its name.
        name: String,
        /// What was being done.
        doing: &'static str,
        /// The error of the system.
        source: io::Error,
    },
}

impl ActivationError {
    pub(super) fn unfit(name: &str, unfit: Unfit) -> Self {
        let name = name.to_owned();
        match unfit {
            Unfit::WrongType { found } => Self::WrongType { name, found },
            Unfit::NotListening => Self::NotListening { name },
            Unfit::Io { doing, source } => Self::Io { name, doing, source },
        }
    }
}
