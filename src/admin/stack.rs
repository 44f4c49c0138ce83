use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use pin_project_lite::pin_project;
use portcullis_layers::{
    BoxError, Connection,
    allowlist::{self, Allowlist, AllowlistLayer},
};
use tower::{
    Layer, Service,
    limit::{self, ConcurrencyLimit},
    timeout::{self, Timeout},
};

use super::{
    Admin,
    own_user::{self, OwnUser},
};
use crate::http::{HttpLeaf, Serve};

/// How many connections are served at a time. Operators and their scrapers need a few; a broken one
/// that opens more and more waits in the queue of the listener, and costs the process nothing.
const CONNECTIONS: usize = 64;

/// How long a connection may last: one that reads no answer, or asks nothing more, must not keep
/// its place for ever.
const LIFETIME: Duration = Duration::from_secs(300);

/// Serves an [`Admin`] on connections, and says who may ask: the whole stack of an admin listener.
///
/// Those admitted are
///
/// - peers with a loopback address (`127.0.0.0/8`, `::1`), and of the networks that
///   [`allow`](Self::allow) adds;
/// - on a Unix socket, peers that run as the user of this process or as root, as the kernel tells.
///
/// Everybody else is closed without an answer; the future then fails with
/// [`RejectReason::Address`](portcullis_layers::RejectReason::Address) among its sources. 64
/// connections are served at a time: then it is not ready until one ends, and the others wait in
/// the listener's queue. For each request head a peer has 30 seconds, and a connection lasts 5
/// minutes at most.
///
/// Serve it on a listener that goes on [while the others
/// drain](crate::GracefulListener::accept_while_draining): only then is there somebody to say that
/// this generation is not ready any more.
///
/// A reverse proxy or a container's port forwarding on the same machine connects from an address of
/// its own, which may be a loopback address: whoever may use that may ask as well.
///
/// ```
/// use portcullis::{Phase, admin::{Admin, AdminStack, Exporter}, layers::{BoxError, track::Tracker}};
/// use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::UnixStream};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let (_phase, phases) = tokio::sync::watch::channel(Phase::Serving);
/// let admin = Admin::from_parts(Exporter::install()?, Tracker::new(), phases);
/// let stack = AdminStack::new(admin).allow(["10.1.0.0/16".parse()?]);
///
/// // Both ends are this process, so the kernel vouches for its own user.
/// let (mut operator, connection) = UnixStream::pair()?;
/// tokio::spawn(stack.oneshot(connection));
/// operator.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await?;
/// let mut answer = String::new();
/// operator.read_to_string(&mut answer).await?;
/// assert!(answer.starts_with("HTTP/1.0 200 OK"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AdminStack {
    admin: Admin,
    networks: Vec<IpNet>,
    stack: Stack,
}

type Stack = Allowlist<OwnUser<ConcurrencyLimit<Timeout<HttpLeaf<Admin>>>>>;
type StackFuture = allowlist::ResponseFuture<
    own_user::ResponseFuture<
        limit::concurrency::future::ResponseFuture<timeout::future::ResponseFuture<Serve>>,
    >,
>;

impl AdminStack {
    /// Serves `admin` to this machine only.
    #[must_use]
    pub fn new(admin: Admin) -> Self {
        Self::admitting(
            admin,
            vec![
                // Neither panics: a prefix may have 32 and 128 bits.
                IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
                IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
            ],
        )
    }

    /// Admits the peers in these networks as well.
    ///
    /// They read everything that is shown, the addresses of other peers included, and what they
    /// read is not encrypted.
    #[must_use]
    pub fn allow(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.networks.extend(networks);
        Self::admitting(self.admin, self.networks)
    }

    fn admitting(admin: Admin, networks: Vec<IpNet>) -> Self {
        let leaf = Timeout::new(HttpLeaf::new(admin.clone()), LIFETIME);
        let leaf = ConcurrencyLimit::new(leaf, CONNECTIONS);
        // The allowlist lets all Unix peers through to the service that looks at their user.
        let allowlist = AllowlistLayer::new(networks.iter().copied()).allow_unix_peers(true);
        Self { admin, networks, stack: allowlist.layer(OwnUser::new(leaf)) }
    }
}

impl fmt::Debug for AdminStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminStack").field("networks", &self.networks).finish_non_exhaustive()
    }
}

impl<C: Connection> Service<C> for AdminStack {
    type Response = ();
    type Error = BoxError;
    type Future = AdminFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Service::<C>::poll_ready(&mut self.stack, cx)
    }

    fn call(&mut self, connection: C) -> AdminFuture {
        AdminFuture { serving: self.stack.call(connection) }
    }
}

pin_project! {
    /// The life of one connection to the admin; the future of [`AdminStack`].
    #[must_use = "futures do nothing unless polled"]
    pub struct AdminFuture {
        #[pin]
        serving: StackFuture,
    }
}

impl Future for AdminFuture {
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().serving.poll(cx)
    }
}

impl fmt::Debug for AdminFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminFuture").finish_non_exhaustive()
    }
}
