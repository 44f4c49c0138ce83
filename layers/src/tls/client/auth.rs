//! Whether a client must show a certificate.

use super::ClientRoots;

/// Whether a client is asked for a certificate.
///
/// What is checked, where one is given: that it chains to one of the [`ClientRoots`] (and to no CA of the
/// system), that it and the intermediates are within their dates, that it may be used for client
/// authentication, that it was not revoked (where there are revocation lists), that the client holds its key, and that it names
/// whom the [`IdentityRules`](super::IdentityRules) allow (where there are any). A certificate that fails
/// any of this ends the handshake, in both modes.
///
/// A client that resumes a session shows no certificate; the one it showed before is judged again, as of now.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum ClientAuth {
    /// No certificate is asked for.
    #[default]
    Off,
    /// A certificate is asked for; a client may come without. One that is given must be good.
    Optional(ClientRoots),
    /// A client without a good certificate is turned away.
    Required(ClientRoots),
}

impl ClientAuth {
    /// The roots, where there are any, and whether a certificate is required.
    pub(in super::super) const fn roots(&self) -> Option<(&ClientRoots, bool)> {
        match self {
            Self::Off => None,
            Self::Optional(roots) => Some((roots, false)),
            Self::Required(roots) => Some((roots, true)),
        }
    }
}
