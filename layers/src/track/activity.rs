//! What a connection is doing.

/// What a connection is doing, as far as its stream can tell.
///
/// It says what the last attempts to read and to write came to, not what the service intends: a service that
/// computes, or waits for a database, while a read is pending shows as [`Reading`](Self::Reading).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Activity {
    /// A TLS handshake is under way. Seen only where the tracking layer is below TLS.
    Handshaking,
    /// It waits for the peer to send something.
    Reading,
    /// It waits for the peer to take what was written.
    Writing,
    /// It waits for nothing from the peer.
    Working,
}

crate::label_enum::label_enum!(pub Activity {
    Handshaking => "handshaking",
    Reading => "reading",
    Writing => "writing",
    Working => "working",
});
