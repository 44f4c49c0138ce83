//! What the operator says.

use std::{future::poll_fn, io, task::Poll};

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// What a signal is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// The server shall end.
    End(Signal),
    /// It is the serving process' affair.
    Forward(Signal),
    /// A child is over, perhaps more than one.
    Reap,
}

/// The signals, from the moment when this is made.
#[derive(Debug)]
pub(super) struct Signals(Vec<(unix::Signal, Order)>);

impl Signals {
    pub(super) fn install() -> io::Result<Self> {
        let orders = [
            (SignalKind::terminate(), Order::End(Signal::TERM)),
            (SignalKind::interrupt(), Order::End(Signal::INT)),
            (SignalKind::user_defined1(), Order::Forward(Signal::USR1)),
            (SignalKind::user_defined2(), Order::Forward(Signal::USR2)),
            (SignalKind::hangup(), Order::Forward(Signal::HUP)),
            (SignalKind::quit(), Order::Forward(Signal::QUIT)),
            (SignalKind::window_change(), Order::Forward(Signal::WINCH)),
            (SignalKind::child(), Order::Reap),
        ];
        orders
            .into_iter()
            .map(|(kind, order)| Ok((signal(kind)?, order)))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// The next one. Cancel safe.
    pub(super) async fn next(&mut self) -> Order {
        poll_fn(|cx| {
            let came = |(signal, order): &mut (unix::Signal, Order)| {
                matches!(signal.poll_recv(cx), Poll::Ready(Some(()))).then_some(*order)
            };
            self.0.iter_mut().find_map(came).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
