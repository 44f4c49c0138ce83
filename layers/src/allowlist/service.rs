//! The service that judges each connection.

use std::task::{Context, Poll};

use tower_service::Service;

use super::{Networks, ResponseFuture};
use crate::{address::Peer, connection::Connection, error::BoxError};

/// Hands the connections of allowed peers to the service above, untouched, and closes all others.
///
/// Created by [`AllowlistLayer`](super::AllowlistLayer), which defines who is allowed. The future
/// of a denied connection resolves to [`AllowlistError::Denied`](super::AllowlistError::Denied);
/// the inner service is not called. The decision does not allocate and does not wait.
#[derive(Clone, Debug)]
pub struct Allowlist<S> {
    inner: S,
    networks: Networks,
    unix_peers: bool,
}

impl<S> Allowlist<S> {
    /// Allows the peers in these networks, and the peers of Unix sockets if `unix_peers` is set.
    #[must_use]
    pub const fn new(inner: S, networks: Networks, unix_peers: bool) -> Self {
        Self { inner, networks, unix_peers }
    }

    /// The inner service.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Consumes the service, and returns the inner one.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn allows(&self, peer: Peer) -> bool {
        match peer {
            Peer::Ip(address) => self.networks.contains(address.ip()),
            Peer::Unix(_) => self.unix_peers,
            // Fail closed: a socket whose peer is gone already ends here too, and misses nothing.
            Peer::Unknown => false,
        }
    }
}

impl<S, C> Service<C> for Allowlist<S>
where
    C: Connection,
    S: Service<C>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, connection: C) -> Self::Future {
        let peer = connection.peer();
        if self.allows(peer) {
            return ResponseFuture::allowed(self.inner.call(connection));
        }
        tracing::debug!(%peer, "denied by the allowlist");
        // Closed here, and not when the future is polled: that may be late, or never.
        drop(connection);
        ResponseFuture::denied(peer)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use tokio::{
        io::{DuplexStream, duplex},
        net::UnixStream,
    };
    use tower::{Layer, ServiceExt, service_fn};

    use super::*;
    use crate::{
        allowlist::{AllowlistError, AllowlistLayer},
        delegate::delegate_connection,
        outcome::{Outcome, RejectReason},
    };

    /// A connection that is nothing but a peer.
    struct Stub {
        io: DuplexStream,
        peer: Peer,
        /// Given up when the connection is dropped.
        open: Arc<()>,
    }

    impl Stub {
        fn of(peer: Peer) -> Self {
            Self { io: duplex(1).0, peer, open: Arc::new(()) }
        }
    }

    delegate_connection!(impl[] AsyncRead, AsyncWrite for Stub => io);

    impl Connection for Stub {
        delegate_connection!(io: local, tls, drain, on_event);

        fn peer(&self) -> Peer {
            self.peer
        }
    }

    /// Whether the layer lets the connection through; checks that a denial is one in every respect.
    async fn lets_through<C: Connection>(layer: AllowlistLayer, connection: C) -> bool {
        let peer = connection.peer();
        let served = Arc::new(AtomicBool::new(false));
        let leaf = {
            let served = Arc::clone(&served);
            service_fn(move |_: C| {
                served.store(true, Ordering::Relaxed);
                async { Ok::<_, BoxError>(()) }
            })
        };
        let result = layer.layer(leaf).oneshot(connection).await;
        let served = served.load(Ordering::Relaxed);
        if let Err(error) = &result {
            assert_eq!(error.downcast_ref(), Some(&AllowlistError::Denied { peer }));
            assert_eq!(Outcome::of(Err(&**error)), Outcome::Rejected(RejectReason::Address));
        }
        assert_eq!(result.is_ok(), served, "the leaf sees the connection if and only if it is allowed");
        served
    }

    fn from(address: &str) -> Stub {
        Stub::of(Peer::Ip(address.parse::<SocketAddr>().expect("an address and a port")))
    }

    fn allowing(list: &str) -> AllowlistLayer {
        list.parse::<Networks>().expect("a list of networks").into()
    }

    #[tokio::test]
    async fn a_mapped_peer_is_judged_as_ipv4() {
        assert!(lets_through(allowing("192.0.2.0/24"), from("[::ffff:192.0.2.1]:1")).await);
        assert!(!lets_through(allowing("192.0.2.0/24"), from("[::ffff:192.0.3.1]:1")).await);
        assert!(!lets_through(allowing("::/0"), from("[::ffff:192.0.2.1]:1")).await);
    }

    #[tokio::test]
    async fn no_networks_deny_everybody() {
        for address in ["127.0.0.1:1", "[::1]:1", "0.0.0.0:0", "[::ffff:127.0.0.1]:1"] {
            assert!(!lets_through(AllowlistLayer::new([]), from(address)).await, "{address}");
        }
    }

    #[tokio::test]
    async fn unix_peers_are_denied_unless_allowed_in_words() {
        let pair = || UnixStream::pair().expect("a pair of sockets");
        let (ours, _theirs) = pair();
        assert!(!lets_through(allowing("0.0.0.0/0,::/0"), ours).await);
        let (ours, _theirs) = pair();
        assert!(lets_through(AllowlistLayer::new([]).allow_unix_peers(true), ours).await);
        let (ours, _theirs) = pair();
        assert!(
            !lets_through(AllowlistLayer::new([]).allow_unix_peers(true).allow_unix_peers(false), ours).await
        );
    }

    #[tokio::test]
    async fn allowing_unix_peers_allows_nobody_else() {
        let layer = AllowlistLayer::new([]).allow_unix_peers(true);
        assert!(!lets_through(layer.clone(), from("127.0.0.1:1")).await);
        assert!(!lets_through(layer, Stub::of(Peer::Unknown)).await);
    }

    #[tokio::test]
    async fn an_unknown_peer_is_always_denied() {
        let everybody = || allowing("0.0.0.0/0,::/0").allow_unix_peers(true);
        assert!(!lets_through(everybody(), Stub::of(Peer::Unknown)).await);
        let (ours, _theirs) = duplex(1);
        assert!(!lets_through(everybody(), ours).await);
    }

    #[tokio::test]
    async fn networks_are_inferred_from_the_layer() -> Result<(), BoxError> {
        let layer = AllowlistLayer::new(["127.0.0.0/8".parse()?]);
        assert!(lets_through(layer.clone(), from("127.9.9.9:1")).await);
        assert!(!lets_through(layer, from("128.0.0.1:1")).await);
        Ok(())
    }

    #[test]
    fn a_denied_connection_is_closed_before_its_future_is_polled() {
        let connection = from("192.0.2.1:1");
        let open = Arc::downgrade(&connection.open);
        let mut service =
            AllowlistLayer::new([]).layer(service_fn(|_: Stub| async { Ok::<_, BoxError>(()) }));
        let _never_polled = service.call(connection);
        assert!(open.upgrade().is_none());
    }
}
