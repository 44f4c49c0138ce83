//! What an operator can do about an error.

use std::error::Error;

use crate::bind::DescriptorError;
#[cfg(feature = "control")]
use crate::control::ControlError;

/// What an operator can do about an error: the first hint that it or one of its sources has.
///
/// Messages say what is wrong and no more. A program that prints them to an operator prints this
/// below.
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
pub fn hint<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a str> {
    own_hint(error).or_else(|| hint(error.source()?))
}

fn own_hint<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a str> {
    if let Some(error) = error.downcast_ref::<DescriptorError>() {
        return error.hint();
    }
    #[cfg(feature = "control")]
    if let Some(error) = error.downcast_ref::<ControlError>() {
        return error.hint();
    }
    None
}
