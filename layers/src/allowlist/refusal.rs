//! What is wrong with a text that is not a network, and what was probably meant.

use std::net::IpAddr;

use ipnet::{Ipv4Net, ipv4_mask_to_prefix};

use super::network::{Refusal, parts, read};

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// There is nothing but space, as after a comma too many.
    #[error(
        "there is nothing where a network should be; write one such as `10.0.0.0/8`, or remove the comma"
    )]
    Empty,
    /// What stands before the `/`, or alone, is not an address.
    #[error(
        "{entry:?} is not an IP address or network; write one such as `10.0.0.0/8` or `2001:db8::/32`, \
         without host names, ports or brackets, and with a comma between two"
    )]
    #[non_exhaustive]
    Address {
        /// The text, without the spaces around it.
        entry: String,
    },
    /// An octet begins with a zero, which makes it octal to some programs and decimal to others.
    #[error(
        "{entry:?} has an octet with a leading zero, which some programs read as octal; write `{instead}`"
    )]
    #[non_exhaustive]
    LeadingZero {
        /// The text, without the spaces around it.
        entry: String,
        /// The network with its octets read as decimal.
        instead: String,
    },
    /// An IPv4 address is cut short, which different programs complete differently.
    #[error("{entry:?} has fewer than four octets; write `{instead}`")]
    #[non_exhaustive]
    Incomplete {
        /// The text, without the spaces around it.
        entry: String,
        /// The network with zeros at its end.
        instead: String,
    },
    /// What stands after the `/` is not a number of bits that such an address has.
    #[error(
        "{entry:?} has no valid prefix; write a number from 0 to {longest} after the `/`, in plain digits"
    )]
    #[non_exhaustive]
    Prefix {
        /// The text, without the spaces around it.
        entry: String,
        /// The longest prefix, in bits: 32 for IPv4, 128 for IPv6.
        longest: u8,
    },
    /// A netmask stands where the number of its bits should be.
    #[error("{entry:?} has a netmask for a prefix; write `{instead}`")]
    #[non_exhaustive]
    Netmask {
        /// The text, without the spaces around it.
        entry: String,
        /// The same network with a prefix.
        instead: String,
    },
    /// A zone (`%eth0`, RFC 4007) was given, but only addresses are compared.
    #[error(
        "{entry:?} names a zone, but only addresses are compared; write `{instead}` to allow it in every zone"
    )]
    #[non_exhaustive]
    Zone {
        /// The text, without the spaces around it.
        entry: String,
        /// The network without its zone.
        instead: String,
    },
    /// The prefix of an IPv4-mapped network ends before its IPv4 part begins. Taken by the letter it would be
    /// a vast network of IPv6 that holds no IPv4 peer.
    #[error(
        "{entry:?} is an IPv4-mapped address, whose prefix must be from 96 to 128; \
         write the IPv4 network, such as `{instead}`"
    )]
    #[non_exhaustive]
    MappedPrefix {
        /// The text, without the spaces around it.
        entry: String,
        /// A network of IPv4 that may have been meant.
        instead: String,
    },
}

impl Refusal {
    /// Finds out what was meant.
    pub(super) fn explain(self, entry: &str) -> NetworkError {
        let text = entry.to_owned();
        if let Some(instead) = without_zone(entry) {
            return NetworkError::Zone { entry: text, instead };
        }
        match self {
            Self::Address => match in_four_octets(entry) {
                Some((4, instead)) => NetworkError::LeadingZero { entry: text, instead },
                Some((_, instead)) => NetworkError::Incomplete { entry: text, instead },
                None => NetworkError::Address { entry: text },
            },
            Self::Prefix { ip, longest } => match with_netmask_counted(ip, entry) {
                Some(instead) => NetworkError::Netmask { entry: text, instead },
                None => NetworkError::Prefix { entry: text, longest },
            },
            Self::Mapped { v4, bits } => {
                // The prefix may have been thought of as one of IPv4.
                let meant = Ipv4Net::new(v4, bits).unwrap_or_else(|_| v4.into());
                NetworkError::MappedPrefix { entry: text, instead: meant.trunc().to_string() }
            }
        }
    }
}

/// `fe80::1%eth0/64` and `fe80::1/64%eth0` as `fe80::1/64`.
fn without_zone(entry: &str) -> Option<String> {
    let (before, zone) = entry.split_once('%')?;
    let after = zone.find('/').map_or("", |slash| &zone[slash..]);
    readable(format!("{before}{after}"))
}

/// `010.1/16` as `10.1.0.0/16`, with the number of octets that there were.
fn in_four_octets(entry: &str) -> Option<(usize, String)> {
    let (address, prefix) = parts(entry);
    let given: Vec<&str> = address.split('.').collect();
    let mut octets = ["0"; 4];
    for (octet, given) in octets.get_mut(..given.len())?.iter_mut().zip(&given) {
        *octet = match given.trim_start_matches('0') {
            "" if !given.is_empty() => "0",
            stripped => stripped,
        };
    }
    let address = octets.join(".");
    let instead = match prefix {
        Some(prefix) => format!("{address}/{prefix}"),
        None if given.len() == 4 => address,
        None => format!("{address}/{}", 8 * given.len()),
    };
    readable(instead).map(|instead| (given.len(), instead))
}

/// `10.0.0.1/255.0.0.0` as `10.0.0.0/8`.
fn with_netmask_counted(ip: IpAddr, entry: &str) -> Option<String> {
    let IpAddr::V4(address) = ip else { return None };
    let mask = parts(entry).1?.parse().ok()?;
    let network = Ipv4Net::new(address, ipv4_mask_to_prefix(mask).ok()?).ok()?;
    Some(network.trunc().to_string())
}

/// The suggestion, unless it would be refused in its turn.
fn readable(suggestion: String) -> Option<String> {
    read(&suggestion).is_ok().then_some(suggestion)
}
