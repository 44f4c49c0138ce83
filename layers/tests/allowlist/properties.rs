//! Whether an address is in a set of networks never differs from a plain scan, and a text is never read as
//! another network than the one it names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portcullis_layers::allowlist::{NetworkError, Networks, parse_network};
use proptest::{collection::vec, prelude::*, sample::Index};

/// What [`Networks::contains`] promises, one network after the other, by [`IpNet::contains`].
fn scan(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| match (network, address.to_canonical()) {
        (IpNet::V4(v4), IpAddr::V4(address)) => v4.contains(&address),
        // An IPv6 network judges IPv4 peers only if it lies in the mapped addresses altogether.
        (IpNet::V6(v6), IpAddr::V4(address)) => {
            let mapped: Ipv6Net = "::ffff:0:0/96".parse().unwrap();
            mapped.contains(v6) && v6.contains(&address.to_ipv6_mapped())
        }
        (IpNet::V6(v6), IpAddr::V6(address)) => v6.contains(&address),
        (IpNet::V4(_), IpAddr::V6(_)) => false,
    })
}

/// Few distinct high bits, so that networks overlap and touch; bits beyond the prefix are left as they are.
fn v4_network() -> impl Strategy<Value = Ipv4Net> {
    let address =
        prop_oneof![any::<u32>(), (0u32..4, any::<u32>()).prop_map(|(high, low)| (high << 30) | (low % 512))];
    let prefix = prop_oneof![1 => 0u8..=32, 4 => 20u8..=32];
    (address, prefix).prop_map(|(address, prefix)| Ipv4Net::new(address.into(), prefix).unwrap())
}

fn v6_network() -> impl Strategy<Value = Ipv6Net> {
    let address = prop_oneof![
        any::<u128>(),
        (0u128..4, any::<u128>()).prop_map(|(high, low)| (high << 126) | (low % 512)),
        // In and around the mapped addresses.
        (0xfffe_u128..=0xffff, any::<u32>()).prop_map(|(word, low)| (word << 32) | u128::from(low)),
    ];
    let prefix = prop_oneof![1 => 0u8..=128, 2 => 76u8..=100, 4 => 116u8..=128];
    (address, prefix).prop_map(|(address, prefix)| Ipv6Net::new(address.into(), prefix).unwrap())
}

fn network() -> impl Strategy<Value = IpNet> {
    prop_oneof![v4_network().prop_map(IpNet::V4), v6_network().prop_map(IpNet::V6)]
}

/// Where to look: near an edge of one of the networks, or anywhere.
#[derive(Debug, Clone)]
enum Probe {
    Edge { network: Index, last: bool, offset: i8, mapped: bool },
    Anywhere(IpAddr),
}

fn probe() -> impl Strategy<Value = Probe> {
    let edge = (any::<Index>(), any::<bool>(), -2i8..=2, any::<bool>())
        .prop_map(|(network, last, offset, mapped)| Probe::Edge { network, last, offset, mapped });
    let anywhere = prop_oneof![
        any::<Ipv4Addr>().prop_map(IpAddr::V4),
        any::<Ipv6Addr>().prop_map(IpAddr::V6),
        any::<Ipv4Addr>().prop_map(|v4| IpAddr::V6(v4.to_ipv6_mapped())),
    ];
    prop_oneof![8 => edge, 1 => anywhere.prop_map(Probe::Anywhere)]
}

impl Probe {
    fn address(&self, networks: &[IpNet]) -> IpAddr {
        match self {
            Self::Anywhere(address) => *address,
            Self::Edge { network, last, offset, mapped } => {
                let network = network.get(networks);
                match if *last { network.broadcast() } else { network.network() } {
                    IpAddr::V4(edge) => {
                        let near = Ipv4Addr::from(edge.to_bits().wrapping_add_signed((*offset).into()));
                        if *mapped { near.to_ipv6_mapped().into() } else { near.into() }
                    }
                    IpAddr::V6(edge) => {
                        IpAddr::V6(edge.to_bits().wrapping_add_signed((*offset).into()).into())
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_lookup_agrees_with_a_plain_scan(networks in vec(network(), 1..40), probes in vec(probe(), 64)) {
        let set: Networks = networks.iter().copied().collect();
        prop_assert!(set.len() <= networks.len());
        for probe in probes {
            let address = probe.address(&networks);
            prop_assert_eq!(set.contains(address), scan(&networks, address), "{}", address);
        }
    }

    #[test]
    fn order_and_repetition_mean_nothing(
        networks in vec(network(), 1..40).prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
    ) {
        let (networks, mut shuffled) = networks;
        shuffled.push(networks[0]);
        prop_assert_eq!(Networks::new(networks), Networks::new(shuffled));
    }

    #[test]
    fn a_network_survives_its_own_text(network in network()) {
        match parse_network(&format!(" {network} ")) {
            Ok(read) => prop_assert_eq!(Networks::new([read]), Networks::new([network])),
            // The one kind of network that text may not name.
            Err(error) => {
                let refused_as_mapped = matches!(error, NetworkError::MappedPrefix { .. });
                prop_assert!(refused_as_mapped, "{}", error);
                let IpAddr::V6(address) = network.addr() else { panic!("{network} was refused: {error}") };
                prop_assert!(address.to_ipv4_mapped().is_some() && network.prefix_len() < 96);
            }
        }
    }

    /// Whatever is accepted is what the strict parsers of std say; whatever is suggested is accepted.
    #[test]
    fn a_text_is_never_read_as_another_network(
        text in prop_oneof![
            "[0-9]{1,4}(\\.[0-9]{1,4}){0,4}(/[0-9]{0,3})?",
            "(::ffff:)?0?[0-9]{1,3}(\\.0?[0-9]{1,2}){3}/[0-9]{1,3}",
            "[0-9]{1,3}\\.0\\.0\\.0/(255|254|0)\\.(255|128|0)\\.0\\.0",
            "[0-9a-f:]{1,8}::[0-9a-f]{0,4}(%[a-z0-9]{0,4})?(/[0-9]{0,3})?",
            "[ -~]{0,20}",
        ],
    ) {
        match parse_network(&text) {
            Ok(network) => {
                let (address, prefix) = text.trim().split_once('/').map_or((text.trim(), None), |(a, p)| (a, Some(p)));
                let address: IpAddr = address.parse().unwrap();
                prop_assert_eq!(network, network.trunc());
                prop_assert!(network.contains(&address.to_canonical()));
                let mapping = if address.to_canonical() == address { 0 } else { 96 };
                match prefix {
                    Some(prefix) => prop_assert_eq!((network.prefix_len() + mapping).to_string(), prefix),
                    None => prop_assert_eq!(network.prefix_len(), network.max_prefix_len()),
                }
            }
            Err(
                NetworkError::LeadingZero { instead, .. }
                | NetworkError::Incomplete { instead, .. }
                | NetworkError::Netmask { instead, .. }
                | NetworkError::Zone { instead, .. }
                | NetworkError::MappedPrefix { instead, .. },
            ) => prop_assert!(parse_network(&instead).is_ok(), "{} is suggested and refused", instead),
            Err(_) => {}
        }
    }
}

#[test]
fn probes_find_both_hits_and_misses() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    let mut runner = TestRunner::deterministic();
    let (mut hits, mut misses) = (0, 0);
    for _ in 0..200 {
        let (networks, probe) = (vec(network(), 1..5), probe()).new_tree(&mut runner).unwrap().current();
        if scan(&networks, probe.address(&networks)) { hits += 1 } else { misses += 1 }
    }
    assert!(hits > 40 && misses > 40, "{hits} hits, {misses} misses: the properties above prove little");
}
