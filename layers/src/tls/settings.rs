//! From settings and files to what is served: read as a whole and checked as a whole, when the
//! layer is built and at each reload.

use std::{path::PathBuf, sync::Arc};

use tokio_rustls::rustls::{
    self, KeyLog, ServerConfig, crypto::CryptoProvider, server::NoServerSessionStorage, sign::CertifiedKey,
    time_provider::TimeProvider,
};

use super::{
    ClientAuth, Expiry, ExpiryKind, FileStamps, IdentityRules, TicketKeys, TlsConfigError, TlsVersion,
    client::ClientVerifier,
    crypto,
    digest::Digest,
    loaded_config::LoadedConfig,
    pem::{self, Pem},
    policy,
    sni::SniResolver,
    tickets::Ticketer,
};

/// The settings of a [`TlsBuilder`](super::TlsBuilder).
#[derive(Clone, Debug)]
pub(super) struct TlsSettings {
    pub(super) certificate: Option<CertificatePem>,
    /// By server name.
    pub(super) named: Vec<(String, CertificatePem)>,
    pub(super) strict_sni: bool,
    pub(super) client_auth: ClientAuth,
    pub(super) rules: Option<IdentityRules>,
    pub(super) min_version: TlsVersion,
    pub(super) ciphers: Option<Vec<String>>,
    pub(super) groups: Option<Vec<String>>,
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) alpn_required: bool,
    pub(super) resumption: Resumption,
    pub(super) key_log: Option<Arc<dyn KeyLog>>,
    pub(super) clock: Option<Arc<dyn TimeProvider>>,
}

/// Whether sessions are resumed, and with which keys.
#[derive(Clone, Debug)]
pub(super) enum Resumption {
    /// With keys that are made when the layer is built.
    Own,
    With(TicketKeys),
    Off,
}

/// A certificate chain and its private key, not read yet.
#[derive(Clone, Debug)]
pub(super) struct CertificatePem {
    pub(super) chain: Pem,
    pub(super) key: Pem,
}

impl TlsSettings {
    /// Reads and checks everything. Ticket keys that come from a file are replaced by what is in it
    /// now, once all is well.
    pub(super) fn prepare(&self, keys: Option<&TicketKeys>) -> Result<LoadedConfig, TlsConfigError> {
        self.check()?;
        let read = FileStamps::of(&self.files(keys));
        let mut provider = crypto::provider();
        policy::restrict(&mut provider, self.ciphers.as_deref(), self.groups.as_deref(), self.min_version)?;
        let provider = Arc::new(provider);

        let mut expiries = Vec::new();
        let sni = Arc::new(self.sni_resolver(&provider, &mut expiries)?);
        let mut digest = Digest::new();
        let client_verifier = match self.client_auth.roots() {
            None => None,
            Some((roots, required)) => {
                let trust = roots.read(required, &provider, &mut digest)?;
                expiries.extend(trust.expiries);
                if let Some(rules) = &self.rules {
                    rules.digest(&mut digest);
                }
                Some(Arc::new(ClientVerifier::new(trust.verifier, self.rules.clone())))
            }
        };
        let trust = digest.finish();
        let file_keys = keys.map(TicketKeys::reread).transpose()?.flatten();

        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(self.min_version.and_younger())
            .map_err(TlsConfigError::Rustls)?;
        let builder = match &client_verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(sni.clone());
        config.alpn_protocols.clone_from(&self.alpn);
        // Whoever names cipher suites names the preferred one first.
        config.ignore_client_order = true;
        // 0-RTT data can be replayed, and a service here cannot tell it from other data.
        config.max_early_data_size = 0;
        // A session is resumed by a ticket or not at all: nothing is kept here for clients that may
        // never return.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if let Some(clock) = &self.clock {
            config.time_provider = clock.clone();
        }
        // From here on nothing fails.
        match keys {
            Some(keys) => {
                if let Some(read) = file_keys {
                    keys.take(read);
                }
                let clock = config.time_provider.clone();
                config.ticketer =
                    Arc::new(Ticketer::new(keys.clone(), trust, client_verifier.clone(), clock));
            }
            None => config.send_tls13_tickets = 0,
        }
        if let Some(key_log) = &self.key_log {
            config.key_log = key_log.clone();
        }
        Ok(LoadedConfig {
            config: Arc::new(config),
            sni: Some(sni),
            client_verifier,
            trust,
            alpn_required: self.alpn_required,
            expiries,
            read,
            superseded: Arc::default(),
        })
    }

    fn check(&self) -> Result<(), TlsConfigError> {
        if let Some(name) = self.alpn.iter().find(|name| name.is_empty() || name.len() > 255) {
            return Err(TlsConfigError::Alpn(String::from_utf8_lossy(name).into_owned()));
        }
        if self.alpn_required && self.alpn.is_empty() {
            return Err(TlsConfigError::AlpnRequiredWithoutProtocols);
        }
        if self.rules.is_some() && self.client_auth.roots().is_none() {
            return Err(TlsConfigError::RulesWithoutRoots);
        }
        Ok(())
    }

    fn sni_resolver(
        &self,
        provider: &CryptoProvider,
        expiries: &mut Vec<Expiry>,
    ) -> Result<SniResolver, TlsConfigError> {
        let mut read = |pem: &CertificatePem| {
            let certificate = pem.certified_key(provider)?;
            let end = pem::first_end(&certificate.cert);
            expiries.extend(end.and_then(|end| pem.chain.expiry(ExpiryKind::Certificate, end)));
            Ok::<_, TlsConfigError>(Arc::new(certificate))
        };
        let default = self.certificate.as_ref().map(&mut read).transpose()?;
        if default.is_none() && self.named.is_empty() {
            return Err(TlsConfigError::NoCertificateConfigured);
        }
        if self.strict_sni && self.named.is_empty() {
            return Err(TlsConfigError::StrictWithoutNames);
        }
        let mut resolver = SniResolver::new(default.filter(|_| !self.strict_sni));
        for (name, pem) in &self.named {
            let certificate = read(pem)
                .map_err(|source| TlsConfigError::ForName { name: name.clone(), source: source.into() })?;
            resolver.add(name, certificate)?;
        }
        Ok(resolver)
    }

    /// All files that `prepare` reads.
    pub(super) fn files(&self, keys: Option<&TicketKeys>) -> Vec<PathBuf> {
        let certificates = self.certificate.iter().chain(self.named.iter().map(|(_, pem)| pem));
        let pems = certificates.flat_map(|pem| [&pem.chain, &pem.key]);
        let mut files: Vec<PathBuf> = pems.filter_map(Pem::path).cloned().collect();
        files.extend(self.client_auth.roots().into_iter().flat_map(|(roots, _)| roots.files()).cloned());
        files.extend(keys.and_then(TicketKeys::file));
        files.sort();
        files.dedup();
        files
    }
}

impl CertificatePem {
    fn certified_key(&self, provider: &CryptoProvider) -> Result<CertifiedKey, TlsConfigError> {
        let chain = self.chain.certificates()?;
        let key = provider
            .key_provider
            .load_private_key(self.key.key()?)
            .map_err(|source| TlsConfigError::UnusableKey { from: self.key.source(), source })?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsConfigError::KeyMismatch { certificate: self.chain.source(), key: self.key.source() }
            }
            source => TlsConfigError::UnusableCertificate { from: self.chain.source(), number: 1, source },
        })?;
        Ok(certified)
    }
}
