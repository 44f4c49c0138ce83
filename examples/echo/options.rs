//! The command line. Each option overrules the environment variable that its help names.

use std::path::PathBuf;

use clap::{Parser, builder::FalseyValueParser};
use portcullis::{Config, Setting, layers::tls::IdentityRule};

use crate::{AnyError, certificate, tls::SniCertificate};

/// An echo server behind layers, whose sockets outlive it: `kill -USR1` replaces it, `kill -TERM` ends it.
#[derive(Debug, Parser)]
#[command(name = "echo", version)]
pub(crate) struct Options {
    /// Where to listen: `tcp://host:port` or `unix:///path`; may be repeated [BIND; default: tcp://127.0.0.1:6789]
    #[arg(long, value_name = "URI")]
    pub(crate) bind: Vec<String>,

    /// Listen on this port of every IPv4 address, where no bind is given [PORT]
    #[arg(long)]
    pub(crate) port: Option<String>,

    /// A file that names the process that serves [PID_FILE]
    #[arg(long, value_name = "PATH")]
    pub(crate) pid_file: Option<PathBuf>,

    /// Append the log to this file [LOG_PATH; default: standard error]
    #[arg(long, value_name = "PATH")]
    pub(crate) log_file: Option<PathBuf>,

    /// trace, debug, info, warn or error [LOG_LEVEL; default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,

    /// Certificate chain in PEM, the server's own first; needs --tls-key [TLS_CERTIFICATE]
    #[arg(long, value_name = "PATH")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Private key in PEM; needs --tls-cert [TLS_KEY]
    #[arg(long, value_name = "PATH")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Oldest version of TLS to speak: TLSv1_2 or TLSv1_3 [TLS_VERSION; default: TLSv1_2]
    #[arg(long, value_name = "VERSION")]
    pub(crate) tls_min_version: Option<String>,

    /// TLS with a certificate for localhost that is made at the start, and that nobody trusts
    #[arg(long, env = "TLS_SELF_SIGNED", value_parser = FalseyValueParser::new())]
    pub(crate) tls_self_signed: bool,

    /// Another certificate, for clients that ask for this server name or, as in `*.example.org`, for one below it; may be repeated
    #[arg(long, value_name = "NAME=CERT,KEY")]
    pub(crate) sni_cert: Vec<SniCertificate>,

    /// Application protocols to agree on, separated by commas, the preferred one first; may be repeated
    #[arg(long, value_name = "PROTOCOLS", value_delimiter = ',')]
    pub(crate) alpn: Vec<String>,

    /// CAs in PEM; clients must show a certificate of theirs [CLIENT_TLS_CERTIFICATE_CA]
    #[arg(long, value_name = "PATH")]
    pub(crate) client_ca: Option<PathBuf>,

    /// Refuse clients without a certificate; needs --client-ca [VERIFY_CLIENT_TLS_CERTIFICATE]
    #[arg(long)]
    pub(crate) verify_client: bool,

    /// What the CAs of clients have revoked, in PEM; needs --client-ca [CLIENT_TLS_CRL]
    #[arg(long, value_name = "PATH")]
    pub(crate) crl: Option<PathBuf>,

    /// Whom a client's certificate may name: cn=NAME, ou=NAME, dns=NAME, ip=ADDRESS, uri=URI or spki=SHA256; may be repeated, and one
    /// of them must hold; needs --client-ca [ALLOWED_IDENTITIES]
    #[arg(long, value_name = "RULE")]
    pub(crate) allow_identity: Vec<IdentityRule>,

    /// End connections whose client is revoked or allowed no more; needs --client-ca
    #[arg(long)]
    pub(crate) end_revoked: bool,

    /// Networks that may connect, separated by commas [ALLOWED_NETWORKS; default: 127.0.0.0/8,::1/128]
    #[arg(long, value_name = "CIDRS")]
    pub(crate) allow: Option<String>,

    /// Where /metrics, /healthz, /readyz and /connections are served [ADMIN_BIND; default: tcp://127.0.0.1:9100]
    #[arg(long, value_name = "URI")]
    pub(crate) admin: Option<String>,

    /// How long connections may take to end in a drain [DRAIN_TIMEOUT; default: 30s]
    #[arg(long, value_name = "TIME")]
    pub(crate) drain_timeout: Option<String>,

    /// How long a successor may take for each step until it serves [READY_TIMEOUT; default: 30s]
    #[arg(long, value_name = "TIME")]
    pub(crate) ready_timeout: Option<String>,

    /// How long a successor is on probation, in which its predecessor stands by [PROBATION; default: 5s]
    #[arg(long, value_name = "TIME")]
    pub(crate) probation: Option<String>,

    /// How many older generations may drain when a restart begins [DRAINING_LIMIT; default: 8]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) draining_limit: Option<String>,

    /// What a restart starts [START_COMMAND; default: this program with the same arguments]
    #[arg(long, value_name = "COMMAND")]
    pub(crate) start_command: Option<String>,

    /// Take the sockets over from the server that answers at this Unix path, or be the first; then answer there,
    /// also to the example `ctl` [TAKEOVER_PATH]
    #[arg(long, value_name = "PATH")]
    pub(crate) takeover: Option<PathBuf>,

    /// Stay as the first process of a container, and run the server below it
    #[arg(long)]
    pub(crate) supervise: bool,

    /// Threads that serve connections [default: one for each core]
    #[arg(long, value_name = "NUMBER", env = "WORKER_THREADS")]
    pub(crate) worker_threads: Option<std::num::NonZeroUsize>,
}

impl Options {
    /// These options over the environment, and over what this example does without either.
    pub(crate) fn config(&self) -> Result<Config, AnyError> {
        let given = |name: &'static str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let verify = self.verify_client.then_some(true);
        let mut config = Config::builder()
            .port(Setting::given_by("--port", self.port.as_ref()))
            .pid_file(Setting::given_by("--pid-file", self.pid_file.as_ref()))
            .log_path(Setting::given_by("--log-file", self.log_file.as_ref()))
            .log_level(Setting::given_by("--log-level", self.log_level.as_ref()))
            .tls_certificate(Setting::given_by("--tls-cert", self.tls_cert.as_ref()))
            .tls_key(Setting::given_by("--tls-key", self.tls_key.as_ref()))
            .tls_min_version(Setting::given_by("--tls-min-version", self.tls_min_version.as_ref()))
            .client_tls_certificate_ca(Setting::given_by("--client-ca", self.client_ca.as_ref()))
            .verify_client_tls_certificate(Setting::given_by("--verify-client", verify))
            .client_tls_crl(Setting::given_by("--crl", self.crl.as_ref()))
            .allowed_networks(Setting::given_by("--allow", self.allow.as_ref()))
            .drain_timeout(Setting::given_by("--drain-timeout", self.drain_timeout.as_ref()))
            .ready_timeout(Setting::given_by("--ready-timeout", self.ready_timeout.as_ref()))
            .probation(Setting::given_by("--probation", self.probation.as_ref()))
            .draining_limit(Setting::given_by("--draining-limit", self.draining_limit.as_ref()))
            .start_command(Setting::given_by("--start-command", self.start_command.as_ref()))
            .takeover_path(Setting::given_by("--takeover", self.takeover.as_ref()))
            .admin_bind(Setting::given_by("--admin", self.admin.as_ref()))
            .environment();
        for bind in &self.bind {
            config = config.bind(Setting::given_by("--bind", Some(bind)));
        }
        for rule in &self.allow_identity {
            config = config.allowed_identities(Setting::given_by("--allow-identity", Some(rule.clone())));
        }
        if self.tls_self_signed {
            let (certificate, key) = certificate::self_signed()?;
            config = config.tls_pem(certificate, key);
        }
        if self.bind.is_empty() && self.port.is_none() && !given("BIND") && !given("PORT") {
            config = config.bind("tcp://127.0.0.1:6789");
        }
        if self.admin.is_none() && !given("ADMIN_BIND") {
            config = config.admin_bind("tcp://127.0.0.1:9100");
        }
        Ok(config.build()?)
    }

    /// The first option there is that means nothing without TLS, and that `Config` does not know.
    pub(crate) fn needs_tls(&self) -> Option<&'static str> {
        let given = [
            ("--sni-cert", !self.sni_cert.is_empty()),
            ("--alpn", !self.alpn.is_empty()),
            ("--end-revoked", self.end_revoked),
        ];
        given.into_iter().find_map(|(option, given)| given.then_some(option))
    }
}
