//! Boxed errors, and how they are displayed in a log.

use std::{error::Error, fmt};

use crate::outcome::RejectReason;

/// An error of any layer or service, with its type erased.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Displays an error and its sources on one line, separated by colons.
///
/// A source that only repeats the message of its parent is omitted. So is a
/// [`RejectReason`](crate::RejectReason), which is a label: its parent has the message.
///
/// ```
/// use std::io;
/// use portcullis_layers::ErrorChain;
///
/// let error = io::Error::new(io::ErrorKind::NotFound, "no such file");
/// assert_eq!(ErrorChain(&error).to_string(), "no such file");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut message = self.0.to_string();
        f.write_str(&message)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            let next = error.to_string();
            if next != message && !error.is::<RejectReason>() {
                write!(f, ": {next}")?;
            }
            message = next;
            source = error.source();
        }
        Ok(())
    }
}
