//! A layer that does something of its own before it calls the service above it.

use std::{
    io, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use portcullis::layers::{BoxError, Connection};
use tower::{Layer, Service};

/// Sends a greeting first.
#[derive(Clone, Debug)]
pub(crate) struct GreetLayer {
    greeting: Arc<str>,
}

impl GreetLayer {
    pub(crate) fn new(greeting: &str) -> Self {
        Self { greeting: greeting.into() }
    }
}

impl<S> Layer<S> for GreetLayer {
    type Service = Greet<S>;

    fn layer(&self, inner: S) -> Greet<S> {
        Greet { inner, greeting: Arc::clone(&self.greeting) }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Greet<S> {
    inner: S,
    greeting: Arc<str>,
}

impl<C, S> Service<C> for Greet<S>
where
    C: Connection,
    S: Service<C, Response = ()> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = ();
    type Error = BoxError;
    type Future = GreetFuture<C, S>;

    // Forwarded, so that a limit further in stops the accept loop.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, connection: C) -> Self::Future {
        // The service that was asked whether it is ready goes with this connection; the next call asks the clone.
        let clone = self.inner.clone();
        let inner = mem::replace(&mut self.inner, clone);
        let greeting = Greeting { connection, text: Arc::clone(&self.greeting), sent: 0 };
        GreetFuture { greeting: Some(greeting), inner, serving: None }
    }
}

/// A connection that is being greeted.
struct Greeting<C> {
    connection: C,
    text: Arc<str>,
    sent: usize,
}

impl<C: Connection> Greeting<C> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let text = self.text.as_bytes();
        while self.sent < text.len() {
            match ready!(Pin::new(&mut self.connection).poll_write(cx, &text[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        // A TLS stream holds back what is not flushed.
        Pin::new(&mut self.connection).poll_flush(cx)
    }
}

pin_project! {
    /// The whole life of the connection: the greeting, then what the service above makes of it.
    pub(crate) struct GreetFuture<C, S>
    where
        S: Service<C>,
    {
        greeting: Option<Greeting<C>>,
        inner: S,
        #[pin]
        serving: Option<S::Future>,
    }
}

impl<C, S> Future for GreetFuture<C, S>
where
    C: Connection,
    S: Service<C, Response = ()>,
    S::Error: Into<BoxError>,
{
    type Output = Result<(), BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(greeting) = this.greeting {
            ready!(greeting.poll_send(cx))?;
        }
        if let Some(greeted) = this.greeting.take() {
            this.serving.set(Some(this.inner.call(greeted.connection)));
        }
        match this.serving.as_pin_mut() {
            Some(serving) => serving.poll(cx).map_err(Into::into),
            // Only after a failed greeting, of which the result was given already.
            None => Poll::Pending,
        }
    }
}
