//! placeholder
/// placeholder
#[derive(Debug, thiserror::Error)]
#[error("placeholder")]
#[non_exhaustive]
pub enum HandshakeError {}
impl HandshakeError {
    /// The kind of failure: the label of the metric and the word of the log.
    #[must_use]
    pub fn failure(&self) -> HandshakeFailure {
        unreachable!()
    }
}
/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// placeholder
    Timeout,
}
crate::close::words!(HandshakeFailure { Timeout => "timeout" });
/// placeholder
#[derive(Clone, Copy, Debug)]
pub struct TlsSession<'a> {
    connection: &'a tokio_rustls::rustls::ServerConnection,
}
