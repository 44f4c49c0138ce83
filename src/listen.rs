//! [`Generation::listen`]: a listener on a socket that was passed to this process, or that is bound now.

use std::{io, sync::Arc};

use portcullis_layers::LocalAddress;
use socket2::SockRef;

use crate::{
    bind::{
        Acceptor, BindError, CONTROL, DescriptorError, ListenAddr, ListeningSocket, NameError, ReservedName,
    },
    generation::Generation,
    listener::{GracefulListener, ListenerHandle},
};

/// Why a listener could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The name is reserved for the control path, even if there is none.
    #[error("listener {name:?}: the name is reserved for the control path")]
    #[non_exhaustive]
    Reserved {
        /// The name.
        name: String,
    },
    /// Another listener has this name.
    #[error("listener {name:?}: the name is already in use")]
    #[non_exhaustive]
    Duplicate {
        /// The name.
        name: String,
    },
    /// This generation hands over to a successor, or drains.
    #[error("listener {name:?}: this generation hands over or drains, and adds no listeners")]
    #[non_exhaustive]
    TooLate {
        /// The name.
        name: String,
    },
    /// The address cannot be bound.
    #[error("listener {name:?}: cannot listen")]
    #[non_exhaustive]
    Bind {
        /// The name of the listener.
        name: String,
        /// The reason.
        #[source]
        source: BindError,
    },
    /// The service manager passed a descriptor with this name that does not match the listener.
    #[error("listener {name:?}: cannot use the descriptor that the service manager passed")]
    #[non_exhaustive]
    Activation {
        /// The name of the listener.
        name: String,
        /// The reason.
        #[source]
        source: DescriptorError,
    },
    /// The socket cannot be registered with the runtime.
    #[error("listener {name:?}: cannot be registered with the tokio runtime")]
    #[non_exhaustive]
    Register {
        /// The name of the listener.
        name: String,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
}

impl ListenError {
    fn name(error: NameError, name: &str) -> Self {
        let name = name.to_owned();
        match error {
            NameError::Duplicate => Self::Duplicate { name },
            NameError::TooLate => Self::TooLate { name },
        }
    }

    fn bind(name: &str, source: BindError) -> Self {
        Self::Bind { name: name.to_owned(), source }
    }

    fn register(name: &str, source: io::Error) -> Self {
        Self::Register { name: name.to_string(), source }
    }
}

impl Generation {
    /// Creates a listener on `address`. Metrics, logs and the next generation identify it by
    /// `name`.
    ///
    /// If the predecessor or the service manager passed a socket that is bound to this address, the
    /// listener uses it; if there are several, the one with this name. The options of `address`
    /// that concern the socket (backlog, mode) are then ignored. Otherwise the address is bound.
    ///
    /// Blocks while a host name is resolved, and while the directory of a Unix path is locked.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// # use portcullis::Generation;
    /// let generation = Generation::builder().start().await?;
    /// let public = generation.listen("public", "tcp://[::]:6789")?;
    /// let local = generation.listen("local", "unix:///run/echo.sock")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// When the address cannot be parsed or bound, when the name is in use or `control`, when the
    /// service manager passed another socket under this name, and when this generation hands over or
    /// drains.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn listen<A>(&self, name: &str, address: A) -> Result<GracefulListener, ListenError>
    where
        A: TryInto<ListenAddr, Error: Into<BindError>>,
    {
        let address = address.try_into().map_err(|error| ListenError::bind(name, error.into()))?;
        let reserved = self.reserve_name(name)?;
        self.take_or_bind(reserved, &address)
    }

    /// Creates a listener on a TCP socket that is already listening, for example one that a test
    /// bound to port 0.
    ///
    /// If the predecessor passed a socket with this name that is bound to the same host, with any
    /// port, the listener uses that socket and closes `socket`. So the socket of the first
    /// generation stays in use across restarts. A new port has no effect then; the log has both addresses where
    /// they differ. Sets `socket` to non-blocking and close-on-exec.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// # use portcullis::Generation;
    /// let generation = Generation::builder().start().await?;
    /// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let listener = generation.listen_on("echo", socket)?;
    /// println!("listens on {}", listener.local_address());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// When the name is in use or `control`, when the socket cannot be registered with the tokio
    /// runtime, when the service manager passed another socket under this name, and when this
    /// generation hands over or drains.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn listen_on(
        &self,
        name: &str,
        socket: std::net::TcpListener,
    ) -> Result<GracefulListener, ListenError> {
        let reserved = self.reserve_name(name)?;
        let register = |source| ListenError::register(name, source);
        let address = socket.local_addr().map_err(register)?;
        socket.set_nonblocking(true).map_err(register)?;
        // One that came from C, or was passed to this process, may be inheritable: it must not stay open in children.
        SockRef::from(&socket).set_cloexec(true).map_err(register)?;
        let (inherited, socket) = match self.take_inherited(name, &ListenAddr::any_port(address.ip()))? {
            Some((inherited, socket)) => {
                let used = socket.local_address();
                if used != LocalAddress::Ip(address) {
                    log!(
                        info,
                        listener = name,
                        given = %address,
                        %used,
                        "an inherited socket is used instead of the given one"
                    );
                }
                (Some(inherited), socket)
            }
            None => (None, ListeningSocket::Tcp(socket)),
        };
        self.register(reserved, format!("tcp://{address}"), socket, inherited)
    }

    /// The listener on the control path. `bound`: its socket, if it is bound already.
    #[cfg(feature = "control")]
    pub(crate) fn listen_for_control(
        &self,
        address: &ListenAddr,
        bound: Option<ListeningSocket>,
    ) -> Result<GracefulListener, ListenError> {
        let reserved = self.reserve(CONTROL)?;
        if let Some(socket) = bound {
            return self.register(reserved, address.to_string(), socket, None);
        }
        self.take_or_bind(reserved, address)
    }

    /// Uses the socket that was passed to this process, or binds one.
    fn take_or_bind(
        &self,
        name: ReservedName,
        address: &ListenAddr,
    ) -> Result<GracefulListener, ListenError> {
        let (inherited, socket) = match self.take_inherited(name.as_str(), address)? {
            Some((inherited, socket)) => (Some(inherited), socket),
            None => (None, address.bind().map_err(|error| ListenError::bind(name.as_str(), error))?),
        };
        self.register(name, address.to_string(), socket, inherited)
    }

    fn reserve_name(&self, name: &str) -> Result<ReservedName, ListenError> {
        if name == CONTROL {
            return Err(ListenError::Reserved { name: name.to_owned() });
        }
        self.reserve(name)
    }

    fn reserve(&self, name: &str) -> Result<ReservedName, ListenError> {
        self.registry().reserve(name).map_err(|error| ListenError::name(error, name))
    }

    fn take_inherited(
        &self,
        name: &str,
        address: &ListenAddr,
    ) -> Result<Option<(String, ListeningSocket)>, ListenError> {
        let taken = self.registry().take_inherited(name, address);
        taken.map_err(|source| ListenError::Activation { name: name.to_owned(), source })
    }

    /// The name is reserved, so this generation is not ready meanwhile.
    fn register(
        &self,
        name: ReservedName,
        uri: String,
        socket: ListeningSocket,
        inherited: Option<String>,
    ) -> Result<GracefulListener, ListenError> {
        let kept = self.keeps_socket(name.as_str());
        let acceptor =
            Acceptor::new(socket, kept).map_err(|source| ListenError::register(name.as_str(), source))?;
        let acceptor = Arc::new(acceptor);
        let (given, inherited_here) = (name.as_str().to_owned(), inherited.is_some());
        let name = match name.enter(uri, acceptor.clone(), inherited) {
            Ok(name) => name,
            Err(error) => {
                // The path of a socket that was bound just now is of no use to anybody.
                if !inherited_here && !kept {
                    acceptor.unlink();
                }
                return Err(ListenError::name(error, &given));
            }
        };
        let address = acceptor.local_address();
        log!(info, listener = &*name, %address, inherited = inherited_here, "listening");
        Ok(GracefulListener::new(ListenerHandle {
            lifecycle: self.lifecycle().clone(),
            registry: self.registry().clone(),
            name,
            acceptor,
            metrics_prefix: self.metrics_prefix().clone(),
            while_draining: false,
        }))
    }
}
