//! Names that can be claimed by one owner at a time.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// The names in use.
#[derive(Debug, Default)]
pub(super) struct Claims {
    names: Arc<Mutex<BTreeSet<String>>>,
}

/// A name in use, until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    names: Arc<Mutex<BTreeSet<String>>>,
    name: String,
}

impl Claims {
    /// `None` if the name is in use.
    pub(super) fn claim(&self, name: String) -> Option<Claim> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.clone()).then(|| Claim { names: self.names.clone(), name })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}
