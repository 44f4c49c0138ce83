//! The labels of a series.

use std::fmt;

/// Labels in the order of their names, as they are written between the braces: values stay escaped.
///
/// Two series are the same if their labels are, whatever order they were written in.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels(Vec<(String, String)>);

impl Labels {
    /// Reads `a="1",b="2"}` and returns what follows. `None` if that is no list of labels.
    pub(super) fn read(mut text: &str) -> Option<(Self, &str)> {
        let mut labels = Vec::new();
        loop {
            if let Some(rest) = text.strip_prefix('}') {
                labels.sort_unstable();
                let distinct = labels.windows(2).all(|pair: &[(String, String)]| pair[0].0 != pair[1].0);
                return distinct.then_some((Self(labels), rest));
            }
            let (name, rest) = text.split_once("=\"")?;
            let end = end_of_value(rest)?;
            let value = &rest[..end];
            if !is_name(name) {
                return None;
            }
            labels.push((name.to_owned(), value.to_owned()));
            let rest = &rest[end + 1..];
            // A comma parts labels, and may follow the last one.
            text = match rest.strip_prefix(',') {
                Some(next) => next,
                None if rest.starts_with('}') => rest,
                None => return None,
            };
        }
    }

    /// Takes out the label called `name`.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(label, _)| label == name)?;
        Some(self.0.remove(place).1)
    }

    /// With one more label at the end; replaces one of this name. `value` needs no escapes.
    pub(super) fn with(&self, name: &str, value: impl fmt::Display) -> Self {
        let mut labels = self.clone();
        labels.take(name);
        labels.0.push((name.to_owned(), value.to_string()));
        labels
    }
}

/// With the braces; nothing if there are none.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            write!(f, "{before}{name}=\"{value}\"")?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str("}") }
    }
}

/// Whether Prometheus takes it as the name of a label.
fn is_name(name: &str) -> bool {
    let word = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    name.bytes().all(word) && name.starts_with(|first: char| !first.is_ascii_digit())
}

/// Where the closing quote is.
fn end_of_value(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    while let Some((place, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(place),
            b'\\' => matches!(bytes.next(), Some((_, b'\\' | b'"' | b'n'))).then_some(())?,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        Labels::read(text).map(|(labels, rest)| format!("{labels}|{rest}"))
    }

    #[test]
    fn the_order_of_labels_says_nothing() {
        assert_eq!(read(r#"b="2",a="1"} 7"#), read(r#"a="1",b="2",} 7"#));
        assert_eq!(read(r#"a="1",b="2"} 7"#).unwrap(), r#"{a="1",b="2"}| 7"#);
        assert_eq!(read("} 7").unwrap(), "| 7");
    }

    #[test]
    fn values_may_hold_anything_that_is_escaped() {
        let text = r#"a="} \" \\ \n ,b=",c="ü"}"#;
        assert_eq!(read(text).unwrap(), format!("{{{text}|"));
    }

    #[test]
    fn what_prometheus_would_not_take_is_not_taken() {
        for garbage in [
            "",
            r#"a="1""#,
            r#"a=1}"#,
            r#"1a="1"}"#,
            r#"="1"}"#,
            r#"a="\x"}"#,
            r#"a="1"b="2"}"#,
            r#"a="1",a="2"}"#,
        ] {
            assert_eq!(read(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn a_label_is_taken_out_and_another_added() {
        let (mut labels, _) = Labels::read(r#"le="5",listener="echo"}"#).unwrap();
        assert_eq!(labels.take("le").as_deref(), Some("5"));
        assert_eq!(labels.take("le"), None);
        assert_eq!(labels.with("generation", 3).to_string(), r#"{listener="echo",generation="3"}"#);
        assert_eq!(labels.with("listener", 3).to_string(), r#"{listener="3"}"#);
    }
}
