//! The first bytes of a connection: which HTTP is it?
//!
//! hyper-util's `auto` would sniff as well. It is not used because it has no deadline for the first byte, and
//! because asking it to drain in this state drops the connection: a client that connected a moment before a
//! restart would lose its first request.

use std::{io, time::Duration};

use hyper::rt::ReadBufCursor;
use portcullis_layers::{Connection, Drain};
use tokio::{
    io::AsyncReadExt,
    time::{self, Instant},
};

use super::HttpError;

/// What an HTTP/2 client sends first (RFC 9113, 3.4).
const HTTP2: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long after its start a connection that has sent nothing is given when a drain begins. Its first request may
/// be on its way, and a client does not try again on a new connection that was closed. Go's `net/http` waits as
/// long before it takes a new connection for an idle one.
pub(super) const NEWCOMER: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// Bytes that were read to find out the version, to be read once more.
#[derive(Debug)]
pub(super) struct Preface {
    bytes: [u8; HTTP2.len()],
    replayed: usize,
    filled: usize,
}

impl Preface {
    const fn new() -> Self {
        Self { bytes: [0; HTTP2.len()], replayed: 0, filled: 0 }
    }

    /// Puts what is left into `buf`; false if nothing is.
    pub(super) fn replay(&mut self, buf: &mut ReadBufCursor<'_>) -> bool {
        let left = &self.bytes[self.replayed..self.filled];
        if left.is_empty() {
            return false;
        }
        let now = &left[..left.len().min(buf.remaining())];
        buf.put_slice(now);
        self.replayed += now.len();
        true
    }

    /// What the bytes so far say; `None` while they could become either.
    fn version(&self) -> Option<Version> {
        let so_far = &self.bytes[..self.filled];
        match HTTP2.as_slice().strip_prefix(so_far) {
            Some([]) => Some(Version::Http2),
            Some(_) => None,
            None => Some(Version::Http1),
        }
    }

    async fn read<C: Connection>(&mut self, connection: &mut C) -> io::Result<Option<Version>> {
        while self.version().is_none() {
            let read = connection.read(&mut self.bytes[self.filled..]).await?;
            if read == 0 {
                // The end. After a few bytes it is for HTTP/1 to say that this is no request.
                return Ok((self.filled > 0).then_some(Version::Http1));
            }
            self.filled += read;
        }
        Ok(self.version())
    }
}

/// Reads until the version is certain. `None` if the peer left, or if a drain began and nothing came.
pub(super) async fn read<C: Connection>(
    connection: &mut C,
    drain: &Drain,
    timeout: Duration,
) -> Result<Option<(Version, Preface)>, HttpError> {
    let started = Instant::now();
    let newcomer_no_more = async {
        drain.signaled().await;
        time::sleep_until(started + NEWCOMER).await;
    };
    let mut preface = Preface::new();
    let version = tokio::select! {
        biased;
        read = preface.read(connection) => read.map_err(HttpError::Io)?,
        () = newcomer_no_more => None,
        () = time::sleep_until(started + timeout) => return Err(HttpError::header_timeout(timeout)),
    };
    Ok(version.map(|version| (version, preface)))
}
