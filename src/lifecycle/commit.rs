//! What counts when a `commit` is read late.

/// Takes a `commit` and the message that lies behind it, and returns the one that counts now and
/// the one that is read next.
///
/// A successor that was stopped wakes late. An `abort` that was sent meanwhile counts instead of
/// the commit. Any other message does not change what the commit means, and is kept.
pub(crate) fn look_behind<M>(
    commit: M,
    behind: Option<M>,
    is_abort: impl FnOnce(&M) -> bool,
) -> (M, Option<M>) {
    match behind {
        Some(behind) if is_abort(&behind) => (behind, None),
        behind => (commit, behind),
    }
}
