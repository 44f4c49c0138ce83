//! The layer that puts an [`Allowlist`] around a service.

use ipnet::IpNet;
use tower_layer::Layer;

use super::{Allowlist, Networks};

/// Lets connections from allowed networks through, and closes all others.
///
/// - No networks: everybody is denied.
/// - A Unix peer has no address. It is denied, unless [`allow_unix_peers`](Self::allow_unix_peers) says
///   otherwise.
/// - [`Peer::Unknown`](crate::Peer::Unknown) is always denied; so is a bare socket that was reset before it was asked
///   for its peer.
///
/// Place it close to the socket, before TLS in a `ServiceBuilder`, so that no
/// handshake is spent on a peer that is denied.
/// Clones, and the services made by this layer, share one set of networks.
///
/// ```
/// use portcullis_layers::allowlist::{AllowlistLayer, Networks};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Networks known to the program:
/// let office = AllowlistLayer::new(["10.0.0.0/8".parse()?, "2001:db8::/32".parse()?]);
///
/// // A list that somebody wrote, such as `ALLOWED_NETWORKS`; its errors name the entry:
/// let networks: Networks = "10.0.0.0/8, ::1".parse()?;
/// let configured = AllowlistLayer::from(networks).allow_unix_peers(true);
/// # let _ = (office, configured);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AllowlistLayer {
    networks: Networks,
    unix_peers: bool,
}

impl AllowlistLayer {
    /// Allows the peers whose address is in one of these networks; see [`Networks::new`].
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self::from(Networks::new(networks))
    }

    /// Whether the peers of a Unix socket are allowed, all of them. They are denied by default.
    ///
    /// Who may connect to a Unix socket is decided by the mode of its path; this says that the decision is
    /// trusted.
    #[must_use]
    pub const fn allow_unix_peers(mut self, allow: bool) -> Self {
        self.unix_peers = allow;
        self
    }
}

/// Unix peers are denied, as after [`AllowlistLayer::new`].
impl From<Networks> for AllowlistLayer {
    fn from(networks: Networks) -> Self {
        Self { networks, unix_peers: false }
    }
}

impl<S> Layer<S> for AllowlistLayer {
    type Service = Allowlist<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Allowlist::new(inner, self.networks.clone(), self.unix_peers)
    }
}
