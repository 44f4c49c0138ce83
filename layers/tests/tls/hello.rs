//! ClientHellos that no TLS library of today would send, byte by byte (RFC 5246, 7.4.1.2).

/// Ciphers with CBC, which rustls does not speak: TLS_RSA_WITH_AES_128_CBC_SHA,
/// TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA.
pub(crate) const CBC: &[u16] = &[0x002f, 0xc013, 0xc009];

/// TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256.
pub(crate) const GCM: &[u16] = &[0xc02b, 0xc02f];

pub(crate) const SSL_3_0: u16 = 0x0300;
pub(crate) const TLS_1_0: u16 = 0x0301;
pub(crate) const TLS_1_1: u16 = 0x0302;
pub(crate) const TLS_1_2: u16 = 0x0303;

/// The extensions of a client.
pub(crate) enum Extensions {
    /// No block at all, as in SSL 3 and plain TLS 1.0.
    Absent,
    /// supported_groups alone.
    Groups,
    /// supported_groups and signature_algorithms, which came with TLS 1.2.
    GroupsAndSignatures,
    /// And supported_versions with these.
    Versions(&'static [u16]),
    /// supported_groups, signature_algorithms, and server_name with these (RFC 6066, 3).
    Names(&'static [&'static str]),
}

/// A record with a ClientHello.
pub(crate) fn client_hello(version: u16, ciphers: &[u16], extensions: &Extensions) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend([7; 32]); // random
    body.push(0); // session id
    body.extend(length_16(&ciphers.iter().flat_map(|cipher| cipher.to_be_bytes()).collect::<Vec<_>>()));
    body.extend([1, 0]); // the null compression
    let groups = extension(10, &length_16(&[0x00, 0x1d, 0x00, 0x17])); // X25519, P-256
    let signatures = extension(13, &length_16(&[0x04, 0x03, 0x08, 0x04, 0x04, 0x01]));
    match extensions {
        Extensions::Absent => {}
        Extensions::Groups => body.extend(length_16(&groups)),
        Extensions::GroupsAndSignatures => body.extend(length_16(&[groups, signatures].concat())),
        Extensions::Versions(versions) => {
            let mut list = vec![u8::try_from(versions.len() * 2).unwrap()];
            list.extend(versions.iter().flat_map(|version| version.to_be_bytes()));
            body.extend(length_16(&[groups, signatures, extension(43, &list)].concat()));
        }
        Extensions::Names(names) => {
            let name = |name: &&str| [&[0][..], &length_16(name.as_bytes())].concat();
            let names = length_16(&names.iter().flat_map(name).collect::<Vec<_>>());
            body.extend(length_16(&[groups, signatures, extension(0, &names)].concat()));
        }
    }
    let mut message = vec![1, 0]; // client_hello, and a length of three bytes
    message.extend(length_16(&body));
    record(22, &message)
}

/// A record of TLS (RFC 5246, 6.2.1).
pub(crate) fn record(content_type: u8, contents: &[u8]) -> Vec<u8> {
    let mut record = vec![content_type, 3, 1];
    record.extend(length_16(contents));
    record
}

fn extension(number: u16, contents: &[u8]) -> Vec<u8> {
    let mut extension = number.to_be_bytes().to_vec();
    extension.extend(length_16(contents));
    extension
}

fn length_16(contents: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(contents.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(contents);
    bytes
}
