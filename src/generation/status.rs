//! What a generation tells of itself to whoever asks over the control path.

use super::Shared;
use crate::{
    control::{DrainingGeneration, ListenerStatus, Status},
    metrics::EarlierGeneration,
};

impl Shared {
    pub(crate) fn status(&self) -> Status {
        let listeners = self.with_roster(|roster| roster.inventory()).into_iter().map(|(entry, _)| {
            let address = format!("{}://{}", entry.socket.kind, entry.socket.address);
            ListenerStatus { name: entry.name, address }
        });
        let earlier = self.metrics.earlier_generations().into_iter();
        let draining =
            earlier.map(|EarlierGeneration { generation, pid, .. }| DrainingGeneration { generation, pid });
        Status {
            phase: *self.phase.borrow(),
            generation: self.number,
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            listeners: listeners.collect(),
            connections: self.open.connections(),
            draining: draining.collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
