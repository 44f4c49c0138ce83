//! What was read from the settings and files, as a whole: what is served until the next reload.

use std::sync::Arc;

use tokio_rustls::rustls::{Error, ServerConfig, pki_types::CertificateDer, server::ClientHello};

use super::{Expiry, FileStamps, client::ClientVerifier, error, sni::SniResolver};
use crate::close_signal::CloseSignal;

/// See the module.
pub(super) struct LoadedConfig {
    pub(super) config: Arc<ServerConfig>,
    /// Which certificates there are; `None` where the configuration is the user's.
    pub(super) sni: Option<Arc<SniResolver>>,
    /// Who decides about clients; `None` where no certificate is asked for, and where the
    /// configuration is the user's.
    pub(super) client_verifier: Option<Arc<ClientVerifier>>,
    /// Everything that `client_verifier` decides by: where it differs, it may decide otherwise.
    pub(super) trust: [u8; 32],
    pub(super) alpn_required: bool,
    pub(super) expiries: Vec<Expiry>,
    /// The files as they were before they were read: what changed meanwhile is a change.
    pub(super) read: FileStamps,
    /// Fires when something else verifies clients, for every task that asks whether its client is
    /// still allowed.
    pub(super) superseded: Arc<CloseSignal>,
}

impl LoadedConfig {
    /// Whether a client can have what it asks for, as far as rustls does not see to that.
    pub(super) fn admit(&self, hello: &ClientHello<'_>) -> Result<(), Error> {
        if self.sni.as_ref().is_some_and(|sni| !sni.serve(hello.server_name())) {
            return Err(error::unknown_name());
        }
        if self.alpn_required && hello.alpn().is_none() {
            return Err(Error::NoApplicationProtocol);
        }
        Ok(())
    }

    /// Whether a client with this chain is let in as of now.
    pub(super) fn verify_client(&self, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let Some(verifier) = &self.client_verifier else { return Ok(()) };
        let now = self.config.time_provider.current_time().ok_or(Error::FailedToGetCurrentTime)?;
        verifier.verify_chain(chain, now)
    }
}
