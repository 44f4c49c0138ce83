//! The labels of a series.

use std::{fmt, sync::Arc};

/// Labels in the order of their names; values are not escaped. Cheap to clone.
///
/// Two series are the same if their labels are, whatever order they were registered in.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels(Arc<[(String, String)]>);

impl Labels {
    /// `None` if Prometheus would not take them: a name that is none, or twice.
    pub(super) fn new(labels: impl IntoIterator<Item = (String, String)>) -> Option<Self> {
        let mut labels: Vec<_> = labels.into_iter().collect();
        labels.sort_unstable();
        let distinct = labels.windows(2).all(|pair| pair[0].0 != pair[1].0);
        let named = labels.iter().all(|(name, _)| is_label_name(name));
        (distinct && named).then(|| Self(labels.into()))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// With one more label at the end; replaces one of this name.
    pub(super) fn with(&self, name: &str, value: impl fmt::Display) -> Self {
        let others = self.0.iter().filter(|(label, _)| label != name).cloned();
        Self(others.chain([(name.to_owned(), value.to_string())]).collect())
    }
}

/// With the braces; nothing if there are none.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
            write!(f, "{before}{name}=\"{value}\"")?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}

/// Whether Prometheus takes it as the name of a label.
fn is_label_name(name: &str) -> bool {
    let word = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    name.bytes().all(word) && name.starts_with(|first: char| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(labels: &[(&str, &str)]) -> Option<Labels> {
        Labels::new(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_order_of_labels_says_nothing() {
        assert_eq!(labels(&[("b", "2"), ("a", "1")]), labels(&[("a", "1"), ("b", "2")]));
        assert_eq!(labels(&[("b", "2"), ("a", "1")]).unwrap().to_string(), r#"{a="1",b="2"}"#);
        assert_eq!(labels(&[]).unwrap().to_string(), "");
    }

    #[test]
    fn values_may_hold_anything() {
        assert_eq!(labels(&[("a", "} \" \\ \n ü")]).unwrap().to_string(), r#"{a="} \" \\ \n ü"}"#);
    }

    #[test]
    fn what_prometheus_would_not_take_is_not_taken() {
        for garbage in [&[("1a", "1")][..], &[("", "1")], &[("a-b", "1")], &[("a", "1"), ("a", "2")]] {
            assert_eq!(labels(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn another_label_is_added_at_the_end() {
        let echo = labels(&[("listener", "echo")]).unwrap();
        assert_eq!(echo.with("generation", 3).to_string(), r#"{listener="echo",generation="3"}"#);
        assert_eq!(echo.with("listener", 3).to_string(), r#"{listener="3"}"#);
    }
}
