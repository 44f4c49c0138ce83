//! The command line. Each option overrules the environment variable that its help names.

use std::path::PathBuf;

use clap::Parser;

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
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key"])]
    pub(crate) tls_self_signed: bool,

    /// CAs in PEM; clients must show a certificate of theirs [CLIENT_TLS_CERTIFICATE_CA]
    #[arg(long, value_name = "PATH")]
    pub(crate) client_ca: Option<PathBuf>,

    /// Refuse clients without a certificate; needs --client-ca [VERIFY_CLIENT_TLS_CERTIFICATE]
    #[arg(long)]
    pub(crate) verify_client: bool,

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

    /// What a restart starts [START_COMMAND; default: this program with the same arguments]
    #[arg(long, value_name = "COMMAND")]
    pub(crate) start_command: Option<String>,

    /// Threads that serve connections [default: one for each core]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) worker_threads: Option<std::num::NonZeroUsize>,
}
