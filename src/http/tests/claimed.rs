use portcullis_layers::{Connection, Drain, Peer, delegate_connection};

/// A connection that claims a peer, and drains when the test says so.
#[derive(Debug)]
pub(crate) struct Claimed<C> {
    inner: C,
    peer: Peer,
    drain: Drain,
}

impl<C> Claimed<C> {
    pub(crate) fn new(inner: C, peer: Peer, drain: Drain) -> Self {
        Self { inner, peer, drain }
    }
}

impl<C: Connection> Connection for Claimed<C> {
    delegate_connection!(inner: local, tls, on_event);

    fn peer(&self) -> Peer {
        self.peer
    }

    fn drain(&self) -> Drain {
        self.drain.clone()
    }
}

delegate_connection!(impl[C: Connection] AsyncRead, AsyncWrite for Claimed<C> => inner);
