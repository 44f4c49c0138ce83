//! The conversation of a handshake: the ClientHello, and the rest if what it asks for can be had.

use std::{
    future::Future,
    io, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio_rustls::{
    LazyConfigAcceptor,
    rustls::server::Acceptor,
    server::{FallibleAccept, TlsStream},
};

use super::{
    active_config::ActiveConfig, error::Seen, loaded_config::LoadedConfig, observed_io::ObservedIo,
    scope::handshaking,
};
use crate::connection::Connection;

/// Reads the ClientHello before anything is decided: a client that asks for what cannot be had is
/// refused before it costs a signature, with the alert that says why, and one that came before a
/// reload but says so after it is served what is new.
pub(super) struct Negotiation<C> {
    active: Arc<ActiveConfig>,
    stage: Stage<C>,
    seen: Seen,
}

enum Stage<C> {
    Hello(LazyConfigAcceptor<ObservedIo<C>>),
    Rest(FallibleAccept<ObservedIo<C>>, Arc<LoadedConfig>),
    Over,
}

impl<C: Connection> Negotiation<C> {
    pub(super) fn new(active: Arc<ActiveConfig>, io: ObservedIo<C>) -> Self {
        let stage = Stage::Hello(LazyConfigAcceptor::new(Acceptor::default(), io));
        Self { active, stage, seen: Seen::default() }
    }
}

impl<C> Negotiation<C> {
    /// For who is to say why it failed; not needed here any more.
    pub(super) fn take_seen(&mut self) -> Seen {
        mem::take(&mut self.seen)
    }
}

impl<C: Connection> Future for Negotiation<C> {
    /// The stream, and what was served to its client; or what tokio-rustls says, with the stream
    /// below.
    type Output = Result<(TlsStream<ObservedIo<C>>, Arc<LoadedConfig>), (io::Error, ObservedIo<C>)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.stage {
                Stage::Hello(acceptor) => match ready!(Pin::new(&mut *acceptor).poll(cx)) {
                    Ok(start) => {
                        let loaded = self.active.current();
                        let hello = start.client_hello();
                        let admitted = loaded.admit(&hello);
                        self.seen.server_name = hello.server_name().map(Box::from);
                        if let Err(error) = admitted {
                            let error = io::Error::new(io::ErrorKind::InvalidData, error);
                            self.stage = Stage::Over;
                            return Poll::Ready(Err((error, start.io)));
                        }
                        // Looks at the client's tickets.
                        let into_stream = || start.into_stream(loaded.config.clone()).into_fallible();
                        let (rest, _) = handshaking(into_stream);
                        self.stage = Stage::Rest(rest, loaded);
                    }
                    Err(error) => {
                        let io = acceptor.take_io().expect("it fails once, and keeps the stream then");
                        self.stage = Stage::Over;
                        return Poll::Ready(Err((error, io)));
                    }
                },
                Stage::Rest(rest, _) => {
                    let (result, refused) = handshaking(|| Pin::new(rest).poll(cx));
                    self.seen.refused = refused;
                    let result = ready!(result);
                    let Stage::Rest(_, loaded) = mem::replace(&mut self.stage, Stage::Over) else {
                        continue;
                    };
                    return Poll::Ready(result.map(|stream| (stream, loaded)));
                }
                Stage::Over => panic!("a TLS negotiation was polled after its end"),
            }
        }
    }
}
