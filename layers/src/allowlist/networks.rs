//! A set of networks, and the text that lists them.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use ipnet::IpNet;

use super::{NetworkError, network::canonical, parse_network, ranges::Ranges};

/// An immutable set of addresses, given as networks.
///
/// - A lookup takes time logarithmic in the number of networks, and allocates nothing.
/// - Networks that overlap or touch are merged, so their order and repetition mean nothing, and two sets of
///   the same addresses are equal.
/// - A clone is cheap, and shares the set.
///
/// # Families
///
/// An IPv4-mapped IPv6 address (`::ffff:a.b.c.d`, RFC 4291, 2.5.5.2) *is* its IPv4 address, in a network
/// as in a peer: `::ffff:10.0.0.0/104` is `10.0.0.0/8`, and `::ffff:10.0.0.1` is in both. All other IPv6
/// networks hold IPv6 addresses only, also those whose range includes `::ffff:0:0/96`: `::/0` does not allow
/// any IPv4 peer. The zone of a link-local address is not compared.
///
/// # From text
///
/// A list in text is separated by commas, and each entry is read by [`parse_network`]. A list without
/// entries is an error: to deny all, say so with `Networks::default()`.
///
/// ```
/// use portcullis_layers::allowlist::Networks;
///
/// let networks: Networks = "10.0.0.0/8, 192.0.2.7, 2001:db8::/32".parse()?;
/// assert!(networks.contains("10.20.30.40".parse()?));
/// assert!(networks.contains("::ffff:192.0.2.7".parse()?));
/// assert!(!networks.contains("2001:db9::1".parse()?));
///
/// let error = "10.0.0.0/8,010.0.0.0/8".parse::<Networks>().unwrap_err();
/// assert!(error.to_string().starts_with("entry 2 of the list: \"010.0.0.0/8\""));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Networks {
    families: Arc<Families>,
}

#[derive(Default, PartialEq, Eq, Hash)]
struct Families {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl Networks {
    /// The addresses that are in at least one of the networks. With no networks, none.
    ///
    /// Bits beyond a network's prefix are ignored: `10.0.0.1/8` is `10.0.0.0/8`.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match canonical(network) {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self { families: Arc::new(Families { v4: Ranges::new(v4), v6: Ranges::new(v6) }) }
    }

    /// Whether the address, in its canonical form, is in one of the networks.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.families.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.families.v6.contains(address.to_bits()),
        }
    }

    /// The number of ranges of addresses that the networks were merged into: at most as many as there were
    /// networks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.families.v4.len() + self.families.v6.len()
    }

    /// Whether no address is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// See [`Networks::new`].
impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self::new(networks)
    }
}

/// The networks of a list separated by commas; see [the type](Networks#from-text).
impl FromStr for Networks {
    type Err = NetworkListError;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        if list.trim().is_empty() {
            return Err(NetworkListError::Empty);
        }
        list.split(',')
            .zip(1..)
            .map(|(entry, position)| {
                parse_network(entry).map_err(|error| NetworkListError::Entry { position, error })
            })
            .collect()
    }
}

/// The ranges of addresses in the set.
impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut set = f.debug_set();
        for (first, last) in self.families.v4.iter() {
            set.entry(&(first..=last));
        }
        for (first, last) in self.families.v6.iter() {
            set.entry(&(first..=last));
        }
        set.finish()
    }
}

/// Why a text is not a list of networks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkListError {
    /// There is nothing in the list, where it is more likely that something was forgotten than that nobody
    /// shall be allowed.
    #[error("the list of networks is empty; write at least one, such as `127.0.0.0/8,::1/128`")]
    Empty,
    /// An entry is not a network.
    #[error("entry {position} of the list: {error}")]
    #[non_exhaustive]
    Entry {
        /// Which entry it is, counted from 1.
        position: usize,
        /// What is wrong with it.
        error: NetworkError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &str) -> Networks {
        list.parse().expect("a list of networks")
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().expect("an address")
    }

    #[test]
    fn mapped_addresses_and_networks_are_ipv4() {
        for list in ["10.0.0.0/8", "::ffff:10.0.0.0/104"] {
            let networks = networks(list);
            assert!(networks.contains(ip("10.1.2.3")), "{list}");
            assert!(networks.contains(ip("::ffff:10.1.2.3")), "{list}");
            assert!(!networks.contains(ip("11.0.0.0")), "{list}");
            assert!(!networks.contains(ip("::10.1.2.3")), "{list}: compatible is not mapped");
        }
        // Also where the network does not come from text.
        let built = Networks::new(["::ffff:10.0.0.9/104".parse().expect("a network")]);
        assert_eq!(built, networks("10.0.0.0/8"));
    }

    #[test]
    fn other_ipv6_networks_hold_no_ipv4_address() {
        let networks = networks("::/0");
        assert!(networks.contains(ip("2001:db8::1")));
        assert!(!networks.contains(ip("10.0.0.1")));
        assert!(!networks.contains(ip("::ffff:10.0.0.1")));
    }

    #[test]
    fn no_networks_hold_nothing() {
        for networks in [Networks::default(), Networks::new([])] {
            assert!(networks.is_empty());
            assert!(!networks.contains(ip("127.0.0.1")));
            assert!(!networks.contains(ip("::")));
        }
    }

    #[test]
    fn bits_beyond_the_prefix_are_ignored() {
        let built = Networks::new(["10.9.9.9/8".parse().expect("a network")]);
        assert_eq!(built, networks("10.0.0.0/8"));
    }

    #[test]
    fn sets_of_the_same_addresses_are_equal() {
        let halves = networks("10.128.0.0/9,::1,10.0.0.0/9,10.2.0.0/16,::1/128");
        assert_eq!(halves, networks("10.0.0.0/8,::1"));
        assert_eq!(halves.len(), 2);
        assert_eq!(format!("{halves:?}"), "{10.0.0.0..=10.255.255.255, ::1..=::1}");
    }

    #[test]
    fn an_error_says_which_entry_is_wrong() {
        let said = |list: &str| list.parse::<Networks>().expect_err(list).to_string();
        assert_eq!(
            said("127.0.0.0/8, 10.0/16 ,::1"),
            "entry 2 of the list: \"10.0/16\" has fewer than four octets; write `10.0.0.0/16`"
        );
        assert_eq!(
            said("10.0.0.0/8,"),
            "entry 2 of the list: there is nothing where a network should be; \
             write one such as `10.0.0.0/8`, or remove the comma"
        );
        assert_eq!(
            "10.0.0.0/8,,::1".parse::<Networks>(),
            Err(NetworkListError::Entry { position: 2, error: NetworkError::Empty })
        );
    }

    #[test]
    fn an_empty_list_is_refused() {
        for list in ["", " \t"] {
            assert_eq!(list.parse::<Networks>(), Err(NetworkListError::Empty));
        }
    }
}
