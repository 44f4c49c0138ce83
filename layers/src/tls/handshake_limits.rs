//! How many handshakes may be in progress.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{address::Peer, outcome::RejectReason};

/// How many handshakes may be in progress at a time; connections beyond that are closed at once,
/// before anything is read.
///
/// A client that does not finish its handshake holds one until the deadline; so the limit of a peer
/// is what keeps a single one from taking all. A peer is an IPv4 address, or an IPv6 network of 64
/// bits, which is what one customer is given. Peers without an address (Unix sockets) are counted
/// in the total alone.
///
/// A handshake is in progress from the call of the service until it is complete, or has failed and
/// the client was told so (which takes a second at most), or was dropped. Connections that are
/// served do not count. Those that are turned away end with [`RejectReason::LimitTotal`] or
/// [`RejectReason::LimitPeer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    pub(super) total: usize,
    pub(super) per_peer: usize,
}

impl HandshakeLimits {
    /// So many in all, and so many of one peer.
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
