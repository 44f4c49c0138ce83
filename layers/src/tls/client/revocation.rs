//! What to make of revocation lists that do not say what one wants to know.

/// What happens to a client about whom no revocation list says anything: the lists given are of other CAs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnknownRevocation {
    /// It is turned away (`crl_unknown`): nobody knows whether its certificate was revoked.
    #[default]
    Deny,
    /// It is let in, as if it was not revoked.
    Allow,
}

/// What happens where a revocation list is past its next update (RFC 5280, 5.1.2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExpiredCrl {
    /// Clients of its CA are turned away (`crl_expired`): what was revoked since is not known.
    #[default]
    Deny,
    /// It is believed all the same.
    Allow,
}
