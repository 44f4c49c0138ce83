//! An error with all its sources, in one line of the log.

use std::{error::Error, fmt};

/// Displays an error and its sources, separated by colons.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        let mut source = self.0.source();
        while let Some(error) = source {
            let text = error.to_string();
            // Some errors tell their source's text in their own.
            if !told.contains(&text) {
                told.push_str(": ");
                told.push_str(&text);
            }
            source = error.source();
        }
        f.write_str(&told)
    }
}
