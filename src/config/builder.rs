//! Collects what is given; nothing is read or checked here.

use std::{
    collections::HashMap,
    env,
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use portcullis_layers::tls::{IdentityRule, TlsVersion};
use tracing::Level;

use super::{Identity, Setting, key};
use crate::{bind::ListenAddr, sys::StartCommand};

/// Builds a [`Config`](super::Config); see there for what each setting means.
///
/// A setter takes text or a value of the right type, and wins over the environment. A second call replaces
/// the first, but for [`bind`](Self::bind), [`allowed_networks`](Self::allowed_networks) and
/// [`allowed_identities`](Self::allowed_identities), which add.
#[derive(Clone, Default)]
#[must_use = "nothing is read or checked before `build`"]
pub struct ConfigBuilder {
    pub(super) environment: HashMap<&'static str, OsString>,
    pub(super) binds: Vec<Setting<Vec<ListenAddr>>>,
    pub(super) port: Option<Setting<u16>>,
    pub(super) start_command: Option<Setting<StartCommand>>,
    pub(super) pid_file: Option<Setting<PathBuf>>,
    pub(super) log_path: Option<Setting<PathBuf>>,
    pub(super) log_level: Option<Setting<Level>>,
    pub(super) tls_certificate: Option<Setting<PathBuf>>,
    pub(super) tls_key: Option<Setting<PathBuf>>,
    pub(super) tls_pem: Option<Identity>,
    pub(super) tls_min_version: Option<Setting<TlsVersion>>,
    pub(super) client_ca: Option<Setting<PathBuf>>,
    pub(super) verify_client: Option<Setting<bool>>,
    pub(super) client_crl: Option<Setting<PathBuf>>,
    pub(super) allowed_identities: Vec<Setting<Vec<IdentityRule>>>,
    pub(super) allowed_networks: Vec<Setting<Vec<IpNet>>>,
    pub(super) drain_timeout: Option<Setting<Duration>>,
    pub(super) ready_timeout: Option<Setting<Duration>>,
    pub(super) probation: Option<Setting<Duration>>,
    pub(super) draining_limit: Option<Setting<usize>>,
    pub(super) takeover_path: Option<Setting<PathBuf>>,
    pub(super) admin_bind: Option<Setting<ListenAddr>>,
}

/// The setters that keep one value each.
macro_rules! setters {
    ($($(#[$doc:meta])+ $setter:ident => $field:ident: $type:ty;)+) => {
        $($(#[$doc])+
        pub fn $setter(mut self, value: impl Into<Setting<$type>>) -> Self {
            let value = value.into();
            if value.given.is_some() {
                self.$field = Some(value);
            }
            self
        })+
    };
}

impl ConfigBuilder {
    /// Addresses to listen on: URIs separated by commas or white space, or [`ListenAddr`]s. Adds to those given before.
    ///
    /// A path with a comma or white space in its name can only be given as a [`ListenAddr`]. Where this or
    /// [`port`](Self::port) is called, `BIND` and `PORT` do not count.
    pub fn bind(mut self, binds: impl Into<Setting<Vec<ListenAddr>>>) -> Self {
        self.binds.push(binds.into());
        self
    }

    /// Networks whose peers may connect, separated by commas. Adds to those given before.
    ///
    /// An empty list is an error. To deny everybody there is
    /// [`AllowlistLayer`](portcullis_layers::allowlist::AllowlistLayer); not to listen is simpler.
    pub fn allowed_networks(mut self, networks: impl Into<Setting<Vec<IpNet>>>) -> Self {
        self.allowed_networks.push(networks.into());
        self
    }

    /// Whom a client's certificate may name, as [`IdentityRule`]s separated by commas: a client must satisfy one of them. Adds to
    /// those given before.
    ///
    /// A name with a comma in it can only be given as an [`IdentityRule`]. An empty list is an error. Needs
    /// [`client_tls_certificate_ca`](Self::client_tls_certificate_ca).
    pub fn allowed_identities(mut self, rules: impl Into<Setting<Vec<IdentityRule>>>) -> Self {
        self.allowed_identities.push(rules.into());
        self
    }

    setters! {
        /// The port to listen on, on every IPv4 address; it counts where no address is given.
        port => port: u16;
        /// The program that starts the next generation and its arguments; text is split as a shell does it,
        /// but nothing is expanded.
        start_command => start_command: StartCommand;
        /// Where to write the pid.
        pid_file => pid_file: PathBuf;
        /// Where to write the log.
        log_path => log_path: PathBuf;
        /// What to log.
        log_level => log_level: Level;
        /// The PEM file of the server's certificate. Needs [`tls_key`](Self::tls_key).
        tls_certificate => tls_certificate: PathBuf;
        /// The PEM file of the private key. Needs [`tls_certificate`](Self::tls_certificate).
        tls_key => tls_key: PathBuf;
        /// The oldest version of TLS that is spoken.
        tls_min_version => tls_min_version: TlsVersion;
        /// The PEM file of the CAs that vouch for clients; every client must then show a certificate.
        client_tls_certificate_ca => client_ca: PathBuf;
        /// Whether clients must show a certificate. `true` needs
        /// [`client_tls_certificate_ca`](Self::client_tls_certificate_ca), and `false` contradicts it.
        verify_client_tls_certificate => verify_client: bool;
        /// The PEM file of what the CAs of clients have revoked. Every CA in a client's chain must then have a list in it. Needs
        /// [`client_tls_certificate_ca`](Self::client_tls_certificate_ca).
        client_tls_crl => client_crl: PathBuf;
        /// How long connections may take to end once a drain has begun. Text is as in `1m 30s`.
        drain_timeout => drain_timeout: Duration;
        /// How long the next generation may take to be ready. Text is as in `1m 30s`.
        ready_timeout => ready_timeout: Duration;
        /// How long the next generation is on probation. Text is as in `1m 30s`.
        probation => probation: Duration;
        /// How many older generations may drain when a restart begins.
        draining_limit => draining_limit: usize;
        /// The control path; see [`GenerationBuilder::control`](crate::GenerationBuilder::control).
        takeover_path => takeover_path: PathBuf;
        /// Where the admin listens.
        admin_bind => admin_bind: ListenAddr;
    }

    /// The server's certificate chain and private key as PEM, for a program that makes them itself. In place of
    /// [`tls_certificate`](Self::tls_certificate) and [`tls_key`](Self::tls_key).
    pub fn tls_pem(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls_pem = Some(Identity::Pem { certificate: certificate.into(), key: key.into() });
        self
    }

    /// Lets the environment of this process count, as it is now.
    pub fn environment(self) -> Self {
        self.environment_from(
            key::ALL.iter().filter_map(|key| Some((key.variable, env::var_os(key.variable)?))),
        )
    }

    /// Lets these variables count, and no others. Unknown names are ignored.
    pub fn environment_from<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<OsStr>,
        V: Into<OsString>,
    {
        self.environment = variables
            .into_iter()
            .filter_map(|(name, value)| {
                let known = key::ALL.iter().find(|key| name.as_ref() == key.variable)?;
                Some((known.variable, value.into()))
            })
            .collect();
        self
    }
}

/// Without the values: one may be a key that was put where its path belongs.
impl fmt::Debug for ConfigBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigBuilder").finish_non_exhaustive()
    }
}
