//! The series of a generation: read from the text of a page, added up, written as text.
//!
//! The text is Prometheus' format 0.0.4 as our own exporter writes it. The crates that parse this format turn every value
//! into an `f64`, which counts exactly up to 2^53 only, and labels into a map without order or escapes: neither a
//! counter nor a line would come out as it went in.

use std::{collections::BTreeMap, fmt};

use super::{
    histogram::{Bucket, Histogram},
    labels::Labels,
};

/// Families of series, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Families(BTreeMap<String, Family>);

#[derive(Clone, Debug, PartialEq)]
struct Family {
    /// What follows the name on its line.
    help: Option<String>,
    samples: Samples,
}

#[derive(Clone, Debug, PartialEq)]
enum Samples {
    Counter(BTreeMap<Labels, u64>),
    Gauge(BTreeMap<Labels, f64>),
    Histogram(BTreeMap<Labels, Histogram>),
    /// What cannot be added up, line by line: a summary, and what our exporter would not write.
    Other {
        kind: String,
        lines: Vec<String>,
    },
}

/// The gauges that are about the connections which a generation serves until they end, by what their names end with: the
/// prefix is configurable. All others say something of one process, or of the one that accepts.
const OF_CONNECTIONS: [&str; 2] = ["connections_active", "connections_handshaking"];

impl Families {
    /// Reads a text. Samples that follow no `# TYPE` are left out; what else is not understood is kept as it is.
    pub(super) fn read(text: &str) -> Self {
        let mut families = BTreeMap::new();
        let mut helps = BTreeMap::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|help| help.split_once(' ')) {
                helps.insert(name, help.to_owned());
            }
            let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|kind| kind.split_once(' '))
            else {
                continue;
            };
            let mut samples = Vec::new();
            while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
                if !sample.is_empty() {
                    samples.push(sample);
                }
            }
            let samples = Samples::read(name, kind, &samples);
            families.insert(name.to_owned(), Family { help: helps.remove(name), samples });
        }
        Self(families)
    }

    /// Adds what another generation has counted: counters and histograms, series by series. What only one of the two
    /// has is in the sum as well. Where they do not agree on what a family is, the other one's is left out.
    pub(super) fn add(&mut self, other: &Self) {
        for (name, family) in other.0.iter().filter(|(_, family)| family.samples.are_counted()) {
            let ours = self.0.entry(name.clone()).or_insert_with(|| family.emptied());
            ours.help = ours.help.take().or_else(|| family.help.clone());
            ours.samples.add(&family.samples);
        }
    }

    /// Adds the gauges of the connections that another generation still serves, with its number as a label.
    #[cfg(any(feature = "admin", test))]
    pub(super) fn add_open(&mut self, other: &Self, generation: u64) {
        for (name, family) in other.0.iter().filter(|(name, _)| is_of_connections(name)) {
            let Samples::Gauge(theirs) = &family.samples else { continue };
            let ours = self.0.entry(name.clone()).or_insert_with(|| family.emptied());
            let Samples::Gauge(gauges) = &mut ours.samples else { continue };
            for (labels, value) in theirs {
                // Two of one number are possible: one that was rolled back, and its successor.
                *gauges.entry(labels.with("generation", generation)).or_default() += value;
            }
        }
    }

    /// What other generations have a use for.
    pub(super) fn for_others(mut self) -> Self {
        self.0.retain(|name, family| {
            family.samples.are_counted()
                || is_of_connections(name) && matches!(family.samples, Samples::Gauge(_))
        });
        self
    }
}

fn is_of_connections(name: &str) -> bool {
    OF_CONNECTIONS.iter().any(|ending| name.ends_with(ending))
}

impl Family {
    /// The same without samples.
    fn emptied(&self) -> Self {
        let samples = match &self.samples {
            Samples::Counter(_) => Samples::Counter(BTreeMap::new()),
            Samples::Gauge(_) => Samples::Gauge(BTreeMap::new()),
            Samples::Histogram(_) => Samples::Histogram(BTreeMap::new()),
            Samples::Other { kind, .. } => Samples::Other { kind: kind.clone(), lines: Vec::new() },
        };
        Self { help: self.help.clone(), samples }
    }
}

impl Samples {
    fn read(name: &str, kind: &str, lines: &[&str]) -> Self {
        let series = || lines.iter().map(|line| Series::read(line, name));
        let understood = match kind {
            _ if !is_name(name) => None,
            "counter" => {
                series().map(|series| series?.whole_number()).collect::<Option<_>>().map(Self::Counter)
            }
            "gauge" => series().map(|series| series?.number()).collect::<Option<_>>().map(Self::Gauge),
            "histogram" => read_histograms(series()).map(Self::Histogram),
            _ => None,
        };
        understood.unwrap_or_else(|| Self::Other {
            kind: kind.to_owned(),
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
        })
    }

    const fn are_counted(&self) -> bool {
        matches!(self, Self::Counter(_) | Self::Histogram(_))
    }

    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Counter(ours), Self::Counter(theirs)) => {
                for (labels, count) in theirs {
                    let sum = ours.entry(labels.clone()).or_default();
                    *sum = sum.saturating_add(*count);
                }
            }
            (Self::Histogram(ours), Self::Histogram(theirs)) => {
                for (labels, histogram) in theirs {
                    match ours.get_mut(labels) {
                        Some(sum) => sum.add(histogram),
                        None => _ = ours.insert(labels.clone(), histogram.clone()),
                    }
                }
            }
            _ => {}
        }
    }
}

/// One line, whose name begins with that of its family.
struct Series<'a> {
    /// What the name of the series ends with after that of its family.
    suffix: &'a str,
    labels: Labels,
    value: &'a str,
}

impl<'a> Series<'a> {
    fn read(line: &'a str, family: &str) -> Option<Self> {
        let rest = line.strip_prefix(family)?;
        let end = rest.find(['{', ' '])?;
        let (suffix, rest) = rest.split_at(end);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(inside) => Labels::read(inside)?,
            None => (Labels::default(), rest),
        };
        Some(Self { suffix, labels, value: rest.strip_prefix(' ')? })
    }

    fn whole_number(self) -> Option<(Labels, u64)> {
        let value = self.suffix.is_empty().then(|| self.value.parse().ok())??;
        Some((self.labels, value))
    }

    fn number(self) -> Option<(Labels, f64)> {
        let value = self.suffix.is_empty().then(|| self.value.parse().ok())??;
        Some((self.labels, value))
    }
}

fn read_histograms<'a>(
    series: impl Iterator<Item = Option<Series<'a>>>,
) -> Option<BTreeMap<Labels, Histogram>> {
    let mut histograms: BTreeMap<Labels, Histogram> = BTreeMap::new();
    for series in series {
        let Series { suffix, mut labels, value } = series?;
        if suffix == "_bucket" {
            let le = labels.take("le")?;
            let bucket = Bucket { bound: le.parse().ok()?, le, count: value.parse().ok()? };
            histograms.entry(labels).or_default().buckets.push(bucket);
        } else {
            let histogram = histograms.entry(labels).or_default();
            match suffix {
                "_sum" => histogram.sum = value.parse().ok()?,
                "_count" => histogram.count = value.parse().ok()?,
                _ => return None,
            }
        }
    }
    histograms.values().all(Histogram::is_whole).then_some(histograms)
}

/// Whether Prometheus takes it as the name of a family.
fn is_name(name: &str) -> bool {
    let word = |byte: u8| matches!(byte, b'_' | b':') || byte.is_ascii_alphanumeric();
    name.bytes().all(word) && name.starts_with(|first: char| !first.is_ascii_digit())
}

/// As our exporter writes it, but with families and series in order.
impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, Family { help, samples }) in &self.0 {
            if let Some(help) = help {
                writeln!(f, "# HELP {name} {help}")?;
            }
            match samples {
                Samples::Counter(counters) => {
                    writeln!(f, "# TYPE {name} counter")?;
                    for (labels, count) in counters {
                        writeln!(f, "{name}{labels} {count}")?;
                    }
                }
                Samples::Gauge(gauges) => {
                    writeln!(f, "# TYPE {name} gauge")?;
                    for (labels, value) in gauges {
                        writeln!(f, "{name}{labels} {value}")?;
                    }
                }
                Samples::Histogram(histograms) => {
                    writeln!(f, "# TYPE {name} histogram")?;
                    for (labels, Histogram { buckets, sum, count }) in histograms {
                        for Bucket { le, count, .. } in buckets {
                            writeln!(f, "{name}_bucket{} {count}", labels.with("le", le))?;
                        }
                        writeln!(f, "{name}_sum{labels} {sum}\n{name}_count{labels} {count}")?;
                    }
                }
                Samples::Other { kind, lines } => {
                    writeln!(f, "# TYPE {name} {kind}")?;
                    for line in lines {
                        writeln!(f, "{line}")?;
                    }
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
