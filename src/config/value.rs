//! Reading each type of value from text.

use std::{ffi::OsStr, fmt::Display, path::PathBuf, time::Duration};

use ipnet::IpNet;
use portcullis_layers::{
    allowlist::parse_network,
    tls::{IdentityRule, ParseTlsVersionError, TlsVersion},
};
use tracing::Level;

use crate::{
    bind::{BindError, ListenAddr},
    sys::StartCommand,
};

/// A value that a setting can have.
pub(super) trait Value: Sized {
    fn read(text: &str) -> Result<Self, Wrong>;

    /// Only a path may be anything but UTF-8.
    fn read_os(text: &OsStr) -> Result<Self, Wrong> {
        match text.to_str() {
            Some(text) => Self::read(text),
            None => Err(Wrong::new("it is not UTF-8; write it in UTF-8")),
        }
    }

    /// As somebody would write it.
    fn show(&self) -> String;
}

/// Why a text is not such a value.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) what: String,
    /// The text may be a secret.
    pub(super) hide: bool,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hide: false }
    }

    fn because(error: impl Display) -> Self {
        Self::new(error.to_string())
    }

    pub(super) fn of_address(error: &BindError) -> Self {
        Self::new(match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        })
    }
}

impl Value for bool {
    fn read(text: &str) -> Result<Self, Wrong> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(Wrong::new("it is neither yes nor no; write `true` or `false`")),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for u16 {
    fn read(text: &str) -> Result<Self, Wrong> {
        // `parse` alone would take a `+`.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|_| digits)
            .ok_or_else(|| Wrong::new("it is not a port; write a number from 0 to 65535"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for usize {
    fn read(text: &str) -> Result<Self, Wrong> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|_| digits)
            .ok_or_else(|| Wrong::new("it is not a number; write one, as in `8`"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Level {
    fn read(text: &str) -> Result<Self, Wrong> {
        match text.to_ascii_lowercase().as_str() {
            "trace" => Ok(Self::TRACE),
            "debug" => Ok(Self::DEBUG),
            "info" => Ok(Self::INFO),
            "warn" => Ok(Self::WARN),
            // Ruby's levels above error. Nothing is logged above it here.
            "error" | "fatal" | "unknown" => Ok(Self::ERROR),
            _ => Err(Wrong::new("it is not a level; write `trace`, `debug`, `info`, `warn` or `error`")),
        }
    }

    fn show(&self) -> String {
        self.to_string().to_ascii_lowercase()
    }
}

impl Value for Duration {
    fn read(text: &str) -> Result<Self, Wrong> {
        humantime::parse_duration(text).map_err(|error| {
            let what = format!(
                "it is not a duration ({error}); write a number with its unit, as in `30s` or `1m 30s`"
            );
            Wrong { what, hide: false }
        })
    }

    fn show(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

impl Value for TlsVersion {
    fn read(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|error: ParseTlsVersionError| Wrong::because(error))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for PathBuf {
    fn read(text: &str) -> Result<Self, Wrong> {
        Self::read_os(OsStr::new(text))
    }

    fn read_os(text: &OsStr) -> Result<Self, Wrong> {
        let bytes = text.as_encoded_bytes();
        if bytes.is_empty() {
            return Err(Wrong::new("it is empty; write a path"));
        }
        // The content of a key was put where its path belongs; it must not reach a log.
        if bytes.contains(&b'\n') || text.to_string_lossy().contains("-----BEGIN") {
            let what = "it is the content of a file; write the file's path".to_owned();
            return Err(Wrong { what, hide: true });
        }
        Ok(text.into())
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for ListenAddr {
    fn read(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|error: BindError| Wrong::of_address(&error))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Vec<ListenAddr> {
    fn read(text: &str) -> Result<Self, Wrong> {
        let uris = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|uri| !uri.is_empty());
        let binds = uris.map(ListenAddr::read).collect::<Result<Self, _>>()?;
        if binds.is_empty() {
            return Err(Wrong::new("there is no URI in it; write one such as `tcp://0.0.0.0:6789`"));
        }
        Ok(binds)
    }

    fn show(&self) -> String {
        self.iter().map(Value::show).collect::<Vec<_>>().join(",")
    }
}

impl Value for Vec<IpNet> {
    fn read(text: &str) -> Result<Self, Wrong> {
        if text.trim().is_empty() {
            return Err(Wrong::new(
                "it is empty, which could mean everybody or nobody; write networks such as `10.0.0.0/8,::1`, \
                 or do not set it to allow everybody",
            ));
        }
        text.split(',').map(|network| parse_network(network).map_err(Wrong::because)).collect()
    }

    fn show(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

impl Value for Vec<IdentityRule> {
    fn read(text: &str) -> Result<Self, Wrong> {
        if text.trim().is_empty() {
            return Err(Wrong::new(
                "it is empty, which could mean everybody or nobody; write rules such as `cn=alice,dns=billing.example`, or do \
                 not set it to allow everybody that a CA vouches for",
            ));
        }
        text.split(',').map(|rule| rule.trim().parse().map_err(Wrong::because)).collect()
    }

    fn show(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

impl Value for StartCommand {
    fn read(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(Wrong::because)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}
