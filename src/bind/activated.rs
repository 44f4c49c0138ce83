//! A socket that a service manager passed to this process (`sd_listen_fds(3)`).

use portcullis_layers::ErrorChain;

use super::{DescriptorError, DescriptorProblem, ListenAddr, ListeningSocket, PassedBy};

/// One descriptor that was passed.
#[derive(Debug)]
pub(crate) struct ActivatedSocket {
    /// The listener's name, or what the `.socket` unit calls it.
    pub(crate) name: String,
    /// Whether it was in the descriptor store, where only this service puts anything.
    pub(crate) stored: bool,
    /// What can be listened on, or why it cannot.
    pub(crate) socket: Result<ListeningSocket, DescriptorError>,
}

impl ActivatedSocket {
    /// Why one that has the listener's name is not what the listener asks for.
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

    /// Closes one that no listener asked for, and logs that.
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
