//! The error of a connection that was turned away.

use std::{error::Error, fmt};

use crate::{address::Peer, outcome::RejectReason};

/// Why the allowlist ended a connection.
///
/// Its source is [`RejectReason::Address`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllowlistError {
    /// The peer is not allowed. Its connection was closed; nothing was read from it or written to it.
    #[non_exhaustive]
    Denied {
        /// The peer, as the connection named it.
        peer: Peer,
    },
}

impl Error for AllowlistError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&RejectReason::Address)
    }
}

/// Describes why this kind of peer was denied, so that an operator knows what to change.
impl fmt::Display for AllowlistError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Denied { peer } = self;
        match peer {
            Peer::Ip(_) => {
                write!(f, "the peer {peer} is denied: its address is in none of the allowed networks")
            }
            Peer::Unix(_) => write!(f, "the peer {peer} is denied: the allowlist does not allow Unix peers"),
            Peer::Unknown => f.write_str("the peer is denied: nobody can say who it is"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::UnixPeer;

    #[test]
    fn a_denial_names_the_canonical_peer_and_the_cause() {
        let said = |peer| AllowlistError::Denied { peer }.to_string();
        assert_eq!(
            said(Peer::Ip("[::ffff:192.0.2.1]:4000".parse().unwrap())),
            "the peer 192.0.2.1:4000 is denied: its address is in none of the allowed networks"
        );
        assert_eq!(
            said(Peer::Unix(UnixPeer { uid: 7, gid: 8, pid: None })),
            "the peer unix:uid=7,gid=8 is denied: the allowlist does not allow Unix peers"
        );
        assert_eq!(said(Peer::Unknown), "the peer is denied: nobody can say who it is");
    }
}
