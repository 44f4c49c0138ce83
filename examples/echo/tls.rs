//! TLS as the options and the environment have it.

use std::{error::Error, fmt, path::PathBuf, str::FromStr};

use portcullis::{
    Config,
    layers::tls::{TlsConfigError, TlsLayer, TlsReloader},
};

use crate::{AnyError, options::Options};

/// The value of `--sni-cert`: `NAME=CERT,KEY`.
#[derive(Clone, Debug)]
pub(crate) struct SniCertificate {
    name: String,
    certificate: PathBuf,
    key: PathBuf,
}

impl FromStr for SniCertificate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('=').and_then(|(name, files)| {
            let (certificate, key) = files.split_once(',')?;
            (![name, certificate, key].contains(&"") && !key.contains(',')).then_some((
                name,
                certificate,
                key,
            ))
        });
        let (name, certificate, key) =
            parts.ok_or("write NAME=CERT,KEY, as in `example.org=example.pem,example.key`")?;
        Ok(Self { name: name.to_owned(), certificate: certificate.into(), key: key.into() })
    }
}

/// An option of which TLS cannot be made.
#[derive(Debug)]
struct OptionError {
    option: &'static str,
    source: TlsConfigError,
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrong `{}`", self.option)
    }
}

impl Error for OptionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// The layer and its reloader, or `None` for plain text. The files are read here.
pub(crate) fn layer(options: &Options, config: &Config) -> Result<Option<(TlsLayer, TlsReloader)>, AnyError> {
    let Some(mut builder) = config.tls_builder() else {
        // Who gives one of these does not want plain text.
        return match options.needs_tls() {
            Some(option) => Err(format!(
                "the option `{option}` has no effect without TLS: give `--tls-cert` and `--tls-key` as well"
            )
            .into()),
            None => Ok(None),
        };
    };
    if options.end_revoked && !config.verifies_clients() {
        return Err(
            "the option `--end-revoked` has no effect without client certificates: give their CAs by \
                    `--client-ca` as well"
                .into(),
        );
    }
    for SniCertificate { name, certificate, key } in &options.sni_cert {
        builder = builder.sni_certificate_files(name, certificate, key);
    }
    let layer = builder.alpn(&options.alpn).end_revoked(options.end_revoked).build_reloadable();
    Ok(Some(layer.map_err(|error| match error {
        TlsConfigError::ServerName(_) | TlsConfigError::TwiceTheName(_) | TlsConfigError::ForName { .. } => {
            AnyError::from(OptionError { option: "--sni-cert", source: error })
        }
        TlsConfigError::Alpn(_) => OptionError { option: "--alpn", source: error }.into(),
        error => config.tls_error(error).into(),
    })?))
}
