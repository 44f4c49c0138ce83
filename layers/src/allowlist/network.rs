//! One network: its canonical form, and how it is read from text.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::NetworkError;

/// The first 96 of the 128 bits of an IPv4-mapped address are the mapping (RFC 4291, 2.5.5.2).
const MAPPING_BITS: u8 = 96;

/// Reads one network, such as `10.0.0.0/8`, `2001:db8::/32`, or a bare address, which is the network of that
/// address alone.
///
/// Spaces around it are ignored. Bits beyond the prefix are ignored too: `10.0.0.1/8` is `10.0.0.0/8`. An
/// IPv4-mapped network is returned as IPv4: `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
///
/// # Errors
///
/// Anything that a reader, or another program, might take for a different network is refused:
/// `010.0.0.0/8` (octal?), `10.0/16` (`10.0.0.0`? `10.0.0.0` to `10.0.255.255`?), netmasks, zones. The error
/// quotes the text and says what to write instead.
///
/// ```
/// use portcullis_layers::allowlist::parse_network;
///
/// assert_eq!(parse_network(" 10.0.0.1/8 ")?, "10.0.0.0/8".parse()?);
/// assert_eq!(parse_network("::1")?, "::1/128".parse()?);
///
/// assert_eq!(
///     parse_network("10.0/16").unwrap_err().to_string(),
///     "\"10.0/16\" has fewer than four octets; write `10.0.0.0/16`"
/// );
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn parse_network(text: &str) -> Result<IpNet, NetworkError> {
    let entry = text.trim();
    if entry.is_empty() {
        return Err(NetworkError::Empty);
    }
    read(entry).map_err(|refusal| refusal.explain(entry))
}

/// Reads the entry to the letter.
pub(super) fn read(entry: &str) -> Result<IpNet, Refusal> {
    let (address, prefix) = parts(entry);
    let ip: IpAddr = address.parse().map_err(|_| Refusal::Address)?;
    let longest = match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    let bits = prefix.map_or(Some(longest), decimal).ok_or(Refusal::Prefix { ip, longest })?;
    if let IpAddr::V6(v6) = ip
        && let Some(v4) = v6.to_ipv4_mapped()
        && bits < MAPPING_BITS
    {
        return Err(Refusal::Mapped { v4, bits });
    }
    let network = IpNet::new(ip, bits).map_err(|_| Refusal::Prefix { ip, longest })?;
    Ok(canonical(network))
}

/// What stands before the first `/`, and after it.
pub(super) fn parts(entry: &str) -> (&str, Option<&str>) {
    match entry.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (entry, None),
    }
}

/// A number in digits alone; `u8::from_str` would take a sign and leading zeros too.
fn decimal(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// The network without the bits beyond its prefix; as IPv4 where all its addresses are IPv4-mapped.
pub(super) fn canonical(network: IpNet) -> IpNet {
    let network = network.trunc();
    if let IpNet::V6(v6) = network
        && let Some(address) = v6.addr().to_ipv4_mapped()
        && let Some(bits) = v6.prefix_len().checked_sub(MAPPING_BITS)
        && let Ok(v4) = Ipv4Net::new(address, bits)
    {
        return v4.into();
    }
    network
}

/// Where [`read`] stopped.
pub(super) enum Refusal {
    Address,
    Prefix { ip: IpAddr, longest: u8 },
    Mapped { v4: Ipv4Addr, bits: u8 },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_mean_one_network_only_is_normalised() {
        for (text, network) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.1/8", "10.0.0.0/8"),
            ("10.255.255.255/0", "0.0.0.0/0"),
            (" \t10.0.0.0/8\n", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("2001:DB8:0:0::1/32", "2001:db8::/32"),
            ("2001:0db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:a00:1", "10.0.0.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::fffe:0:0/95", "::fffe:0:0/95"),
        ] {
            assert_eq!(parse_network(text).map(|net| net.to_string()).as_deref(), Ok(network), "{text:?}");
        }
    }

    /// The text is refused, and the error quotes it and suggests `instead`.
    fn refused(text: &str, instead: &str) -> NetworkError {
        let error = parse_network(text).expect_err(text);
        let said = error.to_string();
        assert!(said.contains(&format!("{:?}", text.trim())), "quotes {text:?}: {said}");
        assert!(said.contains(instead), "suggests {instead}: {said}");
        error
    }

    #[test]
    fn a_leading_zero_is_refused() {
        for (text, instead) in [
            ("010.0.0.0/8", "`10.0.0.0/8`"),
            (" 10.00.0.0/8 ", "`10.0.0.0/8`"),
            ("192.168.001.010", "`192.168.1.10`"),
        ] {
            assert!(matches!(refused(text, instead), NetworkError::LeadingZero { .. }), "{text:?}");
        }
        // Inside IPv6 it is refused too, without a suggestion of its own.
        assert!(matches!(refused("::ffff:010.0.0.0/104", "such as"), NetworkError::Address { .. }));
    }

    #[test]
    fn a_shortened_address_is_refused() {
        for (text, instead) in [
            ("10.0/16", "`10.0.0.0/16`"),
            ("10/8", "`10.0.0.0/8`"),
            ("010.1/16", "`10.1.0.0/16`"),
            ("192.168.1", "`192.168.1.0/24`"),
        ] {
            assert!(matches!(refused(text, instead), NetworkError::Incomplete { .. }), "{text:?}");
        }
    }

    #[test]
    fn a_prefix_that_the_address_cannot_have_is_refused() {
        for text in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/08", "10.0.0.0/-1", "10.0.0.0/8/8"]
        {
            let error = refused(text, "0 to 32");
            assert!(matches!(error, NetworkError::Prefix { longest: 32, .. }), "{text:?}");
        }
        for text in ["10.0.0.0/256", "10.0.0.0/264", "10.0.0.0/ 8", "10.0.0.0/eight", "10.0.0.0/0.0.0.255"] {
            let error = refused(text, "0 to 32");
            assert!(matches!(error, NetworkError::Prefix { longest: 32, .. }), "{text:?}");
        }
        for text in ["::1/129", "::/00", "2001:db8::/ffff::"] {
            let error = refused(text, "0 to 128");
            assert!(matches!(error, NetworkError::Prefix { longest: 128, .. }), "{text:?}");
        }
    }

    #[test]
    fn a_netmask_is_refused() {
        let error = refused("10.0.0.1/255.0.0.0", "`10.0.0.0/8`");
        assert!(matches!(error, NetworkError::Netmask { .. }));
    }

    #[test]
    fn a_zone_is_refused() {
        for (text, instead) in [
            ("fe80::1%eth0", "`fe80::1`"),
            ("fe80::1%eth0/64", "`fe80::1/64`"),
            ("fe80::1/64%eth0", "`fe80::1/64`"),
        ] {
            assert!(matches!(refused(text, instead), NetworkError::Zone { .. }), "{text:?}");
        }
    }

    #[test]
    fn a_mapped_network_wider_than_ipv4_is_refused() {
        for (text, instead) in [
            ("::ffff:10.1.0.0/16", "`10.1.0.0/16`"),
            ("::ffff:10.0.0.0/95", "`10.0.0.0/32`"),
            ("::ffff:0:0/0", "`0.0.0.0/0`"),
        ] {
            assert!(matches!(refused(text, instead), NetworkError::MappedPrefix { .. }), "{text:?}");
        }
    }

    #[test]
    fn nothing_is_not_a_network() {
        assert_eq!(parse_network(""), Err(NetworkError::Empty));
        assert_eq!(parse_network(" \t "), Err(NetworkError::Empty));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "localhost",
            "*",
            "/",
            "/8",
            "10.0.0.0:80",
            "[::1]",
            "[::1]/128",
            "10.0.0.0 /8",
            "10.0.0.0 10.0.0.1",
            "10.0.0.0.0/8",
            "256.0.0.0/8",
            "10..0.0/8",
            "10.0.0./8",
            "0x0a.0.0.0/8",
            "1::2::3",
            "10.0/33",
            "%eth0",
            "10.0.0.0-10.0.0.9",
            "١٠.0.0.0/8",
            "10.0.0.0\0/8",
        ] {
            assert!(matches!(refused(text, "such as"), NetworkError::Address { .. }), "{text:?}");
        }
    }
}
