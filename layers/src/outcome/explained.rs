//! An outcome in a chain of errors.

use std::{error::Error, fmt};

use super::Outcome;

/// An error that explains an outcome.
///
/// In a chain of errors it stands where the error would stand: it displays the same message and has the same source.
#[derive(Debug)]
pub(crate) struct Explained {
    outcome: Outcome,
    error: Box<dyn Error + Send + Sync>,
}

impl Explained {
    pub(crate) fn new(outcome: Outcome, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { outcome, error: error.into() }
    }

    pub(crate) const fn outcome(&self) -> Outcome {
        self.outcome
    }

    pub(crate) fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Explained {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
