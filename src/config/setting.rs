//! One value, and where it came from.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use portcullis_layers::tls::{IdentityRule, TlsVersion};
use tracing::Level;

use crate::{bind::ListenAddr, sys::StartCommand};

/// What a setter of [`ConfigBuilder`](super::ConfigBuilder) takes: text, or a value of the right type.
///
/// Text is read, and refused if it is wrong, by [`ConfigBuilder::build`](super::ConfigBuilder::build).
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Config, Setting};
///
/// let builder = Config::builder()
///     .bind("tcp://127.0.0.1:6789")
///     .drain_timeout(Duration::from_secs(5))
///     // An option of the command line that is not there leaves the word to the environment.
///     .log_level(Setting::given_by("--log-level", None::<String>));
/// ```
#[derive(Clone)]
pub struct Setting<T> {
    pub(super) given: Option<Given<T>>,
    pub(super) named: Option<String>,
}

#[derive(Clone)]
pub(super) enum Given<T> {
    Text(OsString),
    Typed(T),
}

impl<T> Setting<T> {
    /// A value that came from `name`, such as `--drain-timeout`; errors will say so. `None` is as if the setter had
    /// not been called.
    #[must_use]
    pub fn given_by<V: Into<Self>>(name: impl Into<String>, value: Option<V>) -> Self {
        let given = value.map(Into::into).and_then(|setting: Self| setting.given);
        Self { given, named: Some(name.into()) }
    }

    fn text(text: impl Into<OsString>) -> Self {
        Self { given: Some(Given::Text(text.into())), named: None }
    }

    fn typed(value: T) -> Self {
        Self { given: Some(Given::Typed(value)), named: None }
    }
}

/// Without the value: it may be a key that was put where its path belongs.
impl<T> fmt::Debug for Setting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("named", &self.named).finish_non_exhaustive()
    }
}

impl<T> From<&str> for Setting<T> {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl<T> From<String> for Setting<T> {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl<T> From<&String> for Setting<T> {
    fn from(text: &String) -> Self {
        Self::text(text)
    }
}

impl<T> From<OsString> for Setting<T> {
    fn from(text: OsString) -> Self {
        Self::text(text)
    }
}

impl<T> From<&OsStr> for Setting<T> {
    fn from(text: &OsStr) -> Self {
        Self::text(text)
    }
}

/// Read as text is: it may be no path, but what belongs into its file.
impl From<PathBuf> for Setting<PathBuf> {
    fn from(path: PathBuf) -> Self {
        Self::text(path)
    }
}

impl From<&PathBuf> for Setting<PathBuf> {
    fn from(path: &PathBuf) -> Self {
        Self::text(path)
    }
}

impl From<&Path> for Setting<PathBuf> {
    fn from(path: &Path) -> Self {
        Self::text(path)
    }
}

macro_rules! from {
    ($($from:ty => $to:ty, $value:ident => $make:expr;)+) => {
        $(impl From<$from> for Setting<$to> {
            fn from($value: $from) -> Self {
                Self::typed($make)
            }
        })+
    };
}

from! {
    bool => bool, value => value;
    u16 => u16, value => value;
    Duration => Duration, value => value;
    Level => Level, value => value;
    TlsVersion => TlsVersion, value => value;
    ListenAddr => ListenAddr, value => value;
    ListenAddr => Vec<ListenAddr>, value => vec![value];
    Vec<ListenAddr> => Vec<ListenAddr>, value => value;
    IpNet => Vec<IpNet>, value => vec![value];
    Vec<IpNet> => Vec<IpNet>, value => value;
    IdentityRule => Vec<IdentityRule>, value => vec![value];
    Vec<IdentityRule> => Vec<IdentityRule>, value => value;
    StartCommand => StartCommand, value => value;
}
