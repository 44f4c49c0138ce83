//! From what was given to a [`Config`]: each value by itself, then all of them together.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use portcullis_layers::{allowlist::Networks, tls::IdentityRule};
use tracing::Level;

use super::{
    Config, ConfigBuilder, ConfigError, Identity, NamedFile, Origin, Setting, Tls,
    key::{self, Key},
    setting::Given,
    value::{Value, Wrong},
};
use crate::{
    bind::ListenAddr,
    generation::{DRAIN_TIMEOUT, DRAINING_LIMIT, PROBATION, READY_TIMEOUT},
    handoff::LONGEST_PROBATION,
};

/// A value that was read, and what an error about it needs.
struct Read<T> {
    key: Key,
    origin: Origin,
    text: String,
    value: T,
}

impl Read<PathBuf> {
    fn named(&self) -> NamedFile {
        NamedFile { path: self.value.clone(), key: self.key, origin: self.origin.clone() }
    }
}

impl<T> Read<T> {
    fn wrong(&self, what: impl Into<String>) -> ConfigError {
        ConfigError::Invalid {
            setting: self.key.name,
            origin: self.origin.clone(),
            value: self.text.clone(),
            what: what.into(),
        }
    }

    fn conflict(&self, what: impl Into<String>) -> ConfigError {
        ConfigError::Conflict {
            setting: self.key.name,
            origin: self.origin.clone(),
            value: self.text.clone(),
            what: what.into(),
        }
    }
}

impl ConfigBuilder {
    /// Reads every value and checks them together. No file is opened and no name resolved.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] tells of the first thing that is wrong.
    pub fn build(self) -> Result<Config, ConfigError> {
        let environment = Environment(self.environment);
        let binds = binds(&environment, self.binds, self.port)?;
        let admin_bind = environment.or(key::ADMIN_BIND, self.admin_bind)?;
        check_distinct(&binds, admin_bind.as_ref())?;
        let takeover_path = environment.or(key::TAKEOVER_PATH, self.takeover_path)?;
        if let Some(path) = &takeover_path {
            check_control(path, &binds, admin_bind.as_ref())?;
        }
        let allowed_networks = environment.list(key::ALLOWED_NETWORKS, self.allowed_networks, "networks")?;
        if let Some(networks) = &allowed_networks {
            check_has_addresses(networks, &binds)?;
        }
        let tls = TlsSettings {
            certificate: environment.or(key::TLS_CERTIFICATE, self.tls_certificate)?,
            key: environment.or(key::TLS_KEY, self.tls_key)?,
            pem: self.tls_pem,
            min_version: environment.or(key::TLS_MIN_VERSION, self.tls_min_version)?,
            client_ca: environment.or(key::CLIENT_CA, self.client_ca)?,
            verify: environment.or(key::VERIFY_CLIENT, self.verify_client)?,
            client_crl: environment.or(key::CLIENT_CRL, self.client_crl)?,
            identities: environment.list(key::ALLOWED_IDENTITIES, self.allowed_identities, "rules")?,
        };
        let ready_timeout = environment.or(key::READY_TIMEOUT, self.ready_timeout)?;
        if let Some(timeout) = ready_timeout.as_ref().filter(|timeout| timeout.value.is_zero()) {
            return Err(timeout.wrong("no process is ready in no time; write a longer one, as in `30s`"));
        }
        let probation = environment.or(key::PROBATION, self.probation)?;
        if let Some(time) = probation.as_ref().filter(|time| time.value > LONGEST_PROBATION) {
            return Err(time.wrong(
                "no predecessor stands by for longer than 24 hours; write a shorter one, as in `5s`",
            ));
        }
        Ok(Config {
            start_command: environment.or(key::START_COMMAND, self.start_command)?.map(|read| read.value),
            pid_file: environment.or(key::PID_FILE, self.pid_file)?.map(|read| read.value),
            log_path: environment.or(key::LOG_PATH, self.log_path)?.map(|read| read.value),
            log_level: environment.or(key::LOG_LEVEL, self.log_level)?.map_or(Level::INFO, |read| read.value),
            tls: tls.check()?,
            allowed_networks: allowed_networks
                .map(|lists| Networks::new(lists.into_iter().flat_map(|read| read.value))),
            drain_timeout: environment
                .or(key::DRAIN_TIMEOUT, self.drain_timeout)?
                .map_or(DRAIN_TIMEOUT, |read| read.value),
            ready_timeout: ready_timeout.map_or(READY_TIMEOUT, |read| read.value),
            probation: probation.map_or(PROBATION, |read| read.value),
            draining_limit: environment
                .or(key::DRAINING_LIMIT, self.draining_limit)?
                .map_or(DRAINING_LIMIT, |read| read.value),
            takeover_path: takeover_path.map(|read| read.value),
            admin_bind: admin_bind.map(|read| read.value),
            binds: binds.into_iter().flat_map(|read| read.value).collect(),
        })
    }
}

/// The variables that count.
struct Environment(HashMap<&'static str, OsString>);

impl Environment {
    /// The setting that the program made, or else the variable.
    fn or<T: Value>(&self, key: Key, setting: Option<Setting<T>>) -> Result<Option<Read<T>>, ConfigError> {
        match setting.map(|setting| from_setting(key, setting)).transpose()?.flatten() {
            Some(read) => Ok(Some(read)),
            None => self.get(key),
        }
    }

    /// The variable, if it is set and not empty.
    fn get<T: Value>(&self, key: Key) -> Result<Option<Read<T>>, ConfigError> {
        let text = self.0.get(key.variable).filter(|text| !text.is_empty());
        text.map(|text| from_text(key, Origin::Variable(key.variable), text)).transpose()
    }

    /// The lists of what is allowed that the program gave, or else the variable. Without the rule
    /// that empty is unset: see [`Config`].
    fn list<T>(
        &self,
        key: Key,
        settings: Vec<Setting<Vec<T>>>,
        what: &str,
    ) -> Result<Option<Vec<Read<Vec<T>>>>, ConfigError>
    where
        Vec<T>: Value,
    {
        let mut lists = from_settings(key, settings)?;
        if lists.is_empty() {
            let Some(text) = self.0.get(key.variable) else { return Ok(None) };
            lists.push(from_text(key, Origin::Variable(key.variable), text)?);
        }
        if let Some(list) = lists.iter().find(|list| list.value.is_empty()) {
            return Err(
                list.wrong(format!("it is empty; give it {what}, or do not set it to allow everybody"))
            );
        }
        Ok(Some(lists))
    }
}

fn from_setting<T: Value>(key: Key, setting: Setting<T>) -> Result<Option<Read<T>>, ConfigError> {
    let origin = setting.named.map_or(Origin::Setter(key.setter), Origin::Option);
    match setting.given {
        None => Ok(None),
        Some(Given::Typed(value)) => Ok(Some(Read { key, origin, text: value.show(), value })),
        Some(Given::Text(text)) => from_text(key, origin, &text).map(Some),
    }
}

fn from_text<T: Value>(key: Key, origin: Origin, text: &OsStr) -> Result<Read<T>, ConfigError> {
    let shown = text.to_string_lossy().into_owned();
    match T::read_os(text) {
        Ok(value) => Ok(Read { key, origin, text: shown, value }),
        Err(Wrong { what, hide }) => {
            let value = if hide { "(not shown)".to_owned() } else { shown };
            Err(ConfigError::Invalid { setting: key.name, origin, value, what })
        }
    }
}

/// All the lists that the program gave, read.
fn from_settings<T: Value>(key: Key, settings: Vec<Setting<T>>) -> Result<Vec<Read<T>>, ConfigError> {
    settings.into_iter().filter_map(|setting| from_setting(key, setting).transpose()).collect()
}

/// What the program gave, be it a port alone, before what the environment says.
fn binds(
    environment: &Environment,
    binds: Vec<Setting<Vec<ListenAddr>>>,
    port: Option<Setting<u16>>,
) -> Result<Vec<Read<Vec<ListenAddr>>>, ConfigError> {
    let binds = from_settings(key::BIND, binds)?;
    if binds.iter().any(|read| !read.value.is_empty()) {
        return Ok(binds);
    }
    let port = port.map(|port| from_setting(key::PORT, port)).transpose()?.flatten();
    if port.is_none()
        && let Some(binds) = environment.get(key::BIND)?
    {
        return Ok(vec![binds]);
    }
    match port.map_or_else(|| environment.get(key::PORT), |port| Ok(Some(port)))? {
        Some(Read { key, origin, text, value: port }) => {
            let value = vec![ListenAddr::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))];
            Ok(vec![Read { key, origin, text, value }])
        }
        None => Err(ConfigError::NoAddress),
    }
}

/// Two listeners on one address could not both be bound; said here, it names the setting.
fn check_distinct(
    binds: &[Read<Vec<ListenAddr>>],
    admin: Option<&Read<ListenAddr>>,
) -> Result<(), ConfigError> {
    let mut seen: Vec<String> = Vec::new();
    for read in binds {
        for bind in &read.value {
            let uri = bind.to_string();
            if seen.contains(&uri) && !bind.has_port_0() {
                return Err(read.conflict(format!("has `{uri}` twice: leave one out")));
            }
            seen.push(uri);
        }
    }
    match admin {
        Some(admin) if seen.contains(&admin.value.to_string()) && !admin.value.has_port_0() => {
            Err(admin.conflict("is an address to listen on for others already: choose another port"))
        }
        _ => Ok(()),
    }
}

/// The control path is bound as the path of a listener is, and cannot be another's.
fn check_control(
    path: &Read<PathBuf>,
    binds: &[Read<Vec<ListenAddr>>],
    admin: Option<&Read<ListenAddr>>,
) -> Result<(), ConfigError> {
    let control =
        ListenAddr::unix(&path.value).map_err(|error| path.wrong(Wrong::of_address(&error).what))?;
    let mut others = binds.iter().flat_map(|read| &read.value).chain(admin.map(|read| &read.value));
    if others.any(|other| other.path() == control.path()) {
        return Err(path.conflict("is an address to listen on for others already: choose another path"));
    }
    Ok(())
}

/// A Unix peer has no address that could be in a network.
fn check_has_addresses(
    networks: &[Read<Vec<IpNet>>],
    binds: &[Read<Vec<ListenAddr>>],
) -> Result<(), ConfigError> {
    let unix = binds.iter().flat_map(|read| &read.value).find(|bind| bind.path().is_some());
    match (networks.first(), unix) {
        (Some(networks), Some(unix)) => Err(networks.conflict(format!(
            "cannot be applied to `{unix}`, whose peers have no addresses: leave one of them out, and guard the \
             path with its permissions"
        ))),
        _ => Ok(()),
    }
}

struct TlsSettings {
    certificate: Option<Read<PathBuf>>,
    key: Option<Read<PathBuf>>,
    pem: Option<Identity>,
    min_version: Option<Read<portcullis_layers::tls::TlsVersion>>,
    client_ca: Option<Read<PathBuf>>,
    verify: Option<Read<bool>>,
    client_crl: Option<Read<PathBuf>>,
    identities: Option<Vec<Read<Vec<IdentityRule>>>>,
}

impl TlsSettings {
    fn check(self) -> Result<Option<Tls>, ConfigError> {
        let named = [&self.certificate, &self.key, &self.client_ca, &self.client_crl];
        let named = named.into_iter().flatten().map(Read::named).collect();
        let identity = Self::identity(self.certificate, self.key, self.pem)?;
        let client_ca = match (self.verify, self.client_ca) {
            (Some(verify), None) if verify.value => {
                return Err(verify.conflict(
                    "needs a CA to verify against: set `CLIENT_TLS_CERTIFICATE_CA` to its PEM file \
                     (the CAs of the system vouch for web servers, and are not used)",
                ));
            }
            (Some(verify), Some(ca)) if !verify.value => {
                return Err(verify.conflict(format!(
                    "contradicts the CA of clients `{}` (from {}): leave one of them out",
                    ca.text, ca.origin
                )));
            }
            (_, client_ca) => client_ca,
        };
        if client_ca.is_none() {
            const NEEDED: &str = "needs client certificates: set `CLIENT_TLS_CERTIFICATE_CA` to the PEM file of the CAs that vouch \
                                  for clients";
            if let Some(crl) = self.client_crl {
                return Err(crl.conflict(NEEDED));
            }
            if let Some(rules) = self.identities.as_ref().and_then(|lists| lists.first()) {
                return Err(rules.conflict(NEEDED));
            }
        }
        match (identity, client_ca) {
            (None, Some(ca)) => {
                Err(ca.conflict("has no effect without TLS: set `TLS_CERTIFICATE` and `TLS_KEY` as well"))
            }
            // Who asks for a version does not want plain text.
            (None, None) => self.min_version.map_or(Ok(None), |version| {
                Err(version
                    .conflict("has no effect without TLS: set `TLS_CERTIFICATE` and `TLS_KEY` as well"))
            }),
            (Some(identity), client_ca) => Ok(Some(Tls {
                identity,
                min_version: self.min_version.map(|read| read.value).unwrap_or_default(),
                client_ca: client_ca.map(|read| read.value),
                client_crl: self.client_crl.map(|read| read.value),
                identities: self
                    .identities
                    .map(|lists| lists.into_iter().flat_map(|read| read.value).collect()),
                named,
            })),
        }
    }

    fn identity(
        certificate: Option<Read<PathBuf>>,
        key: Option<Read<PathBuf>>,
        pem: Option<Identity>,
    ) -> Result<Option<Identity>, ConfigError> {
        if let Some(pem) = pem {
            // The program's word wins over the environment, and contradicts itself otherwise.
            let mut files = certificate.into_iter().chain(key);
            return match files.find(|file| !matches!(file.origin, Origin::Variable(_))) {
                Some(file) => Err(file.conflict(
                    "is one certificate too many, for the program brings its own: leave one of them out",
                )),
                None => Ok(Some(pem)),
            };
        }
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                Ok(Some(Identity::Files { certificate: certificate.value, key: key.value }))
            }
            (Some(certificate), None) => {
                Err(certificate.conflict("needs its private key: set `TLS_KEY` to its PEM file"))
            }
            (None, Some(key)) => {
                Err(key.conflict("needs its certificate: set `TLS_CERTIFICATE` to its PEM file"))
            }
            (None, None) => Ok(None),
        }
    }
}
