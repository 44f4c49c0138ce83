//! Reading a URI.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6},
    path::PathBuf,
};

use super::{
    BindError,
    problem::{HostProblem, PathProblem, PortProblem},
};

/// What `sockaddr_un` has room for, without the byte that ends it (unix(7)).
pub(super) const LONGEST_PATH: usize = 107;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Ip(SocketAddr),
    Name { host: String, port: u16 },
    Unix(PathBuf),
}

impl Address {
    pub(super) fn parse(uri: &str) -> Result<Self, BindError> {
        let Some((scheme, rest)) = uri.split_once("://") else {
            return Err(BindError::Scheme { uri: uri.to_owned() });
        };
        if scheme.eq_ignore_ascii_case("tcp") {
            tcp(uri, rest)
        } else if scheme.eq_ignore_ascii_case("unix") {
            unix(uri, rest)
        } else {
            Err(BindError::Scheme { uri: uri.to_owned() })
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "tcp://{address}"),
            Self::Name { host, port } => write!(f, "tcp://{host}:{port}"),
            // Made from text, and therefore shown without loss.
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// The URI that was probably meant where the scheme is missing or unknown.
pub(super) fn with_scheme(text: &str) -> Cow<'static, str> {
    if text.starts_with(['/', '.']) {
        format!("write `unix://{text}`").into()
    } else if !text.contains("://") && tcp(text, text).is_ok() {
        format!("write `tcp://{text}`").into()
    } else {
        "write `tcp://host:port` or `unix:///path`".into()
    }
}

fn tcp(uri: &str, rest: &str) -> Result<Address, BindError> {
    if let Some(bracketed) = rest.strip_prefix('[') {
        return v6(uri, bracketed);
    }
    let Some((host, digits)) = rest.split_once(':') else {
        return Err(port_error(uri, PortProblem::Missing));
    };
    if digits.contains(':') && rest.bytes().all(|b| b.is_ascii_hexdigit() || b":.%".contains(&b)) {
        return Err(host_error(uri, HostProblem::NoBrackets));
    }
    let port = port(uri, digits)?;
    if host.is_empty() {
        return Err(host_error(uri, HostProblem::Missing { port }));
    }
    // A name never ends in a numeric label. The resolver would take such a thing for an address in one
    // of its old notations, and `010.0.0.1` for `8.0.0.1`.
    let last = host.rsplit('.').next().unwrap_or(host);
    if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X") {
        return match host.parse::<Ipv4Addr>() {
            Ok(address) => Ok(Address::Ip(SocketAddr::new(IpAddr::V4(address), port))),
            Err(_) => Err(host_error(uri, HostProblem::NotIpv4)),
        };
    }
    if let Some(odd) = host.chars().find(|c| !c.is_ascii_alphanumeric() && !"-._".contains(*c)) {
        return Err(host_error(uri, HostProblem::Character(odd)));
    }
    Ok(Address::Name { host: host.to_owned(), port })
}

fn v6(uri: &str, bracketed: &str) -> Result<Address, BindError> {
    let Some((address, after)) = bracketed.split_once(']') else {
        return Err(host_error(uri, HostProblem::OpenBracket));
    };
    // Through the socket address, for it knows numeric scopes (`fe80::1%2`).
    let Ok(mut address) = format!("[{address}]:0").parse::<SocketAddrV6>() else {
        return Err(host_error(uri, HostProblem::NotIpv6));
    };
    let Some(digits) = after.strip_prefix(':') else {
        return Err(port_error(uri, PortProblem::Missing));
    };
    address.set_port(port(uri, digits)?);
    Ok(Address::Ip(address.into()))
}

fn port(uri: &str, digits: &str) -> Result<u16, BindError> {
    if digits.is_empty() {
        return Err(port_error(uri, PortProblem::Missing));
    }
    // `parse` alone would take a `+`.
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(port_error(uri, PortProblem::NotANumber));
    }
    digits.parse().map_err(|_| port_error(uri, PortProblem::OutOfRange))
}

fn unix(uri: &str, path: &str) -> Result<Address, BindError> {
    if path.is_empty() {
        return Err(path_error(uri, PathProblem::Missing));
    }
    if path.contains('\0') {
        return Err(path_error(uri, PathProblem::NulByte));
    }
    if path.starts_with('@') {
        return Err(path_error(uri, PathProblem::Abstract));
    }
    if path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..") || path == "." || path == ".." {
        return Err(path_error(uri, PathProblem::Directory));
    }
    let absolute = std::path::absolute(path)
        .ok()
        .filter(|absolute| absolute.to_str().is_some())
        .ok_or_else(|| path_error(uri, PathProblem::Relative))?;
    if absolute.as_os_str().len() > LONGEST_PATH {
        return Err(path_error(uri, PathProblem::TooLong { path: absolute }));
    }
    Ok(Address::Unix(absolute))
}

fn host_error(uri: &str, problem: HostProblem) -> BindError {
    BindError::Host { uri: uri.to_owned(), problem }
}

fn port_error(uri: &str, problem: PortProblem) -> BindError {
    BindError::Port { uri: uri.to_owned(), problem }
}

fn path_error(uri: &str, problem: PathProblem) -> BindError {
    BindError::Path { uri: uri.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(error: &BindError) -> String {
        format!("{error}; {}", error.hint().unwrap_or_default())
    }

    #[track_caller]
    fn parsed(uri: &str) -> String {
        Address::parse(uri).unwrap().to_string()
    }

    #[test]
    fn a_uri_survives_parsing() {
        for uri in [
            "tcp://127.0.0.1:80",
            "tcp://0.0.0.0:0",
            "tcp://[::]:65535",
            "tcp://[2001:db8::1]:80",
            "tcp://[fe80::1%2]:80",
            "tcp://localhost:80",
            "tcp://a-b.example.org:80",
            "unix:///run/echo.sock",
            "unix:///tmp/with space/\u{fc}%20",
        ] {
            assert_eq!(parsed(uri), uri);
            assert_eq!(parsed(&parsed(uri)), uri);
        }
        assert_eq!(parsed("TCP://[0:0::1]:080"), "tcp://[::1]:80");
    }

    #[test]
    fn a_relative_path_is_made_absolute() {
        let here = std::env::current_dir().unwrap();
        for uri in ["unix://echo", "unix://./echo", "UNIX://echo"] {
            assert_eq!(parsed(uri), format!("unix://{}/echo", here.display()));
        }
    }

    #[test]
    fn a_wrong_uri_is_refused_with_what_is_wrong_and_what_to_write() {
        for (uri, says) in [
            ("", "no scheme or one that is not known; write `tcp://host:port` or `unix:///path`"),
            ("0.0.0.0:80", "write `tcp://0.0.0.0:80`"),
            ("/run/echo.sock", "write `unix:///run/echo.sock`"),
            ("udp://0.0.0.0:80", "write `tcp://host:port`"),
            ("tcp:/0.0.0.0:80", "write `tcp://host:port`"),
            ("tcp://", "no port"),
            ("tcp://8080", "no port"),
            ("tcp://127.0.0.1", "no port"),
            ("tcp://127.0.0.1:", "no port"),
            ("tcp://[::1]", "no port"),
            ("tcp://[::1]80", "no port"),
            ("tcp://:80", "write `tcp://0.0.0.0:80`"),
            ("tcp://127.0.0.1:65536", "out of range"),
            ("tcp://127.0.0.1:-1", "not a number"),
            ("tcp://127.0.0.1:+1", "not a number"),
            ("tcp://127.0.0.1:80/", "not a number"),
            ("tcp://127.0.0.1: 80", "not a number"),
            ("tcp://127.0.0.1:http", "not a number"),
            ("tcp://127.0.0.256:80", "not an IPv4 address"),
            ("tcp://010.0.0.1:80", "not an IPv4 address"),
            ("tcp://10.1:80", "not an IPv4 address"),
            ("tcp://0x7f.1:80", "not an IPv4 address"),
            ("tcp://0x7f000001:80", "not an IPv4 address"),
            ("tcp://::1:80", "in brackets"),
            ("tcp://[::1:80", "not closed"),
            ("tcp://[::g]:80", "not an IPv6 address"),
            ("tcp://[fe80::1%eth0]:80", "a scope is a number"),
            ("tcp://[127.0.0.1]:80", "not an IPv6 address"),
            ("tcp://a b:80", "cannot contain ` `"),
            ("tcp://user@host:80", "cannot contain `@`"),
            ("tcp://*:80", "cannot contain `*`"),
            ("unix://", "no path"),
            ("unix:///run/", "names a directory"),
            ("unix:///run/..", "names a directory"),
            ("unix://@echo", "abstract"),
            ("unix:///a\0b", "NUL"),
        ] {
            let error = shown(&Address::parse(uri).expect_err(uri));
            assert!(error.contains(says), "{uri}: {error}");
            assert!(error.contains(&uri.escape_debug().to_string()), "{uri}: {error}");
        }
    }

    #[test]
    fn a_path_longer_than_a_socket_address_is_refused() {
        let longest = format!("unix:///{}", "x".repeat(106));
        assert_eq!(parsed(&longest), longest);
        let error = shown(&Address::parse(&format!("{longest}x")).unwrap_err());
        assert!(error.contains("108 bytes") && error.contains("at most 107"), "{error}");
    }
}
