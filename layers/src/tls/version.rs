//! The versions of TLS as rustls names them.

use tokio_rustls::rustls::{self, SupportedProtocolVersion};

use crate::tls_info::TlsVersion;

impl TlsVersion {
    /// This version and the younger ones.
    pub(super) const fn and_younger_ones(self) -> &'static [Self] {
        match self {
            Self::V1_2 => &[Self::V1_2, Self::V1_3],
            Self::V1_3 => &[Self::V1_3],
        }
    }

    /// This version and the younger ones, as rustls wants them.
    pub(super) fn and_younger(self) -> &'static [&'static SupportedProtocolVersion] {
        static FROM_1_2: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
        static FROM_1_3: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        match self {
            Self::V1_2 => &FROM_1_2,
            Self::V1_3 => &FROM_1_3,
        }
    }
}
