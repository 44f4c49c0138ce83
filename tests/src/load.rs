//! Clients that come and go all the time, and clients that stay, while something happens to the server.

use std::time::Duration;

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::{Client, Fault, Target, noise::Noise, within};

/// Clients at work. Dropped, they vanish; [`stop`](Self::stop) lets them finish and says what they met.
pub struct Load {
    target: Target,
    stopped: watch::Sender<bool>,
    visits: watch::Sender<usize>,
    clients: JoinSet<Tally>,
}

/// What the clients met.
#[derive(Debug, Default)]
pub struct Tally {
    /// Connections that were opened, used and closed.
    pub visits: usize,
    /// Exchanges over connections that stayed open.
    pub pings: usize,
    refused: usize,
    reset: usize,
    short: usize,
    wrong: usize,
    other: usize,
    /// The first few, in words.
    faults: Vec<Fault>,
}

/// Clients that come and go, at the same time.
const VISITORS: usize = 4;
/// Time from one visit of a client to its next, at least: the load must leave some of a small machine to the server.
const VISIT_EVERY: Duration = Duration::from_millis(4);
/// Time between two exchanges over a connection that stays, at least.
const PING_EVERY: Duration = Duration::from_millis(10);
/// The most visits of one client: far more than a test takes, and fewer than there are ports.
const MOST_VISITS: usize = 5000;
/// The largest payload of a visit, in bytes: more than any one buffer in the way.
const LARGEST_VISIT: usize = 40_000;
/// The largest payload of an exchange over a connection that stays, in bytes.
const LARGEST_PING: usize = 4096;

impl Load {
    /// Clients begin to come and go.
    pub fn on(target: &Target) -> Self {
        let mut load = Self {
            target: target.clone(),
            stopped: watch::Sender::new(false),
            visits: watch::Sender::new(0),
            clients: JoinSet::new(),
        };
        for _ in 0..VISITORS {
            let visiting = visit(target.clone(), load.stopped.subscribe(), load.visits.clone());
            load.clients.spawn(visiting);
        }
        load
    }

    /// One more client that stays, and uses its connection all the time. Returns when it was served once.
    pub async fn hold(&mut self) {
        let mut client = self.target.connect().await.expect("a connection to hold");
        client.echo(1).await.expect("the first byte");
        self.clients.spawn(stay(client, self.stopped.subscribe()));
    }

    /// Waits until this many visits more are over.
    pub async fn more(&self, visits: usize) {
        let mut over = self.visits.subscribe();
        let goal = *over.borrow() + visits;
        within(&format!("{visits} more visits"), over.wait_for(|over| *over >= goal))
            .await
            .expect("the load goes on");
    }

    /// Lets the clients finish what they do.
    pub async fn stop(mut self) -> Tally {
        self.stopped.send_replace(true);
        let mut all = Tally::default();
        within("the end of the load", async {
            while let Some(tally) = self.clients.join_next().await {
                all.add(tally.expect("a client does not panic"));
            }
        })
        .await;
        all
    }
}

async fn visit(target: Target, stopped: watch::Receiver<bool>, visits: watch::Sender<usize>) -> Tally {
    let mut tally = Tally::default();
    let mut noise = Noise::new();
    let mut turns = interval(VISIT_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*stopped.borrow() && tally.visits < MOST_VISITS {
        turns.tick().await;
        tally.visits += 1;
        if let Err(fault) = target.visit(noise.size(LARGEST_VISIT)).await {
            tally.blame(fault);
        }
        visits.send_modify(|visits| *visits += 1);
    }
    tally
}

async fn stay(mut client: Client, stopped: watch::Receiver<bool>) -> Tally {
    let mut tally = Tally::default();
    let mut noise = Noise::new();
    let mut turns = interval(PING_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*stopped.borrow() {
        turns.tick().await;
        tally.pings += 1;
        if let Err(fault) = client.echo(noise.size(LARGEST_PING)).await {
            tally.blame(fault);
            return tally;
        }
    }
    if let Err(fault) = client.finish().await {
        tally.blame(fault);
    }
    tally
}

impl Tally {
    /// Not one refused, reset, short or wrong byte, in at least this many visits.
    #[track_caller]
    pub fn assert_clean(&self, visits: usize) {
        let faults = self.refused + self.reset + self.short + self.wrong + self.other;
        assert_eq!(faults, 0, "clients were let down: {self:#?}");
        assert!(self.visits >= visits, "too few visits to prove anything: {self:#?}");
    }

    /// As [`assert_clean`](Self::assert_clean), but connections may have been broken off: their process was killed.
    #[track_caller]
    pub fn assert_none_turned_away(&self, visits: usize) {
        assert_eq!(self.refused + self.wrong + self.other, 0, "clients were let down: {self:#?}");
        assert!(self.visits >= visits, "too few visits to prove anything: {self:#?}");
    }

    /// Connections of a process that was killed are cut off, one of each client for each kill at most; nothing else was met.
    #[track_caller]
    pub fn assert_only_cut_off(&self, visits: usize, kills: usize) {
        assert_eq!(self.refused + self.wrong + self.other, 0, "clients were let down: {self:#?}");
        let cut_off = self.reset + self.short;
        assert!(cut_off <= kills * VISITORS, "more were cut off than were served: {self:#?}");
        assert!(self.visits >= visits, "too few visits to prove anything: {self:#?}");
    }

    fn blame(&mut self, fault: Fault) {
        /// As many are told in words.
        const TOLD: usize = 10;

        *match fault {
            Fault::Refused(_) => &mut self.refused,
            Fault::Reset(_) => &mut self.reset,
            Fault::Short(_) => &mut self.short,
            Fault::Wrong(_) => &mut self.wrong,
            Fault::Stalled | Fault::Other(_) => &mut self.other,
        } += 1;
        if self.faults.len() < TOLD {
            self.faults.push(fault);
        }
    }

    fn add(&mut self, other: Self) {
        self.visits += other.visits;
        self.pings += other.pings;
        self.refused += other.refused;
        self.reset += other.reset;
        self.short += other.short;
        self.wrong += other.wrong;
        self.other += other.other;
        self.faults.extend(other.faults);
    }
}
