//! What a listener is called in the descriptor store.
//!
//! `portcullis.` and its name. With the mark, a socket that comes back from the store is told apart from one that a `.socket`
//! unit opened: the first is ours with its path, the second is the manager's; and what others keep there is never
//! removed.

const MARK: &str = "portcullis.";

/// Bytes of a name (`sd_notify(3)`, `FDNAME=`).
const LONGEST: usize = 255;

/// The name for the listener, unless the store cannot take such a name.
pub(super) fn stored(listener: &str) -> Option<String> {
    let name = format!("{MARK}{listener}");
    let valid = name.len() <= LONGEST && name.bytes().all(|b| matches!(b, b' '..=b'~') && b != b':');
    valid.then_some(name)
}

/// The listener that a name of the store stands for, if it is a name of ours.
pub(super) fn listener(stored: &str) -> Option<&str> {
    stored.strip_prefix(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_and_one_that_cannot_be_stored_is_told() {
        for name in ["echo", "", "with space", "portcullis.echo", "a/b~", &"x".repeat(244)] {
            assert_eq!(stored(name).as_deref().and_then(listener), Some(name));
        }
        for name in ["a:b", "line\nbreak", "\u{e9}cho", "\u{7f}", &"x".repeat(245)] {
            assert_eq!(stored(name), None, "{name:?}");
        }
        assert_eq!(listener("echo"), None);
    }
}
