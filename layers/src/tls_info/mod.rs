//! The negotiated parameters of a TLS connection, as plain data that needs no TLS library.

mod client_identity;
mod version;

use std::fmt;

pub use client_identity::ClientIdentity;
pub use version::{ParseTlsVersionError, TlsVersion};

/// The negotiated parameters of a completed TLS handshake; see
/// [`Connection::tls`](crate::Connection::tls).
///
/// The handshake has authenticated them. That does not mean that the server has checked them: a
/// client may request any server name.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The version, such as `TLSv1.3`.
    pub version: TlsVersion,
    /// The name of the cipher suite as rustls writes it: IANA's name, with `TLS13_` for the suites of TLS 1.3, such as
    /// `TLS13_AES_256_GCM_SHA384`.
    pub cipher_suite: &'static str,
    /// The name of the key exchange group, such as `X25519MLKEM768`. `None` where a session was resumed without a key
    /// exchange (always so in TLS 1.2).
    pub key_exchange_group: Option<&'static str>,
    /// The server name that the client requested (SNI), in lower case. `None` if it requested none,
    /// or an IP address.
    ///
    /// The client chooses it; the server may not have a certificate for this name.
    pub server_name: Option<String>,
    /// The application protocol (ALPN), such as `b"h2"`. `None` if the client or the configuration
    /// has none.
    pub alpn: Option<Vec<u8>>,
    /// Whether an earlier session was resumed. Where client certificates are requested, the certificate of that session
    /// was verified again by the layer's `ClientAuth` (not by a rustls configuration of your own).
    pub resumed: bool,
    /// The holder of the client's certificate. `None` if the client sent no certificate, or was not asked for one.
    ///
    /// It is present only if the certificate was **verified** and the client has proved that it
    /// holds the private key. An invalid certificate fails the handshake, even if certificates are
    /// optional.
    pub client_identity: Option<Box<ClientIdentity>>,
}

impl TlsInfo {
    /// A full handshake without optional values. For a TLS layer of your own, and for tests.
    ///
    /// ```
    /// use portcullis_layers::{TlsInfo, TlsVersion};
    ///
    /// let mut tls = TlsInfo::new(TlsVersion::V1_3, "TLS13_AES_256_GCM_SHA384");
    /// tls.server_name = Some("example.org".to_owned());
    /// assert!(!tls.resumed);
    /// ```
    #[must_use]
    pub const fn new(version: TlsVersion, cipher_suite: &'static str) -> Self {
        Self {
            version,
            cipher_suite,
            key_exchange_group: None,
            server_name: None,
            alpn: None,
            resumed: false,
            client_identity: None,
        }
    }
}

/// Safe to log: the application protocol as text, the client by its displayed name.
impl fmt::Debug for TlsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, cipher_suite, key_exchange_group, server_name, alpn, resumed, client_identity } =
            self;
        f.debug_struct("TlsInfo")
            .field("version", version)
            .field("cipher_suite", cipher_suite)
            .field("key_exchange_group", key_exchange_group)
            .field("server_name", server_name)
            .field("alpn", &alpn.as_deref().map(String::from_utf8_lossy))
            .field("resumed", resumed)
            .field("client_identity", &client_identity.as_ref().map(ToString::to_string))
            .finish()
    }
}
