//! Who called: what each request is told about its connection.

use std::{fmt, sync::Arc};

use http::Request;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use portcullis_layers::{
    Connection, Drain, Peer,
    tls::{TlsSession, TlsVersion, rustls::pki_types::CertificateDer},
};
use tower::Service;

/// What the TLS handshake of a connection agreed: in the extensions of each request that came through it.
///
/// It is a copy of the [`TlsSession`](portcullis_layers::tls::TlsSession), whose documentation says what was verified. Clones
/// share it.
#[derive(Clone)]
pub struct TlsInfo {
    shared: Arc<Agreed>,
}

struct Agreed {
    version: TlsVersion,
    server_name: Option<String>,
    alpn: Option<Vec<u8>>,
    client_certificates: Vec<CertificateDer<'static>>,
}

impl TlsInfo {
    fn of(session: TlsSession<'_>) -> Self {
        let agreed = Agreed {
            version: session.version(),
            server_name: session.server_name().map(str::to_owned),
            alpn: session.alpn().map(<[u8]>::to_owned),
            client_certificates: session.client_certificates().unwrap_or_default().to_vec(),
        };
        Self { shared: Arc::new(agreed) }
    }

    /// The version of TLS.
    #[must_use]
    pub fn version(&self) -> TlsVersion {
        self.shared.version
    }

    /// The name that the client asked for (SNI), if it did. It is what the client says, as is the `Host` of a request;
    /// nobody has checked that the two agree.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.shared.server_name.as_deref()
    }

    /// The application protocol that was agreed, such as `b"h2"`.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.shared.alpn.as_deref()
    }

    /// The client's verified certificates, its own first. Empty if it gave none, or was not asked.
    #[must_use]
    pub fn client_certificates(&self) -> &[CertificateDer<'static>] {
        &self.shared.client_certificates
    }
}

/// What may go to a log: certificates by their number only.
impl fmt::Debug for TlsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsInfo")
            .field("version", &self.version())
            .field("server_name", &self.server_name())
            .field("alpn", &self.alpn().map(String::from_utf8_lossy))
            .field("client_certificates", &self.client_certificates().len())
            .finish()
    }
}

/// What the requests of one connection have in common.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    peer: Peer,
    drain: Drain,
    tls: Option<TlsInfo>,
}

impl Caller {
    pub(super) fn of(connection: &impl Connection, drain: Drain) -> Self {
        Self { peer: connection.peer(), drain, tls: connection.tls().map(TlsInfo::of) }
    }
}

/// The application's service as hyper calls it, with the caller introduced in the request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Introduced<S> {
    service: TowerToHyperService<S>,
    caller: Caller,
}

impl<S> Introduced<S> {
    pub(super) fn new(service: S, caller: Caller) -> Self {
        Self { service: TowerToHyperService::new(service), caller }
    }
}

impl<S, B> hyper::service::Service<Request<B>> for Introduced<S>
where
    S: Service<Request<B>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TowerToHyperServiceFuture<S, Request<B>>;

    fn call(&self, mut request: Request<B>) -> Self::Future {
        let extensions = request.extensions_mut();
        extensions.insert(self.caller.peer);
        extensions.insert(self.caller.drain.clone());
        if let Some(tls) = &self.caller.tls {
            extensions.insert(tls.clone());
        }
        self.service.call(request)
    }
}
