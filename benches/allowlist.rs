//! The lookup of the allowlist among 10, 10 thousand and 1 million networks, IPv4 and IPv6, of addresses that are allowed and
//! of others.
//!
//! `warm` looks up one random address after the other, as a busy server does. `cold` sweeps the caches before each lookup, and
//! is what the first connection after a pause pays.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ipnet::IpNet;
use portcullis::layers::allowlist::Networks;

const SIZES: [u32; 3] = [10, 10_000, 1_000_000];

/// More than the caches that belong to one core hold, so that `warm` does not look up what it just did.
const PROBES: usize = 1 << 16;

/// Bytes that are swept through: more than any cache holds.
const SWEPT: usize = 64 * 1024 * 1024;

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    const fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    /// The network with this number: a /28 of IPv4, a /48 of IPv6. Those of two numbers do not touch.
    fn network(self, number: u32) -> IpNet {
        let (address, bits) = match self {
            Self::V4 => (self.address(number, 0, true), 28),
            Self::V6 => (self.address(number, 0, true), 48),
        };
        IpNet::new_assert(address, bits)
    }

    /// The address with this number of the network with that number, or of the gap that follows it.
    fn address(self, network: u32, host: u64, allowed: bool) -> IpAddr {
        let place = network * 2 + u32::from(!allowed);
        match self {
            // From 16.0.0.0, 16 addresses each.
            Self::V4 => Ipv4Addr::from_bits((16 << 24) + place * 16 + (host % 16) as u32).into(),
            // From 2000::, a /48 each.
            Self::V6 => {
                Ipv6Addr::from_bits((0x2000 << 112) | (u128::from(place) << 80) | u128::from(host)).into()
            }
        }
    }
}

/// Numbers that look random and are the same each time (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }
}

fn lookups(criterion: &mut Criterion) {
    let swept = vec![1_u8; SWEPT];
    for family in [Family::V4, Family::V6] {
        for size in SIZES {
            let networks = Networks::new((0..size).map(|number| family.network(number)));
            assert_eq!(networks.len(), size as usize, "none touches another");
            for (outcome, allowed) in [("hit", true), ("miss", false)] {
                let mut random = Random(1);
                let mut probe = || {
                    let network = (random.next() % u64::from(size)) as u32;
                    family.address(network, random.next(), allowed)
                };
                let probes: Vec<IpAddr> = (0..PROBES).map(|_| probe()).collect();
                assert!(probes.iter().all(|address| networks.contains(*address) == allowed));

                let mut group = criterion.benchmark_group(format!("allowlist/{}/{outcome}", family.name()));
                group.bench_function(BenchmarkId::new("warm", size), |bencher| {
                    let mut next = probes.iter().cycle();
                    bencher.iter(|| next.next().map(|address| networks.contains(black_box(*address))));
                });
                group.sample_size(10).warm_up_time(Duration::from_millis(100));
                group.bench_function(BenchmarkId::new("cold", size), |bencher| {
                    let mut next = probes.iter().cycle();
                    bencher.iter_custom(|lookups| {
                        (0..lookups)
                            .filter_map(|_| next.next())
                            .map(|address| {
                                sweep(&swept);
                                let began = Instant::now();
                                black_box(networks.contains(black_box(*address)));
                                began.elapsed()
                            })
                            .sum()
                    });
                });
                group.finish();
            }
        }
    }
}

/// Reads so much that nothing else is left in the caches.
fn sweep(memory: &[u8]) {
    const LINE: usize = 64;
    black_box(memory.iter().step_by(LINE).map(|byte| u64::from(*byte)).sum::<u64>());
}

criterion_group!(benches, lookups);
criterion_main!(benches);
