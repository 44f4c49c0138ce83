//! What a server is told by its operator: the configuration of the Ruby gem `uninterruptible`, and a little
//! more.
//!
//! Values come from the program ([`ConfigBuilder`]'s setters, which is where options of a command line go
//! too) and from the environment, in the gem's variables. Here they are read and checked together; acting on them
//! is left to the program, with [`Config`]'s accessors.

mod builder;
mod check;
mod error;
mod generation;
mod key;
mod setting;
mod value;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use portcullis_layers::{
    allowlist::{AllowlistLayer, Networks},
    tls::{
        ClientAuth, ClientRoots, IdentityRule, IdentityRules, TlsBuilder, TlsConfigError, TlsLayer,
        TlsReloader, TlsVersion,
    },
};
use tracing::Level;

use self::key::Key;
use crate::{bind::ListenAddr, sys::StartCommand};

pub use self::{
    builder::ConfigBuilder,
    error::{ConfigError, Origin},
    setting::Setting,
};

/// The checked configuration of a server.
///
/// | setter | variable | value | default |
/// | --- | --- | --- | --- |
/// | [`bind`](ConfigBuilder::bind) | `BIND` | [`ListenAddr`] URIs, separated by commas or white space | `tcp://0.0.0.0:PORT` |
/// | [`port`](ConfigBuilder::port) | `PORT` | 0 to 65535; counts where there is no `BIND` | none: one of the two is needed |
/// | [`start_command`](ConfigBuilder::start_command) | `START_COMMAND` | a command with arguments, quoted as in a shell | none |
/// | [`pid_file`](ConfigBuilder::pid_file) | `PID_FILE` | a path | none |
/// | [`log_path`](ConfigBuilder::log_path) | `LOG_PATH` | a path | none |
/// | [`log_level`](ConfigBuilder::log_level) | `LOG_LEVEL` | `trace`, `debug`, `info`, `warn`, `error`; Ruby's `fatal` and `unknown` mean `error` | `info` |
/// | [`tls_certificate`](ConfigBuilder::tls_certificate) | `TLS_CERTIFICATE` | the path of a PEM file | none: no TLS |
/// | [`tls_key`](ConfigBuilder::tls_key) | `TLS_KEY` | the path of a PEM file | none: no TLS |
/// | [`tls_min_version`](ConfigBuilder::tls_min_version) | `TLS_VERSION` | `TLSv1_2`, `TLSv1_3` | `TLSv1_2` |
/// | [`client_tls_certificate_ca`](ConfigBuilder::client_tls_certificate_ca) | `CLIENT_TLS_CERTIFICATE_CA` | the path of a PEM file; clients must then show a certificate of one of its CAs | none |
/// | [`verify_client_tls_certificate`](ConfigBuilder::verify_client_tls_certificate) | `VERIFY_CLIENT_TLS_CERTIFICATE` | `true`, `false`, `1`, `0`, `yes`, `no`, `on`, `off` | whether there is a CA |
/// | [`client_tls_crl`](ConfigBuilder::client_tls_crl) | `CLIENT_TLS_CRL` | the path of a PEM file; needs the CA of clients | none |
/// | [`allowed_identities`](ConfigBuilder::allowed_identities) | `ALLOWED_IDENTITIES` | [`IdentityRule`]s, separated by commas, one of which a client must satisfy; needs the CA of clients | none: everybody that a CA vouches for |
/// | [`allowed_networks`](ConfigBuilder::allowed_networks) | `ALLOWED_NETWORKS` | networks, separated by commas; not with a Unix path | none: everybody |
/// | [`drain_timeout`](ConfigBuilder::drain_timeout) | `DRAIN_TIMEOUT` | a duration such as `30s` or `1m 30s` | 30 s |
/// | [`ready_timeout`](ConfigBuilder::ready_timeout) | `READY_TIMEOUT` | a duration, not zero | 30 s |
/// | [`probation`](ConfigBuilder::probation) | `PROBATION` | a duration | 5 s |
/// | [`draining_limit`](ConfigBuilder::draining_limit) | `DRAINING_LIMIT` | a number | 8 |
/// | [`takeover_path`](ConfigBuilder::takeover_path) | `TAKEOVER_PATH` | the path of a Unix socket | none: no control path |
/// | [`admin_bind`](ConfigBuilder::admin_bind) | `ADMIN_BIND` | one [`ListenAddr`] URI | none: no admin listener |
///
/// A setter wins over the environment. A variable that is empty counts as one that is not set, but for
/// `ALLOWED_NETWORKS` and `ALLOWED_IDENTITIES`: who empties one of these may mean everybody or nobody, and is asked to say which.
///
/// One thing is stricter than in the gem: verification without a CA is refused, where the gem would trust every CA
/// that the system trusts for web servers.
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Config, Setting};
///
/// # let arguments_drain_timeout = Some("1m 30s");
/// let config = Config::builder()
///     .drain_timeout(Setting::given_by("--drain-timeout", arguments_drain_timeout))
///     .ready_timeout(Duration::from_secs(10))
///     .environment_from([("BIND", "tcp://127.0.0.1:6789"), ("DRAIN_TIMEOUT", "5s")])
///     .build()?;
/// assert_eq!(config.binds(), ["tcp://127.0.0.1:6789".parse()?]);
/// assert_eq!(config.drain_timeout(), Duration::from_secs(90));
///
/// let error = Config::builder().environment_from([("PORT", "http")]).build().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "wrong port `http` (from the variable `PORT`): it is not a port; write a number from 0 to 65535"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    binds: Vec<ListenAddr>,
    start_command: Option<StartCommand>,
    pid_file: Option<PathBuf>,
    log_path: Option<PathBuf>,
    log_level: Level,
    tls: Option<Tls>,
    allowed_networks: Option<Networks>,
    drain_timeout: Duration,
    ready_timeout: Duration,
    probation: Duration,
    draining_limit: usize,
    takeover_path: Option<PathBuf>,
    admin_bind: Option<ListenAddr>,
}

#[derive(Clone, Debug)]
struct Tls {
    identity: Identity,
    min_version: TlsVersion,
    client_ca: Option<PathBuf>,
    client_crl: Option<PathBuf>,
    identities: Option<Vec<IdentityRule>>,
    /// Which settings name its files.
    named: Vec<NamedFile>,
}

/// A file, the setting that names it, and where that came from.
#[derive(Clone, Debug)]
struct NamedFile {
    path: PathBuf,
    key: Key,
    origin: Origin,
}

impl NamedFile {
    /// The same file may be named by several settings, for what is wrong with it in one of these.
    fn is_meant_by(&self, error: &TlsConfigError) -> bool {
        use TlsConfigError as E;
        let is_what_is_wrong = match error {
            E::NoKey { .. } | E::EncryptedKey { .. } | E::UnusableKey { .. } => self.key == key::TLS_KEY,
            E::NoCrl { .. } | E::UnusableCrl { .. } => self.key == key::CLIENT_CRL,
            E::NotACa { .. } => self.key == key::CLIENT_CA,
            E::NoCertificate { .. } | E::UnusableCertificate { .. } => {
                [key::TLS_CERTIFICATE, key::CLIENT_CA].contains(&self.key)
            }
            E::KeyMismatch { .. } => [key::TLS_CERTIFICATE, key::TLS_KEY].contains(&self.key),
            _ => true,
        };
        is_what_is_wrong && error.files().any(|file| file == self.path)
    }
}

/// The server's certificate and its private key.
#[derive(Clone)]
enum Identity {
    Files { certificate: PathBuf, key: PathBuf },
    Pem { certificate: Vec<u8>, key: Vec<u8> },
}

/// Never the key itself.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files { certificate, key } => {
                f.debug_struct("Files").field("certificate", certificate).field("key", key).finish()
            }
            Self::Pem { .. } => f.debug_struct("Pem").finish_non_exhaustive(),
        }
    }
}

impl Config {
    /// A configuration in which nothing is set; the environment does not count before
    /// [`ConfigBuilder::environment`].
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// Where to listen: at least one address, and none twice (but for port 0).
    #[must_use]
    pub fn binds(&self) -> &[ListenAddr] {
        &self.binds
    }

    /// What starts the next generation. `None`: this program, with the arguments it was given.
    #[must_use]
    pub const fn start_command(&self) -> Option<&StartCommand> {
        self.start_command.as_ref()
    }

    /// Where to write the pid.
    #[must_use]
    pub fn pid_file(&self) -> Option<&Path> {
        self.pid_file.as_deref()
    }

    /// Where to write the log. `None`: where the program likes.
    #[must_use]
    pub fn log_path(&self) -> Option<&Path> {
        self.log_path.as_deref()
    }

    /// What to log.
    #[must_use]
    pub fn log_level(&self) -> Level {
        self.log_level
    }

    /// Whether to speak TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether a client must show a certificate.
    #[must_use]
    pub fn verifies_clients(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }

    /// The TLS layer, or `None` where there is no certificate. [`MaybeTlsLayer`] is made from either.
    ///
    /// # Errors
    ///
    /// The files are read here: [`ConfigError::Tls`] names the one that cannot be used, and the setting that it comes from.
    ///
    /// [`MaybeTlsLayer`]: portcullis_layers::tls::MaybeTlsLayer
    pub fn tls_layer(&self) -> Result<Option<TlsLayer>, ConfigError> {
        self.tls_builder().map(TlsBuilder::build).transpose().map_err(|error| self.tls_error(error))
    }

    /// As [`tls_layer`](Self::tls_layer), and the reloader for [`Generation::manage_tls`](crate::Generation::manage_tls).
    ///
    /// # Errors
    ///
    /// As for [`tls_layer`](Self::tls_layer).
    pub fn reloadable_tls_layer(&self) -> Result<Option<(TlsLayer, TlsReloader)>, ConfigError> {
        self.tls_builder()
            .map(TlsBuilder::build_reloadable)
            .transpose()
            .map_err(|error| self.tls_error(error))
    }

    /// What is wrong with a layer of [`tls_builder`](Self::tls_builder), with the settings that its files come from.
    #[must_use]
    pub fn tls_error(&self, source: TlsConfigError) -> ConfigError {
        let named = self.tls.iter().flat_map(|tls| &tls.named);
        let wrong = named.filter(|named| named.is_meant_by(&source));
        let settings = wrong.map(|named| (named.key.name, named.origin.clone())).collect();
        ConfigError::Tls { settings, source: Box::new(source) }
    }

    /// What [`tls_layer`](Self::tls_layer) is built from, for a program that has more to say (ALPN, the timeout of
    /// handshakes). Let [`tls_error`](Self::tls_error) explain what [`TlsBuilder::build`] says.
    #[must_use]
    pub fn tls_builder(&self) -> Option<TlsBuilder> {
        let tls = self.tls.as_ref()?;
        let builder = match &tls.identity {
            Identity::Files { certificate, key } => TlsLayer::builder().certificate_files(certificate, key),
            Identity::Pem { certificate, key } => {
                TlsLayer::builder().certificate_pem(certificate.clone(), key.clone())
            }
        };
        let client_auth = match &tls.client_ca {
            Some(path) => {
                let roots = ClientRoots::from_pem_file(path);
                ClientAuth::Required(match &tls.client_crl {
                    Some(list) => roots.crl_file(list),
                    None => roots,
                })
            }
            None => ClientAuth::Off,
        };
        let builder = builder.min_version(tls.min_version).client_auth(client_auth);
        Some(match &tls.identities {
            Some(rules) => builder.allow_identities(IdentityRules::any(rules.iter().cloned())),
            None => builder,
        })
    }

    /// Who may connect. `None`: everybody, without an allowlist.
    #[must_use]
    pub fn allowed_networks(&self) -> Option<&Networks> {
        self.allowed_networks.as_ref()
    }

    /// The allowlist, or `None` where everybody may connect; for `tower::util::option_layer`.
    #[must_use]
    pub fn allowlist_layer(&self) -> Option<AllowlistLayer> {
        self.allowed_networks.clone().map(AllowlistLayer::from)
    }

    /// How long connections may take to end once a drain has begun. Zero: they are dropped at once.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }

    /// How long the next generation may take to be ready. Never zero.
    #[must_use]
    pub fn ready_timeout(&self) -> Duration {
        self.ready_timeout
    }

    /// How long a generation is on probation after it has taken over. Zero: it has settled as soon as it accepts.
    #[must_use]
    pub fn probation(&self) -> Duration {
        self.probation
    }

    /// How many older generations may drain when a restart begins.
    #[must_use]
    pub fn draining_limit(&self) -> usize {
        self.draining_limit
    }

    /// The control path, over which an operator's client asks and a successor takes over; none of [`binds`](Self::binds).
    #[must_use]
    pub fn takeover_path(&self) -> Option<&Path> {
        self.takeover_path.as_deref()
    }

    /// Where the admin listens; none of [`binds`](Self::binds).
    #[must_use]
    pub fn admin_bind(&self) -> Option<&ListenAddr> {
        self.admin_bind.as_ref()
    }
}

#[cfg(test)]
mod tests;
