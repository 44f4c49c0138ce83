//! The end of a connection whose handshake failed.

use std::{
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::ReadBuf;
use tokio_rustls::rustls::{AlertDescription, ContentType};

use crate::connection::Connection;

/// The level of an alert that ends the connection.
const FATAL: u8 = 2;

/// The length of a record with an alert in the clear.
const ALERT: usize = 7;

/// How many bytes of a client that goes on talking are read and thrown away.
const PATIENCE: usize = 64 * 1024;

/// Closes a stream so that the alert is not lost.
///
/// rustls has written an alert, or left it to us. If the stream were dropped while bytes of the
/// client are unread or on their way (the rest of a large request, or what a TLS 1.3 client sends
/// before it learns that its certificate was refused), TCP would answer them with a reset, and a
/// reset lets the client's system throw away what had arrived. So: close for writing, then read
/// until the client has closed too. The caller sets a deadline.
#[derive(Debug)]
pub(super) struct LingeringClose<C> {
    io: C,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Writing what is left of an alert.
    Alert { record: [u8; ALERT], sent: usize },
    /// Closing for writing.
    Shutdown,
    /// Reading what nobody will look at; so many bytes more.
    Discard { left: usize },
}

impl<C: Connection> LingeringClose<C> {
    /// After an alert that has been written.
    pub(super) const fn new(io: C) -> Self {
        Self { io, state: State::Shutdown }
    }

    /// Writes a fatal alert first, in the clear (RFC 8446, 6). Nothing else may have been written
    /// before.
    pub(super) fn with_alert(io: C, alert: AlertDescription) -> Self {
        let record = [u8::from(ContentType::Alert), 3, 3, 0, 2, FATAL, u8::from(alert)];
        Self { io, state: State::Alert { record, sent: 0 } }
    }

    /// Ready when there is nothing more to wait for. How it went does not matter: the handshake has
    /// failed already.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.state {
                State::Alert { record, sent } => {
                    match ready!(Pin::new(&mut self.io).poll_write(cx, &record[*sent..])) {
                        Ok(0) | Err(_) => return Poll::Ready(()),
                        Ok(written) => *sent += written,
                    }
                    if *sent == ALERT {
                        self.state = State::Shutdown;
                    }
                }
                State::Shutdown => {
                    if ready!(Pin::new(&mut self.io).poll_shutdown(cx)).is_err() {
                        return Poll::Ready(());
                    }
                    self.state = State::Discard { left: PATIENCE };
                }
                State::Discard { left } => {
                    let mut bytes = [MaybeUninit::uninit(); 4096];
                    let mut bytes = ReadBuf::uninit(&mut bytes);
                    let result = ready!(Pin::new(&mut self.io).poll_read(cx, &mut bytes));
                    let read = bytes.filled().len();
                    if result.is_err() || read == 0 || read >= *left {
                        return Poll::Ready(());
                    }
                    *left -= read;
                }
            }
        }
    }
}
