//! What the allowlist lets in, on real sockets and by its properties.

mod properties;
mod sockets;
