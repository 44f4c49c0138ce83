//! What `/metrics` says, as numbers.

use std::collections::BTreeMap;

/// A scrape, read from Prometheus' text format.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// By the name of the metric, from `# TYPE`.
    pub types: BTreeMap<String, String>,
    pub series: Vec<Series>,
}

/// One line of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Metrics {
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let mut metrics = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("not a type: {line:?}"));
                let earlier = metrics.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(earlier, None, "two types: {line:?}");
            } else if !line.starts_with('#') {
                metrics.series.push(series(line).unwrap_or_else(|| panic!("not a series: {line:?}")));
            }
        }
        metrics
    }

    /// The sum of all series of this name that have all these labels; a series that is not there counts 0.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |series: &&Series| {
            labels.iter().all(|(label, value)| series.labels.get(*label).is_some_and(|found| found == value))
        };
        self.named(name).filter(has).map(|series| series.value).sum()
    }

    /// The series that are not 0, for a person to read.
    pub fn nonzero(&self) -> Vec<String> {
        let told =
            self.series.iter().filter(|series| series.value != 0.0 && !series.name.ends_with("_bucket"));
        told.map(|Series { name, labels, value }| format!("{name} {labels:?} {value}")).collect()
    }

    /// All series of this name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(move |series| series.name == name)
    }
}

/// `name{label="value",…} number`
fn series(line: &str) -> Option<Series> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches(',');
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.to_owned(), value);
            rest = after;
        }
    }
    let value = rest.trim().parse().ok()?;
    Some(Series { name: name.to_owned(), labels, value })
}

/// What stands before the closing quote, and what stands after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[place + 1..])),
            '\\' => value.push(match characters.next()? {
                (_, 'n') => '\n',
                (_, other) => other,
            }),
            other => value.push(other),
        }
    }
    None
}
