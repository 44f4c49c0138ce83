//! The client's certificates in a session that rustls has encoded.

use tokio_rustls::rustls::pki_types::CertificateDer;

/// The chain that the client has shown, its own certificate first; empty where it has shown none. `None` if these bytes are
/// no session.
///
/// The encoding is rustls's own (`ServerSessionValue`), and may change: what is not read to its very end is no session, and
/// is neither sealed nor resumed.
pub(super) fn client_chain(session: &[u8]) -> Option<Vec<CertificateDer<'_>>> {
    let rest = &mut &*session;
    // The server name.
    if flag(rest)? {
        sized::<1>(rest)?;
    }
    // The version and the cipher suite; the secret; whether it is an extended one.
    take(rest, 4)?;
    sized::<1>(rest)?;
    flag(rest)?;
    let mut chain = Vec::new();
    if flag(rest)? {
        let mut certificates = sized::<3>(rest)?;
        while !certificates.is_empty() {
            chain.push(CertificateDer::from(sized::<3>(&mut certificates)?));
        }
        // Who has shown none has no list.
        if chain.is_empty() {
            return None;
        }
    }
    // The application protocol.
    if flag(rest)? {
        sized::<1>(rest)?;
    }
    // What an application has added; when the session began, and what its age is hidden by.
    sized::<2>(rest)?;
    take(rest, 8 + 4)?;
    rest.is_empty().then_some(chain)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    rest.split_off(..length)
}

fn flag(rest: &mut &[u8]) -> Option<bool> {
    match take(rest, 1)? {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

/// What comes with its length before it, in so many bytes.
fn sized<'a, const BYTES: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take(rest, BYTES)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    take(rest, length)
}

#[cfg(test)]
pub(super) mod tests {
    use tokio_rustls::rustls::internal::msgs::{codec::Codec, persist::ServerSessionValue};

    use super::*;

    /// A session of TLS 1.3, as rustls encodes it, with these certificates.
    pub(in super::super) fn session(chain: &[&[u8]]) -> Vec<u8> {
        let mut session = b"\x01\x09localhost\x03\x04\x13\x02\x06secret\x01".to_vec();
        session.push(u8::from(!chain.is_empty()));
        if !chain.is_empty() {
            let list = chain.iter().flat_map(|certificate| with_length(certificate)).collect::<Vec<_>>();
            session.extend(with_length(&list));
        }
        session.extend(b"\x01\x02h2\0\x03app12345678oooo");
        session
    }

    fn with_length(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[1..], bytes].concat()
    }

    #[test]
    fn every_certificate_is_found_in_its_order() {
        let large = [7; 70_000];
        for chain in [&[][..], &[&b"own"[..]], &[b"own", b"an issuer", b""], &[&large]] {
            let expected: Vec<_> = chain.iter().map(|bytes| CertificateDer::from(*bytes)).collect();
            assert_eq!(client_chain(&session(chain)), Some(expected));
        }
        let bare = [&[0][..], b"\x03\x03\xc0\x2b\x00\x00\x00\x00\x00\x0012345678oooo"].concat();
        assert_eq!(client_chain(&bare).unwrap(), Vec::<CertificateDer<'_>>::new());
    }

    /// If this fails one day, rustls has changed how it encodes a session, and `client_chain` must follow.
    #[test]
    fn rustls_encodes_sessions_like_this() {
        for chain in [&[][..], &[&b"own"[..]], &[b"own", b"an issuer"]] {
            let session = session(chain);
            assert_eq!(ServerSessionValue::read_bytes(&session).unwrap().get_encoding(), session);
        }
    }

    #[test]
    fn what_is_not_read_to_its_very_end_is_no_session() {
        for chain in [&[][..], &[&b"own"[..]], &[b"own", b"an issuer"]] {
            let session = session(chain);
            for length in 0..session.len() {
                assert_eq!(client_chain(&session[..length]), None, "{length} bytes");
            }
            assert_eq!(client_chain(&[&session[..], b"\0"].concat()), None);
        }
    }

    #[test]
    fn what_rustls_would_never_encode_is_no_session() {
        let good = session(&[]);
        for (place, byte) in [(0, 2), (22, 2), (23, 2), (24, 2)] {
            let mut bytes = good.clone();
            bytes[place] = byte;
            assert_eq!(client_chain(&bytes), None, "{byte} at {place}");
        }
        // A list without a certificate, and one with half of one.
        for list in [&b"\x01\0\0\0"[..], b"\x01\0\0\x04\0\0\x03o"] {
            let bytes = [&good[..23], list, &good[24..]].concat();
            assert_eq!(client_chain(&bytes), None, "{list:?}");
        }
    }
}
