//! Who called: what each request is told about its connection.

use std::sync::Arc;

use http::Request;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use portcullis_layers::{Connection, Drain, Peer, TlsInfo};
use tower::Service;

/// What the requests of one connection have in common.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    peer: Peer,
    drain: Drain,
    tls: Option<Arc<TlsInfo>>,
}

impl Caller {
    pub(super) fn of(connection: &impl Connection, drain: Drain) -> Self {
        Self { peer: connection.peer(), drain, tls: connection.tls().cloned().map(Arc::new) }
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
