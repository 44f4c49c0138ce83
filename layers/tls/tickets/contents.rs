//! What is sealed in a ticket: when it was issued, the session, and where in that the client's certificates are.
//!
//! The session is rustls's affair, and read by it alone. The certificates are in it as they were shown; to judge the client again
//! before it resumes, it is enough to know where.

use tokio_rustls::rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::tls::crypto::aead::MAX_TAG_LEN;

/// On the wire: the moment in seconds since 1970 (8 bytes), the number of certificates (1 byte), the start and the end of each in the
/// session (2 bytes each), the session.
pub(super) struct Contents<'a> {
    pub(super) issued: u64,
    /// The client's own certificate first; empty where it has shown none.
    pub(super) chain: Vec<CertificateDer<'a>>,
    pub(super) session: &'a [u8],
}

impl<'a> Contents<'a> {
    /// `None` if a certificate is not found in the session, or one of the two is too long.
    ///
    /// There is room for the tag: a vector that grows leaves a copy behind.
    pub(super) fn encode(
        issued: u64,
        chain: &[CertificateDer<'_>],
        session: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let mut bytes = Vec::with_capacity(8 + 1 + 4 * chain.len() + session.len() + MAX_TAG_LEN);
        bytes.extend_from_slice(&issued.to_be_bytes());
        bytes.push(u8::try_from(chain.len()).ok()?);
        let mut end = 0;
        for certificate in chain {
            let start = end + find(session.get(end..)?, certificate)?;
            end = start + certificate.len();
            for place in [start, end] {
                bytes.extend_from_slice(&u16::try_from(place).ok()?.to_be_bytes());
            }
        }
        bytes.extend_from_slice(session);
        Some(Zeroizing::new(bytes))
    }

    /// `None` if it is none.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (issued, bytes) = bytes.split_first_chunk()?;
        let (&count, bytes) = bytes.split_first()?;
        let (places, session) = bytes.split_at_checked(4 * usize::from(count))?;
        let (places, _) = places.as_chunks::<4>();
        let certificate = |&[a, b, c, d]: &[u8; 4]| {
            let (start, end) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            session.get(usize::from(start)..usize::from(end)).map(CertificateDer::from)
        };
        let chain = places.iter().map(certificate).collect::<Option<_>>()?;
        Some(Self { issued: u64::from_be_bytes(*issued), chain, session })
    }
}

fn find(session: &[u8], certificate: &[u8]) -> Option<usize> {
    if certificate.is_empty() {
        return None;
    }
    session.windows(certificate.len()).position(|window| window == certificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &[u8] = b"..one.four..";

    fn certificates<'a>(bytes: &[&'a str]) -> Vec<CertificateDer<'a>> {
        bytes.iter().map(|bytes| CertificateDer::from(bytes.as_bytes())).collect()
    }

    #[test]
    fn what_was_sealed_is_what_is_opened() {
        for chain in [&[][..], &["one"], &["one", "four"]] {
            let chain = certificates(chain);
            let sealed = Contents::encode(7, &chain, SESSION).unwrap();
            let opened = Contents::decode(&sealed).unwrap();
            assert_eq!((opened.issued, opened.chain, opened.session), (7, chain, SESSION));
            for length in 0..sealed.len() - SESSION.len() {
                assert!(Contents::decode(&sealed[..length]).is_none(), "the first {length} bytes");
            }
        }
    }

    #[test]
    fn a_client_whose_certificates_are_not_in_the_session_gets_no_ticket() {
        for chain in [&["two"][..], &["one", "two"], &["four", "one"], &[""]] {
            assert!(Contents::encode(7, &certificates(chain), SESSION).is_none(), "{chain:?}");
        }
        let session = [&[b'.'; 0x1_0000][..], b"far"].concat();
        assert!(Contents::encode(7, &certificates(&["far"]), &session).is_none());
        assert!(Contents::encode(7, &certificates(&["."; 256]), &[b'.'; 256]).is_none());
    }

    #[test]
    fn a_place_that_is_not_in_the_session_is_none() {
        let good = Contents::encode(7, &certificates(&["one"]), SESSION).unwrap();
        for (start, end) in [(0, 13), (3, 2), (13, 13), (0, 0xffff)] {
            let mut bytes = good.to_vec();
            bytes[9..11].copy_from_slice(&u16::to_be_bytes(start));
            bytes[11..13].copy_from_slice(&u16::to_be_bytes(end));
            assert!(Contents::decode(&bytes).is_none(), "{start}..{end}");
        }
    }
}
