//! Cipher suites and key exchange groups, by their names.

use tokio_rustls::rustls::{
    ProtocolVersion, SupportedCipherSuite, crypto::CryptoProvider, crypto::SupportedKxGroup,
};

use super::{
    TlsConfigError, TlsVersion,
    crypto::{ALL_CIPHER_SUITES, ALL_KX_GROUPS},
};

const CIPHERS: &str = "cipher suite";
const GROUPS: &str = "key exchange group";

/// Leaves only what is named, in that order. Every version must be able to use one of each: a version that silently cannot be
/// spoken is a mistake.
pub(super) fn restrict(
    provider: &mut CryptoProvider,
    ciphers: Option<&[String]>,
    groups: Option<&[String]>,
    min_version: TlsVersion,
) -> Result<(), TlsConfigError> {
    if let Some(names) = ciphers {
        provider.cipher_suites = choose(CIPHERS, names, ALL_CIPHER_SUITES, cipher_name)?;
    }
    if let Some(names) = groups {
        provider.kx_groups = choose(GROUPS, names, ALL_KX_GROUPS, group_name)?;
    }
    for version in min_version.and_younger_ones() {
        let wanted = match version {
            TlsVersion::V1_2 => ProtocolVersion::TLSv1_2,
            TlsVersion::V1_3 => ProtocolVersion::TLSv1_3,
        };
        let none = |kind, known| Err(TlsConfigError::NoneForVersion { kind, version: *version, known });
        let of_version = |suite: &&SupportedCipherSuite| suite.version().version == wanted;
        if !provider.cipher_suites.iter().any(|suite| of_version(&suite)) {
            return none(CIPHERS, names_of(ALL_CIPHER_SUITES.iter().filter(of_version), cipher_name));
        }
        let usable = |group: &&&dyn SupportedKxGroup| group.usable_for_version(wanted);
        if !provider.kx_groups.iter().any(|group| usable(&group)) {
            return none(GROUPS, names_of(ALL_KX_GROUPS.iter().filter(usable), group_name));
        }
    }
    Ok(())
}

fn choose<T: Copy>(
    kind: &'static str,
    names: &[String],
    known: &[T],
    name_of: fn(&T) -> &'static str,
) -> Result<Vec<T>, TlsConfigError> {
    let find = |name: &String| {
        let found = known.iter().find(|value| is_called(name_of(value), name));
        found.copied().ok_or_else(|| TlsConfigError::UnknownName {
            name: name.clone(),
            kind,
            known: names_of(known.iter(), name_of),
        })
    };
    names.iter().map(find).collect()
}

/// IANA has no `TLS13_`: there it is `TLS_AES_128_GCM_SHA256`.
fn is_called(known: &str, name: &str) -> bool {
    let iana = known.strip_prefix("TLS13_").and_then(|rest| Some((rest, name.get(..4)?, name.get(4..)?)));
    known.eq_ignore_ascii_case(name)
        || iana.is_some_and(|(rest, prefix, name)| {
            prefix.eq_ignore_ascii_case("TLS_") && rest.eq_ignore_ascii_case(name)
        })
}

fn names_of<'a, T: 'a>(values: impl Iterator<Item = &'a T>, name_of: fn(&T) -> &'static str) -> String {
    values.map(name_of).collect::<Vec<_>>().join(", ")
}

fn cipher_name(suite: &SupportedCipherSuite) -> &'static str {
    suite.suite().as_str().unwrap_or("unknown")
}

fn group_name(group: &&'static dyn SupportedKxGroup) -> &'static str {
    group.name().as_str().unwrap_or("unknown")
}
