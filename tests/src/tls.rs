//! One visit over TLS, and what its handshake was like.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, HandshakeKind,
        pki_types::{CertificateDer, ServerName},
    },
};

use super::client::{Fault, in_time};

/// What the server has shown.
#[derive(Debug)]
pub struct Met {
    pub resumed: bool,
    pub certificate: CertificateDer<'static>,
    pub alpn: Option<Vec<u8>>,
}

/// Asks for this name, is served a byte, and leaves in good order. What allows to resume the session stays in `config`.
pub async fn meet(to: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> Result<Met, Fault> {
    in_time(async {
        let name = ServerName::try_from(name.to_owned()).expect("a DNS name");
        let stream = TcpStream::connect(to).await?;
        let mut stream = TlsConnector::from(config.clone()).connect(name, stream).await?;
        // A refusal, and in TLS 1.3 the tickets, come before this is answered.
        stream.write_all(b"?").await?;
        stream.flush().await?;
        stream.read_u8().await?;
        let session = stream.get_ref().1;
        let met = Met {
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            certificate: session.peer_certificates().expect("a server has one")[0].clone(),
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
        };
        stream.shutdown().await?;
        match stream.read(&mut [0]).await? {
            0 => Ok(met),
            _ => Err(io::Error::other("a byte after the last one")),
        }
    })
    .await
}
