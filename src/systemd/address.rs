//! Where the service manager listens: `NOTIFY_SOCKET`, `sd_notify(3)`.

use std::{
    ffi::OsStr,
    fmt,
    os::{
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net::SocketAddr},
    },
    path::Path,
};

/// The abstract name of the notify socket of a supervisor of this crate starts with it.
pub(crate) const SUPERVISOR_PREFIX: &str = "portcullis-supervisor-";

/// A path, or an abstract name.
#[derive(Clone, Debug)]
pub(super) struct Address(SocketAddr);

impl Address {
    /// Reads the variable, or says what is wrong with it.
    pub(super) fn parse(value: &OsStr) -> Result<Self, &'static str> {
        let invalid = |_| "it is no address of a Unix socket";
        match value.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(Path::new(value)).map(Self).map_err(invalid),
            [b'@', name @ ..] if !name.is_empty() => {
                SocketAddr::from_abstract_name(name).map(Self).map_err(invalid)
            }
            // A manager outside of the virtual machine: it could not be given descriptors, and pids mean nothing to it.
            value if value.starts_with(b"vsock") => Err("addresses of the kind vsock: are not supported"),
            _ => Err("it begins neither with `/` nor with `@`"),
        }
    }
}

impl Address {
    /// Whether a supervisor of this crate listens there.
    pub(super) fn is_supervisor(&self) -> bool {
        self.0.as_abstract_name().is_some_and(|name| name.starts_with(SUPERVISOR_PREFIX.as_bytes()))
    }
}

impl AsRef<SocketAddr> for Address {
    fn as_ref(&self) -> &SocketAddr {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.as_pathname(), self.0.as_abstract_name()) {
            (Some(path), _) => path.display().fmt(f),
            (_, Some(name)) => write!(f, "@{}", name.escape_ascii()),
            _ => f.write_str("no address"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_abstract_names_are_understood_and_nothing_else() {
        let parsed = |value: &str| Address::parse(OsStr::new(value)).map(|address| address.to_string());
        assert_eq!(parsed("/run/systemd/notify").as_deref(), Ok("/run/systemd/notify"));
        assert_eq!(parsed("@/org/manager").as_deref(), Ok("@/org/manager"));
        assert!(parsed("vsock:2:1234").unwrap_err().contains("vsock"));
        assert!(parsed("vsock-stream:2:1234").unwrap_err().contains("vsock"));
        for wrong in ["", "@", "run/notify", "tcp://127.0.0.1:1"] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
        assert!(parsed(&format!("/{}", "x".repeat(200))).is_err());
    }
}
