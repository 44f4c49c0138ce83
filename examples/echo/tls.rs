//! TLS as the options and the environment have it.

use std::{path::PathBuf, str::FromStr};

use portcullis::{
    Config,
    layers::tls::{TlsConfigError, TlsLayer, TlsReloader},
};

use crate::{
    AnyError,
    options::{Options, in_one_line},
};

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
            AnyError::from(format!("wrong `--sni-cert`: {}", in_one_line(&error)))
        }
        TlsConfigError::Alpn(_) => format!("wrong `--alpn`: {error}").into(),
        error => config.tls_error(error).into(),
    })?))
}
