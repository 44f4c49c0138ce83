//! What changes hands: the [`HandoffPayload`] of a predecessor, the [`Inheritance`] of a successor.
//!
//! Both are a manifest and the descriptors that it lists, in its order. This file alone knows that order.

use std::{
    collections::HashMap,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::{
    HandoffError,
    channel::{ChannelError, Receiver, Sender},
    error::Step,
    message::{GenerationEntry, ListenerEntry, Manifest, Message, StateEntry, Versions},
    state::SealedState,
};
use crate::{
    bind::ListeningSocket,
    metrics::{EarlierGeneration, MetricsPage},
    sys::ProcessHandle,
};

/// More descriptors than any process may have open by default; a manifest with more is garbage.
const MOST_DESCRIPTORS: usize = 1 << 20;

/// What a predecessor hands over.
#[derive(Debug)]
pub(crate) struct HandoffPayload<L> {
    pub(crate) generation: u64,
    /// The listening sockets, as long as something holds them open.
    pub(crate) listeners: Vec<(ListenerEntry, L)>,
    pub(crate) state: Vec<(String, SealedState)>,
    /// The predecessor itself, then the older generations that still drain.
    pub(crate) generations: Vec<EarlierGeneration>,
    /// Where the successor shall count.
    pub(crate) page: Option<MetricsPage>,
}

/// What a successor was handed; by default nothing.
#[derive(Debug, Default)]
pub(crate) struct Inheritance {
    /// The number of the predecessor's generation.
    pub(crate) generation: u64,
    pub(crate) listeners: Vec<(ListenerEntry, ListeningSocket)>,
    pub(crate) state: HashMap<String, SealedState>,
    /// The predecessor, then the older generations that still drain.
    pub(crate) generations: Vec<EarlierGeneration>,
    /// Where this generation shall count.
    pub(crate) page: Option<MetricsPage>,
}

impl<L: AsFd> HandoffPayload<L> {
    fn manifest(&self) -> Manifest {
        Manifest {
            versions: Versions::OURS,
            generation: self.generation,
            descriptors: self.descriptors().len(),
            listeners: self.listeners.iter().map(|(entry, _)| entry.clone()).collect(),
            state: self.state.iter().map(|(name, _)| StateEntry { name: name.clone() }).collect(),
            generations: self.generations.iter().map(GenerationEntry::of).collect(),
            page: self.page.is_some(),
        }
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let listeners = self.listeners.iter().map(|(_, listener)| listener.as_fd());
        let state = self.state.iter().map(|(_, state)| state.as_fd());
        let generations = self.generations.iter().flat_map(|earlier| {
            earlier.page.as_ref().map(AsFd::as_fd).into_iter().chain([earlier.process.as_fd()])
        });
        let page = self.page.as_ref().map(AsFd::as_fd);
        listeners.chain(state).chain(generations).chain(page).collect()
    }

    /// Sends all of it. Not cancel safe.
    pub(super) async fn send(&self, sender: Sender<'_>) -> Result<(), ChannelError> {
        sender.send(&Message::Manifest(self.manifest())).await?;
        sender.send_descriptors(&self.descriptors()).await
    }
}

impl Inheritance {
    /// Receives all of it, and checks every listening socket. What a newer version has sent beyond that is closed.
    pub(super) async fn receive(mut receiver: Receiver<'_>) -> Result<Self, HandoffError> {
        let step = Step::Manifest;
        let failed = |error| HandoffError::channel(step, error);
        let wrong = |reason: String| HandoffError::Protocol { step, reason };
        let said =
            |message: &Message, wanted| wrong(format!("it said `{}` instead of `{wanted}`", message.name()));

        let manifest = match receiver.receive().await.map_err(failed)? {
            Message::Manifest(manifest) => manifest,
            Message::Abort { reason } => return Err(HandoffError::Aborted { reason }),
            other => return Err(said(&other, "manifest")),
        };
        if manifest.versions.agreed().is_none() {
            let (theirs, ours) = (manifest.versions, Versions::OURS);
            return Err(wrong(format!("it speaks {theirs}, this process {ours}")));
        }
        if !(manifest.known_descriptors()..=MOST_DESCRIPTORS).contains(&manifest.descriptors) {
            return Err(wrong(format!("its manifest does not fit {} descriptors", manifest.descriptors)));
        }
        let mut descriptors = Vec::new();
        while descriptors.len() < manifest.descriptors {
            match receiver.receive().await.map_err(failed)? {
                Message::Descriptors { count } => {
                    descriptors.extend(receiver.take_descriptors(count).map_err(failed)?);
                }
                Message::Abort { reason } => return Err(HandoffError::Aborted { reason }),
                other => return Err(said(&other, "descriptors")),
            }
        }
        Self::of(manifest, descriptors)
    }

    fn of(manifest: Manifest, descriptors: Vec<OwnedFd>) -> Result<Self, HandoffError> {
        let mut descriptors = descriptors.into_iter();
        let mut listeners = Vec::with_capacity(manifest.listeners.len());
        for (entry, descriptor) in manifest.listeners.into_iter().zip(&mut descriptors) {
            let socket = ListeningSocket::inherited(&entry.name, descriptor, &entry.socket)?;
            listeners.push((entry, socket));
        }
        let state = manifest.state.into_iter().zip(&mut descriptors);
        let state =
            state.map(|(entry, descriptor)| (entry.name, SealedState::received(descriptor))).collect();
        let mut generations = Vec::with_capacity(manifest.generations.len());
        for GenerationEntry { generation, pid, page } in manifest.generations {
            // As many as the manifest says were counted before.
            let page = page.then(|| descriptors.next()).flatten().map(MetricsPage::from);
            if let Some(process) = descriptors.next() {
                let process = ProcessHandle::from_pidfd(pid, process);
                generations.push(EarlierGeneration { generation, pid, page, process });
            }
        }
        let page = manifest.page.then(|| descriptors.next()).flatten().map(MetricsPage::from);
        Ok(Self { generation: manifest.generation, listeners, state, generations, page })
    }
}

impl GenerationEntry {
    const fn of(earlier: &EarlierGeneration) -> Self {
        Self { generation: earlier.generation, pid: earlier.pid, page: earlier.page.is_some() }
    }

    /// How many descriptors it has.
    const fn descriptors(&self) -> usize {
        if self.page { 2 } else { 1 }
    }
}

impl Manifest {
    /// How many descriptors the entries that this version knows have.
    fn known_descriptors(&self) -> usize {
        let generations: usize = self.generations.iter().map(GenerationEntry::descriptors).sum();
        self.listeners.len() + self.state.len() + generations + usize::from(self.page)
    }
}
