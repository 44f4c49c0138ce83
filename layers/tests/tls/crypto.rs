//! The cryptography that the layers were built with.

// Each test program that includes this uses a part of it.
#![allow(unused_imports)]

#[cfg(feature = "aws-lc-rs")]
pub(crate) use aws_lc_rs::{aead, digest};
#[cfg(feature = "aws-lc-rs")]
pub(crate) use portcullis_layers::tls::rustls::crypto::aws_lc_rs::{default_provider, sign};
#[cfg(not(feature = "aws-lc-rs"))]
pub(crate) use portcullis_layers::tls::rustls::crypto::ring::{default_provider, sign};
#[cfg(not(feature = "aws-lc-rs"))]
pub(crate) use ring::{aead, digest};
