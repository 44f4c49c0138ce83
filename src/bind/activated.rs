//! A socket that a service manager passed to this process (`sd_listen_fds(3)`).

use portcullis_layers::ErrorChain;

use super::{DescriptorError, DescriptorProblem, ListenAddr, ListeningSocket, PassedBy};

/// A descriptor that was passed.
#[derive(Debug)]
pub(crate) struct ActivatedSocket {
    /// The name of the listener, or the name in the `.socket` unit.
    pub(crate) name: String,
    /// Whether it comes from the descriptor store, to which only this service adds.
    pub(crate) stored: bool,
    /// The listening socket, or why the descriptor is unusable.
    pub(crate) socket: Result<ListeningSocket, DescriptorError>,
}

impl ActivatedSocket {
    /// Why a descriptor with the name of the listener does not match it.
    pub(super) fn mismatch(self, wanted: &ListenAddr) -> DescriptorError {
        let Self { name, socket, .. } = self;
        match socket {
            Ok(socket) => {
                let (found, wanted) = (socket.local_address().to_string(), wanted.to_string());
                let problem = DescriptorProblem::WrongAddress { found, wanted };
                DescriptorError { name, passed_by: PassedBy::ServiceManager, problem }
            }
            Err(error) => error,
        }
    }

    /// Closes a descriptor that no listener uses, and logs that.
    pub(super) fn close(self) {
        let Self { name, stored, socket } = self;
        match socket {
            Ok(socket) => {
                let (address, hint) =
                    (socket.local_address(), "make its address or name agree with the configuration's");
                log!(
                    warn,
                    name,
                    %address,
                    stored,
                    hint,
                    "the service manager passed a socket that no listener asked for: closed"
                );
            }
            Err(error) => {
                let hint = error.hint();
                log!(
                    warn,
                    error = %ErrorChain(&error),
                    hint,
                    "the service manager passed an unusable descriptor: closed"
                );
            }
        }
    }
}
