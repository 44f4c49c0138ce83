//! The names of the settings.

/// One setting, under the three names it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// In prose.
    pub(super) name: &'static str,
    /// In the environment.
    pub(super) variable: &'static str,
    /// In code.
    pub(super) setter: &'static str,
}

macro_rules! keys {
    ($($key:ident: $name:literal, $variable:literal, $setter:literal;)+) => {
        $(pub(super) const $key: Key = Key { name: $name, variable: $variable, setter: $setter };)+
        /// All of them.
        pub(super) const ALL: &[Key] = &[$($key),+];
    };
}

keys! {
    START_COMMAND: "start command", "START_COMMAND", "start_command";
    BIND: "address to listen on", "BIND", "bind";
    PORT: "port", "PORT", "port";
    PID_FILE: "pid file", "PID_FILE", "pid_file";
    LOG_PATH: "log path", "LOG_PATH", "log_path";
    LOG_LEVEL: "log level", "LOG_LEVEL", "log_level";
    TLS_MIN_VERSION: "TLS version", "TLS_VERSION", "tls_min_version";
    TLS_KEY: "TLS key", "TLS_KEY", "tls_key";
    TLS_CERTIFICATE: "TLS certificate", "TLS_CERTIFICATE", "tls_certificate";
    VERIFY_CLIENT: "verification of clients", "VERIFY_CLIENT_TLS_CERTIFICATE", "verify_client_tls_certificate";
    CLIENT_CA: "CA of clients", "CLIENT_TLS_CERTIFICATE_CA", "client_tls_certificate_ca";
    CLIENT_CRL: "revocation list of clients", "CLIENT_TLS_CRL", "client_tls_crl";
    ALLOWED_IDENTITIES: "list of allowed identities", "ALLOWED_IDENTITIES", "allowed_identities";
    ALLOWED_NETWORKS: "list of allowed networks", "ALLOWED_NETWORKS", "allowed_networks";
    DRAIN_TIMEOUT: "drain timeout", "DRAIN_TIMEOUT", "drain_timeout";
    READY_TIMEOUT: "ready timeout", "READY_TIMEOUT", "ready_timeout";
    PROBATION: "probation", "PROBATION", "probation";
    DRAINING_LIMIT: "draining limit", "DRAINING_LIMIT", "draining_limit";
    TAKEOVER_PATH: "control path", "TAKEOVER_PATH", "takeover_path";
    ADMIN_BIND: "address of the admin listener", "ADMIN_BIND", "admin_bind";
}
