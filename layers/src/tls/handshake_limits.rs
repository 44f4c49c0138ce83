//! How many handshakes may be in progress.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{address::Peer, outcome::RejectReason};

/// The limits on handshakes in progress. Connections beyond them are closed immediately, before
/// anything is read.
///
/// A client that does not finish its handshake occupies a slot until the deadline; the limit of a
/// peer prevents that one client occupies all slots. A peer is an IPv4 address or an IPv6 /64
/// network, which is the usual allocation for one customer. Peers without an address (Unix sockets)
/// count only towards the total.
///
/// A handshake is in progress from `call` until it has completed, has failed and the alert has been
/// sent (at most one second later), or was dropped. Established connections do not count.
/// Connections that are rejected end with [`RejectReason::LimitTotal`] or
/// [`RejectReason::LimitPeer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    pub(super) total: usize,
    pub(super) per_peer: usize,
}

impl HandshakeLimits {
    /// At most `total` handshakes, and `per_peer` of one peer.
    #[must_use]
    pub const fn new(total: usize, per_peer: usize) -> Self {
        Self { total, per_peer }
    }
}

/// 4096 in all, 256 of one peer.
impl Default for HandshakeLimits {
    fn default() -> Self {
        Self::new(4096, 256)
    }
}

/// The handshakes in progress.
#[derive(Debug)]
pub(super) struct Handshakes {
    limits: HandshakeLimits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    /// Only peers that have one.
    peers: HashMap<IpAddr, usize>,
}

/// One handshake, until it is dropped.
#[derive(Debug)]
pub(super) struct InProgress {
    handshakes: Arc<Handshakes>,
    peer: Option<IpAddr>,
}

impl Handshakes {
    pub(super) fn new(limits: HandshakeLimits) -> Self {
        Self { limits, counts: Mutex::default() }
    }

    pub(super) fn begin(self: &Arc<Self>, peer: Peer) -> Result<InProgress, RejectReason> {
        let peer = network(peer);
        let mut counts = self.counts();
        if counts.total >= self.limits.total {
            return Err(RejectReason::LimitTotal);
        }
        if let Some(peer) = peer {
            let count = counts.peers.entry(peer).or_default();
            if *count >= self.limits.per_peer {
                if *count == 0 {
                    counts.peers.remove(&peer);
                }
                return Err(RejectReason::LimitPeer);
            }
            *count += 1;
        }
        counts.total += 1;
        drop(counts);
        Ok(InProgress { handshakes: self.clone(), peer })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        let mut counts = self.handshakes.counts();
        counts.total -= 1;
        if let Some(peer) = self.peer
            && let Some(count) = counts.peers.get_mut(&peer)
        {
            *count -= 1;
            if *count == 0 {
                counts.peers.remove(&peer);
            }
        }
    }
}

/// Whom a peer is counted as.
fn network(peer: Peer) -> Option<IpAddr> {
    Some(match peer.canonical().socket_addr()?.ip() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (!0 << 64))),
        ip => ip,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(ip: &str) -> Peer {
        Peer::from(std::net::SocketAddr::new(ip.parse().unwrap(), 1))
    }

    #[test]
    fn a_peer_is_an_ipv4_address_or_an_ipv6_network() {
        let handshakes = Arc::new(Handshakes::new(HandshakeLimits::new(9, 1)));
        let _first = handshakes.begin(peer("192.0.2.1")).unwrap();
        assert_eq!(handshakes.begin(peer("::ffff:192.0.2.1")).unwrap_err(), RejectReason::LimitPeer);
        let _second = handshakes.begin(peer("192.0.2.2")).unwrap();
        let _third = handshakes.begin(peer("2001:db8::1")).unwrap();
        assert_eq!(handshakes.begin(peer("2001:db8::2")).unwrap_err(), RejectReason::LimitPeer);
        let _fourth = handshakes.begin(peer("2001:db8:0:1::1")).unwrap();
    }

    #[test]
    fn a_handshake_that_is_over_makes_room_and_leaves_nothing() {
        let handshakes = Arc::new(Handshakes::new(HandshakeLimits::new(1, 1)));
        for _ in 0..10_000 {
            let one = handshakes.begin(peer("192.0.2.1")).unwrap();
            assert_eq!(handshakes.begin(peer("192.0.2.2")).unwrap_err(), RejectReason::LimitTotal);
            drop(one);
        }
        let counts = handshakes.counts();
        assert_eq!((counts.total, counts.peers.len()), (0, 0));
    }
}
