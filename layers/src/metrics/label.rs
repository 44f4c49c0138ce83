//! The values of the labels: closed sets, each with an index into an array of counters.

use crate::{
    label_enum::label_enum,
    outcome::{CloseReason, HandshakeFailure, RejectReason},
    tls_info::{TlsInfo, TlsVersion},
};

/// A label whose values are known when the series are registered.
pub(super) trait Label: Copy + 'static {
    /// Every value, in the order of its index.
    const ALL: &'static [Self];

    fn index(self) -> usize;

    fn word(self) -> &'static str;
}

/// For the enums that have their words from [`label_enum!`].
macro_rules! has_words {
    ($($type:ty),+ $(,)?) => {$(
        impl Label for $type {
            const ALL: &'static [Self] = <$type>::ALL;

            fn index(self) -> usize {
                self as usize
            }

            fn word(self) -> &'static str {
                self.as_str()
            }
        }
    )+};
}

has_words!(RejectReason, CloseReason, HandshakeFailure, TlsVersion, Direction, Group, Cipher, Alpn);

/// Whether a session was resumed.
impl Label for bool {
    const ALL: &'static [Self] = &[false, true];

    fn index(self) -> usize {
        self.into()
    }

    fn word(self) -> &'static str {
        if self { "true" } else { "false" }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Direction {
    Read,
    Written,
}

label_enum!(pub(super) Direction {
    Read => "read",
    Written => "written",
});

/// The group of the key exchange, by the names that rustls uses: those that its aws-lc-rs provider can agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    X25519Mlkem768,
    Secp256r1Mlkem768,
    Mlkem768,
    Mlkem1024,
    X25519,
    Secp256r1,
    Secp384r1,
    /// A session that was resumed without a key exchange.
    None,
    /// One that a provider of your own brought along.
    Other,
}

label_enum!(pub(super) Group {
    X25519Mlkem768 => "X25519MLKEM768",
    Secp256r1Mlkem768 => "secp256r1MLKEM768",
    Mlkem768 => "MLKEM768",
    Mlkem1024 => "MLKEM1024",
    X25519 => "X25519",
    Secp256r1 => "secp256r1",
    Secp384r1 => "secp384r1",
    None => "none",
    Other => "other",
});

impl Group {
    pub(super) fn of(tls: &TlsInfo) -> Self {
        tls.key_exchange_group.map_or(Self::None, |group| named(Some(group), Self::Other))
    }
}

/// The cipher suite, by the names that rustls uses: those that its aws-lc-rs provider can agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cipher {
    Aes256,
    Aes128,
    Chacha20,
    EcdsaAes256,
    EcdsaAes128,
    EcdsaChacha20,
    RsaAes256,
    RsaAes128,
    RsaChacha20,
    /// One that a provider of your own brought along.
    Other,
}

label_enum!(pub(super) Cipher {
    Aes256 => "TLS13_AES_256_GCM_SHA384",
    Aes128 => "TLS13_AES_128_GCM_SHA256",
    Chacha20 => "TLS13_CHACHA20_POLY1305_SHA256",
    EcdsaAes256 => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    EcdsaAes128 => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    EcdsaChacha20 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    RsaAes256 => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    RsaAes128 => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    RsaChacha20 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    Other => "other",
});

impl Cipher {
    pub(super) fn of(tls: &TlsInfo) -> Self {
        named(Some(tls.cipher_suite), Self::Other)
    }
}

/// The application protocol, by its name in IANA's registry: those that a server of streams is likely to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alpn {
    H2,
    Http11,
    Http10,
    AcmeTls,
    Postgresql,
    Mqtt,
    Imap,
    Pop3,
    Smtp,
    Xmpp,
    Dot,
    None,
    Other,
}

label_enum!(pub(super) Alpn {
    H2 => "h2",
    Http11 => "http/1.1",
    Http10 => "http/1.0",
    AcmeTls => "acme-tls/1",
    Postgresql => "postgresql",
    Mqtt => "mqtt",
    Imap => "imap",
    Pop3 => "pop3",
    Smtp => "smtp",
    Xmpp => "xmpp-client",
    Dot => "dot",
    None => "none",
    Other => "other",
});

impl Alpn {
    pub(super) fn of(tls: &TlsInfo) -> Self {
        tls.alpn.as_deref().map_or(Self::None, Self::of_protocol)
    }

    fn of_protocol(protocol: &[u8]) -> Self {
        match named(str::from_utf8(protocol).ok(), Self::Other) {
            // The client may call its protocol so. The word is ours, and says that there is none.
            Self::None => Self::Other,
            known => known,
        }
    }
}

/// The value with this name. One handshake is one search in a handful of words.
fn named<L: Label>(name: Option<&str>, otherwise: L) -> L {
    name.and_then(|name| L::ALL.iter().find(|known| known.word() == name)).copied().unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_at_its_index() {
        fn check<L: Label>() {
            for (index, label) in L::ALL.iter().enumerate() {
                assert_eq!(label.index(), index, "{}", label.word());
            }
        }
        check::<RejectReason>();
        check::<CloseReason>();
        check::<HandshakeFailure>();
        check::<TlsVersion>();
        check::<Direction>();
        check::<Group>();
        check::<Cipher>();
        check::<Alpn>();
        check::<bool>();
    }

    #[test]
    fn a_protocol_that_calls_itself_none_is_other() {
        assert_eq!(Alpn::of_protocol(b"h2"), Alpn::H2);
        assert_eq!(Alpn::of_protocol(b"none"), Alpn::Other);
        assert_eq!(Alpn::of_protocol(b"\xff"), Alpn::Other);
    }

    // It has all of ring's as well.
    #[cfg(feature = "aws-lc-rs")]
    #[test]
    fn the_ciphers_and_groups_of_the_provider_have_a_label() {
        use crate::tls::rustls::crypto::aws_lc_rs;

        for suite in aws_lc_rs::ALL_CIPHER_SUITES {
            let name = suite.suite().as_str().unwrap_or_default();
            assert!(Cipher::ALL.iter().any(|known| known.word() == name), "{name}");
        }
        for group in aws_lc_rs::ALL_KX_GROUPS {
            let name = group.name().as_str().unwrap_or_default();
            assert!(Group::ALL.iter().any(|known| known.word() == name), "{name}");
        }
    }
}
