//! Cipher suites and key exchange groups, by their names.

use tokio_rustls::rustls::{SupportedCipherSuite, crypto::CryptoProvider, crypto::SupportedKxGroup};

use super::{TlsConfigError, TlsVersion};

/// Leaves only what is named, in that order, which is the order of preference.
pub(super) fn restrict(
    provider: &mut CryptoProvider,
    ciphers: Option<&[String]>,
    groups: Option<&[String]>,
) -> Result<(), TlsConfigError> {
    if let Some(names) = ciphers {
        let known: Vec<_> = provider.cipher_suites.iter().map(|suite| (cipher_name(suite), *suite)).collect();
        provider.cipher_suites = choose("cipher suite", names, &known)?;
    }
    if let Some(names) = groups {
        let known: Vec<_> = provider.kx_groups.iter().map(|group| (group_name(*group), *group)).collect();
        provider.kx_groups = choose("key exchange group", names, &known)?;
    }
    Ok(())
}

/// Every version must be able to use one of the suites: a version that silently cannot be spoken is a mistake.
pub(super) fn check_ciphers(provider: &CryptoProvider, version: TlsVersion) -> Result<(), TlsConfigError> {
    for version in version.and_younger_ones() {
        let usable = |suite: &SupportedCipherSuite| match suite {
            SupportedCipherSuite::Tls12(_) => *version == TlsVersion::V1_2,
            SupportedCipherSuite::Tls13(_) => *version == TlsVersion::V1_3,
        };
        if !provider.cipher_suites.iter().any(usable) {
            return Err(TlsConfigError::NoCipherFor { version: *version });
        }
    }
    Ok(())
}

fn choose<T: Copy>(
    kind: &'static str,
    names: &[String],
    known: &[(String, T)],
) -> Result<Vec<T>, TlsConfigError> {
    let find = |name: &String| {
        let found = known.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value).ok_or_else(|| TlsConfigError::UnknownName {
            name: name.clone(),
            kind,
            known: known.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
        })
    };
    names.iter().map(find).collect()
}

fn cipher_name(suite: &SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or("unknown").to_owned()
}

fn group_name(group: &'static dyn SupportedKxGroup) -> String {
    group.name().as_str().unwrap_or("unknown").to_owned()
}
