//! What can be wrong with a configuration.

use std::{borrow::Cow, fmt};

use portcullis_layers::tls::TlsConfigError;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A variable of the environment.
    Variable(&'static str),
    /// What the program named with [`Setting::given_by`](super::Setting::given_by), such as an option.
    Option(String),
    /// A setter of [`ConfigBuilder`](super::ConfigBuilder).
    Setter(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "the variable `{name}`"),
            Self::Option(name) => write!(f, "the option `{name}`"),
            Self::Setter(name) => write!(f, "the setter `{name}`"),
        }
    }
}

/// Why a configuration was refused: which setting, where its value came from, the value, what is wrong with it,
/// and what to write. The contents of keys are never shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value that is wrong by itself.
    #[error("wrong {setting} `{value}` (from {origin}): {what}")]
    #[non_exhaustive]
    Invalid {
        /// The setting, in prose.
        setting: &'static str,
        /// Where the value came from.
        origin: Origin,
        /// The value.
        value: String,
        /// What is wrong, and what to write.
        what: String,
    },
    /// A value that does not go together with the others.
    #[error("the {setting} `{value}` (from {origin}) {what}")]
    #[non_exhaustive]
    Conflict {
        /// The setting, in prose.
        setting: &'static str,
        /// Where the value came from.
        origin: Origin,
        /// The value.
        value: String,
        /// What is missing or in the way, and what to do.
        what: String,
    },
    /// TLS cannot be configured: a file is missing or wrong, for one. What is wrong is said by the source.
    #[error("{}", named(.settings))]
    #[non_exhaustive]
    Tls {
        /// The settings that name its files, in prose, and where their values came from.
        settings: Vec<(&'static str, Origin)>,
        /// What is wrong, with the name of the file.
        source: Box<TlsConfigError>,
    },
    /// There is no address to listen on.
    #[error(
        "there is no address to listen on: set `BIND`, as in `tcp://0.0.0.0:6789` or `unix:///run/echo.sock`, \
         or `PORT` for that port on every IPv4 address"
    )]
    NoAddress,
}

impl ConfigError {
    /// What to do about it, for an operator: to be shown beside the message and its sources. `None` where the message says it.
    #[must_use]
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Tls { source, .. } => source.hint(),
            _ => None,
        }
    }
}

fn named(settings: &[(&str, Origin)]) -> String {
    let named: Vec<_> =
        settings.iter().map(|(setting, origin)| format!("{setting} (from {origin})")).collect();
    match named.join(" or ") {
        named if named.is_empty() => "TLS cannot be configured".to_owned(),
        named => format!("wrong {named}"),
    }
}
