//! The layer.

use tower_layer::Layer;

use super::MaybeTls;
use crate::tls::TlsLayer;

/// Serves TLS, or passes connections on in the plain: decided when the program is configured, for every
/// connection alike.
///
/// It never looks at what a client sends to find out: with TLS configured, a plain client is refused.
/// The inner service gets a [`MaybeTlsStream`](super::MaybeTlsStream) in both cases, and asks
/// [`Connection::tls`](crate::Connection::tls) which one it is.
///
/// ```
/// use portcullis_layers::tls::{MaybeTlsLayer, TlsLayer};
///
/// # fn configured() -> Option<(&'static str, &'static str)> { None }
/// let tls = configured().map(|(cert, key)| TlsLayer::from_pem_files(cert, key)).transpose()?;
/// let layer = MaybeTlsLayer::from(tls);
/// # Ok::<(), portcullis_layers::tls::TlsConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct MaybeTlsLayer {
    tls: Option<TlsLayer>,
}

/// Plain for `None`.
impl From<Option<TlsLayer>> for MaybeTlsLayer {
    fn from(tls: Option<TlsLayer>) -> Self {
        Self { tls }
    }
}

impl From<TlsLayer> for MaybeTlsLayer {
    fn from(tls: TlsLayer) -> Self {
        Self { tls: Some(tls) }
    }
}

impl<S> Layer<S> for MaybeTlsLayer {
    type Service = MaybeTls<S>;

    fn layer(&self, inner: S) -> Self::Service {
        MaybeTls::new(inner, self.tls.clone())
    }
}
