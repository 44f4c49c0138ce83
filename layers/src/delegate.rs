//! The macro that writes the forwarding methods of a wrapper.

/// Writes the methods of [`AsyncRead`](tokio::io::AsyncRead), [`AsyncWrite`](tokio::io::AsyncWrite)
/// and [`Connection`](crate::Connection) that forward to the stream in a field.
///
/// `impl[generics] for Type => field` implements all three traits; with the names of traits before
/// `for`, only those. To write some methods by hand, implement the trait and let the macro fill in
/// the others: `field: method, method, ...`. Vectored writes are forwarded, too; a wrapper that
/// overrides `poll_write` must override `poll_write_vectored`.
///
/// ```
/// use portcullis_layers::{Connection, Peer, delegate_connection};
///
/// /// A stream that reports another peer, as one behind a proxy does.
/// struct Proxied<C> {
///     inner: C,
///     client: Peer,
/// }
///
/// delegate_connection!(impl[C: Connection] AsyncRead, AsyncWrite for Proxied<C> => inner);
///
/// impl<C: Connection> Connection for Proxied<C> {
///     delegate_connection!(inner: local, tls, drain, on_event);
///
///     fn peer(&self) -> Peer {
///         self.client
///     }
/// }
///
/// /// A stream that adds nothing to what it forwards.
/// struct Tagged<C>(C, &'static str);
///
/// delegate_connection!(impl[C: Connection] for Tagged<C> => 0);
/// # let (near, _far) = tokio::io::duplex(64);
/// # let stream = Tagged(Proxied { inner: near, client: Peer::Ip(([192, 0, 2, 7], 80).into()) }, "tag");
/// # assert_eq!(stream.peer().to_string(), "192.0.2.7:80");
/// # assert!(!stream.drain().is_signaled());
/// ```
#[macro_export]
macro_rules! delegate_connection {
    (impl [$($generics:tt)*] for $type:ty => $field:tt) => {
        $crate::delegate_connection!(impl[$($generics)*] AsyncRead for $type => $field);
        $crate::delegate_connection!(impl[$($generics)*] AsyncWrite for $type => $field);
        $crate::delegate_connection!(impl[$($generics)*] Connection for $type => $field);
    };
    (impl [$($generics:tt)*] AsyncRead for $type:ty => $field:tt) => {
        impl<$($generics)*> $crate::__private::AsyncRead for $type {
            $crate::delegate_connection!($field: poll_read);
        }
    };
    (impl [$($generics:tt)*] AsyncWrite for $type:ty => $field:tt) => {
        impl<$($generics)*> $crate::__private::AsyncWrite for $type {
            $crate::delegate_connection!(
                $field: poll_write, poll_write_vectored, is_write_vectored, poll_flush, poll_shutdown
            );
        }
    };
    (impl [$($generics:tt)*] Connection for $type:ty => $field:tt) => {
        impl<$($generics)*> $crate::Connection for $type {
            $crate::delegate_connection!($field: peer, local, tls, drain, on_event);
        }
    };
    (impl [$($generics:tt)*] AsyncRead, AsyncWrite for $type:ty => $field:tt) => {
        $crate::delegate_connection!(impl[$($generics)*] AsyncRead for $type => $field);
        $crate::delegate_connection!(impl[$($generics)*] AsyncWrite for $type => $field);
    };
    ($field:tt: poll_read) => {
        fn poll_read(
            self: ::core::pin::Pin<&mut Self>,
            cx: &mut ::core::task::Context<'_>,
            buf: &mut $crate::__private::ReadBuf<'_>,
        ) -> ::core::task::Poll<::std::io::Result<()>> {
            let inner = ::core::pin::Pin::new(&mut self.get_mut().$field);
            $crate::__private::AsyncRead::poll_read(inner, cx, buf)
        }
    };
    ($field:tt: poll_write) => {
        fn poll_write(
            self: ::core::pin::Pin<&mut Self>,
            cx: &mut ::core::task::Context<'_>,
            buf: &[u8],
        ) -> ::core::task::Poll<::std::io::Result<usize>> {
            let inner = ::core::pin::Pin::new(&mut self.get_mut().$field);
            $crate::__private::AsyncWrite::poll_write(inner, cx, buf)
        }
    };
    ($field:tt: poll_write_vectored) => {
        fn poll_write_vectored(
            self: ::core::pin::Pin<&mut Self>,
            cx: &mut ::core::task::Context<'_>,
            bufs: &[::std::io::IoSlice<'_>],
        ) -> ::core::task::Poll<::std::io::Result<usize>> {
            let inner = ::core::pin::Pin::new(&mut self.get_mut().$field);
            $crate::__private::AsyncWrite::poll_write_vectored(inner, cx, bufs)
        }
    };
    ($field:tt: is_write_vectored) => {
        fn is_write_vectored(&self) -> bool {
            $crate::__private::AsyncWrite::is_write_vectored(&self.$field)
        }
    };
    ($field:tt: poll_flush) => {
        fn poll_flush(
            self: ::core::pin::Pin<&mut Self>,
            cx: &mut ::core::task::Context<'_>,
        ) -> ::core::task::Poll<::std::io::Result<()>> {
            let inner = ::core::pin::Pin::new(&mut self.get_mut().$field);
            $crate::__private::AsyncWrite::poll_flush(inner, cx)
        }
    };
    ($field:tt: poll_shutdown) => {
        fn poll_shutdown(
            self: ::core::pin::Pin<&mut Self>,
            cx: &mut ::core::task::Context<'_>,
        ) -> ::core::task::Poll<::std::io::Result<()>> {
            let inner = ::core::pin::Pin::new(&mut self.get_mut().$field);
            $crate::__private::AsyncWrite::poll_shutdown(inner, cx)
        }
    };
    ($field:tt: peer) => {
        fn peer(&self) -> $crate::Peer {
            $crate::Connection::peer(&self.$field)
        }
    };
    ($field:tt: local) => {
        fn local(&self) -> $crate::LocalAddress {
            $crate::Connection::local(&self.$field)
        }
    };
    ($field:tt: tls) => {
        fn tls(&self) -> ::core::option::Option<&$crate::TlsInfo> {
            $crate::Connection::tls(&self.$field)
        }
    };
    ($field:tt: drain) => {
        fn drain(&self) -> $crate::Drain {
            $crate::Connection::drain(&self.$field)
        }
    };
    ($field:tt: on_event) => {
        fn on_event(&self, event: &$crate::ConnectionEvent<'_>) {
            $crate::Connection::on_event(&self.$field, event);
        }
    };
    ($field:tt: $method:ident, $($more:ident),+ $(,)?) => {
        $crate::delegate_connection!($field: $method);
        $crate::delegate_connection!($field: $($more),+);
    };
}

// So that imports inside the crate name the module. Without layers there are none.
#[allow(unused_imports)]
pub(crate) use delegate_connection;
