//! Reads from rustls what a handshake has agreed.

use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion, ServerConnection};

use crate::tls_info::{ClientIdentity, TlsInfo, TlsVersion};

/// Shown for a cipher suite or a group for which rustls has no name.
const UNNAMED: &str = "unknown";

/// `None` before the handshake has agreed on a version and a cipher suite.
pub(super) fn of(connection: &ServerConnection) -> Option<TlsInfo> {
    let version = match connection.protocol_version()? {
        ProtocolVersion::TLSv1_2 => TlsVersion::V1_2,
        ProtocolVersion::TLSv1_3 => TlsVersion::V1_3,
        _ => return None,
    };
    let cipher_suite = connection.negotiated_cipher_suite()?.suite().as_str().unwrap_or(UNNAMED);
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    Some(TlsInfo {
        key_exchange_group: connection
            .negotiated_key_exchange_group()
            .map(|group| group.name().as_str().unwrap_or(UNNAMED)),
        server_name: connection.server_name().map(str::to_owned),
        alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        client_identity: certificate.and_then(ClientIdentity::of).map(Box::new),
        ..TlsInfo::new(version, cipher_suite)
    })
}
