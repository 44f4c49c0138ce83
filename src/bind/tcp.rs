//! Binding TCP.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::{BindError, ListenAddr, ListeningSocket, PermissionProblem};

/// Binds the first of the name's addresses that can be bound.
pub(super) fn bind_name(bind: &ListenAddr, host: &str, port: u16) -> Result<ListeningSocket, BindError> {
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|source| BindError::Resolve { uri: bind.to_string(), source })?;
    let mut error = None;
    for address in addresses {
        match self::bind(bind, address) {
            Ok(socket) => return Ok(socket),
            // An address that this machine does not have says the least: any other error is worth more.
            Err(next) if matches!(error, None | Some(BindError::NotAvailable { .. })) => error = Some(next),
            Err(_) => {}
        }
    }
    Err(error.unwrap_or_else(|| BindError::Resolve {
        uri: bind.to_string(),
        source: io::Error::new(io::ErrorKind::NotFound, "it has no addresses"),
    }))
}

pub(super) fn bind(bind: &ListenAddr, address: SocketAddr) -> Result<ListeningSocket, BindError> {
    open(bind, address).map_err(|(doing, source)| {
        let uri = bind.to_string();
        match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { uri, address, source },
            io::ErrorKind::AddrNotAvailable => BindError::NotAvailable { uri, address, source },
            _ if Errno::from_io_error(&source) == Some(Errno::AFNOSUPPORT) => {
                BindError::NotAvailable { uri, address, source }
            }
            io::ErrorKind::PermissionDenied => {
                BindError::Permission { uri, problem: PermissionProblem::PrivilegedPort, source }
            }
            _ => BindError::Io { uri, doing, source },
        }
    })
}

fn open(bind: &ListenAddr, address: SocketAddr) -> Result<ListeningSocket, (&'static str, io::Error)> {
    // socket2 sets close-on-exec in the same call.
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))
        .map_err(|error| ("make a socket", error))?;
    // A first generation shall not wait for the TIME_WAITs of an earlier line. Never SO_REUSEPORT:
    // closing one of several such sockets resets what waits in its queue.
    socket.set_reuse_address(true).map_err(|error| ("set SO_REUSEADDR", error))?;
    if address.is_ipv6() {
        socket.set_only_v6(bind.only_v6).map_err(|error| ("set IPV6_V6ONLY", error))?;
    }
    socket.set_tcp_nodelay(bind.nodelay).map_err(|error| ("set TCP_NODELAY", error))?;
    socket.bind(&address.into()).map_err(|error| ("bind", error))?;
    socket.listen(super::socket::backlog(bind.backlog)).map_err(|error| ("listen", error))?;
    Ok(ListeningSocket::Tcp(socket.into()))
}

/// Whether a socket bound to `bound` is what `wanted` asks for.
pub(super) fn matches(wanted: SocketAddr, bound: SocketAddr) -> bool {
    let scope = match (wanted, bound) {
        (SocketAddr::V6(wanted), SocketAddr::V6(bound)) => {
            wanted.scope_id() == 0 || wanted.scope_id() == bound.scope_id()
        }
        _ => true,
    };
    scope && wanted.ip() == bound.ip() && (wanted.port() == 0 || wanted.port() == bound.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use portcullis_layers::LocalAddress;
    use rustix::io::{FdFlags, fcntl_getfd};
    use socket2::SockRef;

    use super::*;

    fn listen(bind: &ListenAddr) -> (Socket, SocketAddr) {
        let socket = bind.bind().unwrap();
        let LocalAddress::Ip(address) = socket.local_address() else { panic!("{socket:?}") };
        let ListeningSocket::Tcp(listener) = socket else { panic!("{socket:?}") };
        (listener.into(), address)
    }

    fn uri(uri: &str) -> ListenAddr {
        uri.parse().unwrap()
    }

    fn accepted(listener: &Socket, address: impl ToSocketAddrs) -> Socket {
        let client = TcpStream::connect(address).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        drop(client);
        accepted
    }

    #[test]
    fn a_bound_socket_listens_without_blocking_and_closes_on_exec() {
        let (socket, address) = listen(&uri("tcp://127.0.0.1:0"));
        assert_ne!(address.port(), 0);
        assert!(socket.is_listener().unwrap());
        assert!(socket.nonblocking().unwrap());
        assert!(socket.reuse_address().unwrap());
        assert!(!socket.reuse_port().unwrap());
        assert!(fcntl_getfd(&socket).unwrap().contains(FdFlags::CLOEXEC));
    }

    #[test]
    fn accepted_sockets_have_nodelay_from_the_listener() {
        for nodelay in [true, false] {
            let (listener, address) = listen(&uri("tcp://127.0.0.1:0").nodelay(nodelay));
            assert_eq!(accepted(&listener, address).tcp_nodelay().unwrap(), nodelay);
        }
        assert!(uri("tcp://127.0.0.1:0").nodelay, "the default");
    }

    #[test]
    fn the_unspecified_v6_address_is_dual_stack_unless_told_otherwise() {
        let (listener, address) = listen(&uri("tcp://[::]:0"));
        let peer = accepted(&listener, ("127.0.0.1", address.port())).peer_addr().unwrap();
        assert_eq!(peer.as_socket().unwrap().ip().to_string(), "::ffff:127.0.0.1");
        accepted(&listener, ("::1", address.port()));

        let (listener, address) = listen(&uri("tcp://[::]:0").only_v6(true));
        let refused = TcpStream::connect(("127.0.0.1", address.port())).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        accepted(&listener, ("::1", address.port()));
    }

    #[test]
    fn an_address_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = uri(&format!("tcp://{address}")).bind().unwrap_err();
        assert!(matches!(&error, BindError::InUse { address: a, .. } if *a == address), "{error:?}");
        assert!(error.to_string().contains(&format!("`tcp://{address}`")), "{error}");
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        // TEST-NET-1 (RFC 5737): nobody has it.
        let error = uri("tcp://192.0.2.1:0").bind().unwrap_err();
        assert!(matches!(error, BindError::NotAvailable { .. }), "{error:?}");
    }

    #[test]
    fn a_name_binds_one_of_its_addresses() {
        let (_socket, address) = listen(&uri("tcp://localhost:0"));
        assert!(address.ip().is_loopback());
    }

    #[test]
    fn a_name_that_does_not_exist_is_named() {
        // `.invalid` never resolves (RFC 6761).
        let error = uri("tcp://nobody.invalid:80").bind().unwrap_err();
        assert!(matches!(error, BindError::Resolve { .. }), "{error:?}");
        assert!(error.to_string().contains("tcp://nobody.invalid:80"), "{error}");
    }

    #[test]
    fn a_huge_backlog_is_clamped_and_not_refused() {
        let (socket, address) = listen(&uri("tcp://127.0.0.1:0").backlog(u32::MAX));
        accepted(&socket, address);
        assert!(SockRef::from(&socket).is_listener().unwrap());
    }
}
