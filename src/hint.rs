//! What an operator can do about an error.

use std::{borrow::Cow, error::Error};

#[cfg(feature = "tls")]
use portcullis_layers::tls::TlsConfigError;

use crate::bind::{BindError, DescriptorError};
#[cfg(feature = "config")]
use crate::config::ConfigError;
#[cfg(feature = "control")]
use crate::control::ControlError;
use crate::pid_file::PidFileError;
#[cfg(feature = "supervisor")]
use crate::supervisor::SupervisorError;

/// Returns what an operator can do about an error: the first hint in its chain of sources.
///
/// Error messages contain no advice. A program that prints an error to an operator can print the
/// hint on a line of its own.
///
/// ```
/// use portcullis::layers::ErrorChain;
///
/// fn report(error: &(dyn std::error::Error + 'static)) {
///     eprintln!("error: {}", ErrorChain(error));
///     if let Some(hint) = portcullis::hint(error) {
///         eprintln!("hint: {hint}");
///     }
/// }
/// ```
#[must_use]
pub fn hint<'a>(error: &'a (dyn Error + 'static)) -> Option<Cow<'a, str>> {
    own_hint(error).or_else(|| hint(error.source()?))
}

fn own_hint<'a>(error: &'a (dyn Error + 'static)) -> Option<Cow<'a, str>> {
    if let Some(error) = error.downcast_ref::<DescriptorError>() {
        return error.hint().map(Cow::Borrowed);
    }
    if let Some(error) = error.downcast_ref::<BindError>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<PidFileError>() {
        return error.hint().map(Cow::Borrowed);
    }
    #[cfg(feature = "config")]
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        return error.hint();
    }
    #[cfg(feature = "tls")]
    if let Some(error) = error.downcast_ref::<TlsConfigError>() {
        return error.hint();
    }
    #[cfg(feature = "supervisor")]
    if let Some(error) = error.downcast_ref::<SupervisorError>() {
        return error.hint().map(Cow::Borrowed);
    }
    #[cfg(feature = "control")]
    if let Some(error) = error.downcast_ref::<ControlError>() {
        return error.hint().map(Cow::Borrowed);
    }
    None
}

#[cfg(all(test, feature = "config"))]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_hint_of_a_source_is_found() {
        let config =
            Config::builder().bind("tcp://127.0.0.1:0").tls_certificate("/nowhere").tls_key("/nowhere");
        let error = config.build().unwrap().tls_layer().unwrap_err();
        let hinted = hint(&error).unwrap();
        assert!(hinted.contains("check that the file exists"), "{hinted}");
    }
}
