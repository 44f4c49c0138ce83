//! What stands between the socket and the echo.

use std::{fmt, str::FromStr};

/// What a server consists of. All but [`Stack::Bare`] are served by a `GracefulListener`.
///
/// Those between bare and full show what a single part costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    /// tokio and tokio-rustls alone: an accept loop that spawns.
    Bare,
    /// No layer, or the TLS layer alone.
    Listener,
    /// The metrics layer, above it TLS.
    Metrics,
    /// The tracking layer, above it TLS.
    Track,
    /// The allowlist, above it TLS.
    Allowlist,
    /// Metrics, tracking, allowlist, TLS.
    Full,
}

impl Stack {
    pub(crate) const ALL: [Self; 6] =
        [Self::Bare, Self::Listener, Self::Metrics, Self::Track, Self::Allowlist, Self::Full];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Listener => "listener",
            Self::Metrics => "metrics",
            Self::Track => "track",
            Self::Allowlist => "allowlist",
            Self::Full => "full",
        }
    }
}

impl FromStr for Stack {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|stack| stack.name() == name);
        named.ok_or_else(|| {
            format!("there is no stack {name:?}; there are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
