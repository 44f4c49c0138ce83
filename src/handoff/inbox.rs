//! What was received and not taken yet: bytes become messages here, without a socket.

use std::{collections::VecDeque, os::fd::OwnedFd};

use serde::de::DeserializeOwned;

use super::channel::ChannelError;
use crate::sys::Received;

/// The longest message in bytes. Far above what a manifest of thousands of listeners takes; a length beyond it is
/// garbage, and must not make us allocate.
pub(crate) const LONGEST_FRAME: usize = 1024 * 1024;

/// Length of a frame's header in bytes.
pub(super) const HEADER: usize = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Inbox {
    /// Bytes that are not yet a whole frame.
    bytes: Vec<u8>,
    /// Descriptors that no message has claimed yet.
    descriptors: VecDeque<OwnedFd>,
    /// Descriptors that the other side may send before they are claimed: what it sends beyond that must not use up ours.
    welcome: usize,
    /// The longest message that is received, in bytes.
    longest: usize,
}

impl Inbox {
    pub(super) const fn new(welcome: usize) -> Self {
        Self { bytes: Vec::new(), descriptors: VecDeque::new(), welcome, longest: LONGEST_FRAME }
    }

    /// Refuses messages that are longer than so many bytes. Default: [`LONGEST_FRAME`].
    #[cfg(feature = "control")]
    pub(super) const fn set_longest(&mut self, bytes: usize) {
        self.longest = bytes;
    }

    /// Keeps what was read into `buffer`, and what came with it.
    ///
    /// Called when [`next_frame`](Self::next_frame) has nothing: so there is never more here than one frame and what came with
    /// its end.
    pub(super) fn take_in(&mut self, received: Received, buffer: &[u8]) -> Result<(), ChannelError> {
        self.descriptors.extend(received.descriptors);
        if received.cut_off {
            return Err(ChannelError::DescriptorsLost);
        }
        if self.descriptors.len() > self.welcome {
            return Err(ChannelError::Garbled("descriptors that nobody asked for".to_owned()));
        }
        if received.bytes == 0 {
            return Err(ChannelError::Closed);
        }
        self.bytes.extend_from_slice(&buffer[..received.bytes]);
        Ok(())
    }

    /// The first whole message, of whatever conversation this is, or `None` if its end has not come yet.
    pub(super) fn next_frame<M: DeserializeOwned>(&mut self) -> Result<Option<M>, ChannelError> {
        let Some(header) = self.bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_be_bytes(*header) as usize;
        if length > self.longest {
            return Err(ChannelError::Garbled(format!("a message of {length} bytes")));
        }
        let end = HEADER + length;
        if self.bytes.len() < end {
            return Ok(None);
        }
        let message = serde_json::from_slice(&self.bytes[HEADER..end])
            .map_err(|error| ChannelError::Garbled(error.to_string()))?;
        self.bytes.drain(..end);
        Ok(Some(message))
    }

    /// Takes the descriptors that came with a message.
    pub(super) fn take_descriptors(&mut self, count: usize) -> Result<Vec<OwnedFd>, ChannelError> {
        if self.descriptors.len() < count {
            return Err(ChannelError::DescriptorsLost);
        }
        Ok(self.descriptors.drain(..count).collect())
    }
}

#[cfg(test)]
mod tests;
