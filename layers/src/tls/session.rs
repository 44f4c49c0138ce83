//! What a TLS handshake has agreed.

use std::fmt;

use tokio_rustls::rustls::{
    CipherSuite, HandshakeKind, NamedGroup, ProtocolVersion, ServerConnection, crypto::SupportedKxGroup,
    pki_types::CertificateDer,
};

use super::{ClientIdentity, TlsVersion};

/// What a completed handshake has agreed, borrowed from the stream; see
/// [`Connection::tls`](crate::Connection::tls).
///
/// Everything here was authenticated by the handshake. That a name is here does not say that anybody
/// has judged it.
#[derive(Clone, Copy)]
pub struct TlsSession<'a> {
    connection: &'a ServerConnection,
    agreed: Agreed,
}

/// What every handshake agrees on: it is known once the handshake is complete, and rustls gives it as an option.
#[derive(Clone, Copy)]
pub(super) struct Agreed {
    version: TlsVersion,
    cipher: CipherSuite,
}

impl Agreed {
    /// `None` before the handshake has agreed on a version and a cipher.
    pub(super) fn of(connection: &ServerConnection) -> Option<Self> {
        let version = match connection.protocol_version()? {
            ProtocolVersion::TLSv1_2 => TlsVersion::V1_2,
            ProtocolVersion::TLSv1_3 => TlsVersion::V1_3,
            _ => return None,
        };
        let cipher = connection.negotiated_cipher_suite()?.suite();
        Some(Self { version, cipher })
    }
}

impl<'a> TlsSession<'a> {
    pub(super) const fn new(connection: &'a ServerConnection, agreed: Agreed) -> Self {
        Self { connection, agreed }
    }

    /// The version, such as `TLSv1.3`.
    #[must_use]
    pub const fn version(&self) -> TlsVersion {
        self.agreed.version
    }

    /// The cipher suite. Its name is [`TlsSession::cipher_name`].
    #[must_use]
    pub const fn cipher(&self) -> CipherSuite {
        self.agreed.cipher
    }

    /// The name of the cipher suite as rustls writes it: IANA's, with `TLS13_` for the suites of TLS 1.3,
    /// such as `TLS13_AES_256_GCM_SHA384`.
    #[must_use]
    pub fn cipher_name(&self) -> &'static str {
        self.agreed.cipher.as_str().unwrap_or("unknown")
    }

    /// The group of the key exchange, such as `X25519MLKEM768`. `None` where a session was resumed without a
    /// key exchange (always so in TLS 1.2).
    #[must_use]
    pub fn group(&self) -> Option<NamedGroup> {
        self.connection.negotiated_key_exchange_group().map(SupportedKxGroup::name)
    }

    /// The name that the client asked for (SNI), in lower case. `None` if it asked for none, or for an IP
    /// address.
    ///
    /// The client says it; whether there is such a name here, nobody has checked.
    #[must_use]
    pub fn server_name(&self) -> Option<&'a str> {
        self.connection.server_name()
    }

    /// The application protocol, such as `b"h2"`. `None` if the client or the configuration named none.
    #[must_use]
    pub fn alpn(&self) -> Option<&'a [u8]> {
        self.connection.alpn_protocol()
    }

    /// Whether an earlier session was resumed. Where client certificates are asked for, the one that was shown then was judged
    /// again, as of now, by the layer's [`ClientAuth`](super::ClientAuth) (not by a configuration of your own).
    #[must_use]
    pub fn resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The client's certificates as it sent them, its own first. `None` if it gave none, or was not asked.
    ///
    /// They are here only if they were **verified**: the configuration's verifier accepted them (for a
    /// [`ClientAuth`](super::ClientAuth): see there), and the client proved that it holds the key. A certificate that is
    /// refused ends the handshake, also where it is optional.
    #[must_use]
    pub fn client_certificates(&self) -> Option<&'a [CertificateDer<'static>]> {
        self.connection.peer_certificates()
    }
}

impl TlsSession<'_> {
    /// Whom the client's certificate names; `None` where there is none. Verified, as
    /// [`client_certificates`](Self::client_certificates) is. It is read from the certificate at each call.
    #[must_use]
    pub fn client_identity(&self) -> Option<ClientIdentity> {
        ClientIdentity::of(self.client_certificates()?.first()?)
    }
}

/// What may go to a log: no keys, and certificates by their number only.
impl fmt::Debug for TlsSession<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession")
            .field("version", &self.version())
            .field("cipher", &self.cipher())
            .field("group", &self.group())
            .field("server_name", &self.server_name())
            .field("alpn", &self.alpn().map(String::from_utf8_lossy))
            .field("resumed", &self.resumed())
            .field("client_certificates", &self.client_certificates().map_or(0, <[_]>::len))
            .finish()
    }
}
