//! A snapshot of series: their sums over generations, and their text format.

use std::{collections::BTreeMap, fmt};

use metrics::SharedString;

use super::{histogram::Histogram, labels::Labels};

/// Families of series, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Totals(BTreeMap<String, Family>);

#[derive(Clone, Debug, PartialEq)]
struct Family {
    help: Option<SharedString>,
    values: Values,
}

#[derive(Clone, Debug, PartialEq)]
enum Values {
    Counter(BTreeMap<Labels, u64>),
    Gauge(BTreeMap<Labels, f64>),
    Histogram(BTreeMap<Labels, Histogram>),
}

/// The value of one series.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram(Histogram),
}

/// The gauges that are about the connections which a generation serves until they end, by what
/// their names end with: the prefix is configurable.
const OF_CONNECTIONS: [&str; 2] = ["connections_active", "connections_handshaking"];

/// Whether a gauge is meaningful for a draining generation. All others describe one process, or the
/// generation that accepts.
pub(super) fn is_of_connections(gauge: &str) -> bool {
    OF_CONNECTIONS.iter().any(|ending| gauge.ends_with(ending))
}

/// Whether Prometheus takes it as the name of a family.
pub(super) fn is_family_name(name: &str) -> bool {
    let word = |byte: u8| matches!(byte, b'_' | b':') || byte.is_ascii_alphanumeric();
    name.bytes().all(word) && name.starts_with(|first: char| !first.is_ascii_digit())
}

impl Totals {
    /// Sets the help text of the family `name`.
    pub(super) fn describe(&mut self, name: &str, help: &SharedString) {
        if let Some(family) = self.0.get_mut(name) {
            family.help = Some(help.clone());
        }
    }

    /// Adds to a series. One that is not there yet begins with `value`. One whose family is of
    /// another kind is left out.
    pub(super) fn add_value(&mut self, name: &str, labels: &Labels, value: &Value) {
        if !self.0.contains_key(name) {
            let values = match value {
                Value::Counter(_) => Values::Counter(BTreeMap::new()),
                Value::Gauge(_) => Values::Gauge(BTreeMap::new()),
                Value::Histogram(_) => Values::Histogram(BTreeMap::new()),
            };
            self.0.insert(name.to_owned(), Family { help: None, values });
        }
        let Some(family) = self.0.get_mut(name) else { return };
        match (&mut family.values, value) {
            (Values::Counter(counters), Value::Counter(count)) => {
                let sum = counters.entry(labels.clone()).or_default();
                *sum = sum.saturating_add(*count);
            }
            (Values::Gauge(gauges), Value::Gauge(value)) => {
                *gauges.entry(labels.clone()).or_default() += value;
            }
            (Values::Histogram(histograms), Value::Histogram(histogram)) => {
                match histograms.get_mut(labels) {
                    Some(sum) => sum.add(histogram),
                    None => _ = histograms.insert(labels.clone(), histogram.clone()),
                }
            }
            _ => {}
        }
    }

    /// The counters and histograms, which remain when a generation has exited.
    pub(super) fn counted(&self) -> impl Iterator<Item = (&str, &Labels, Value)> {
        self.0.iter().flat_map(|(name, family)| {
            let (counters, histograms) = match &family.values {
                Values::Counter(counters) => (Some(counters), None),
                Values::Histogram(histograms) => (None, Some(histograms)),
                Values::Gauge(_) => (None, None),
            };
            let counters = counters.into_iter().flatten();
            let counters = counters.map(|(labels, count)| (labels, Value::Counter(*count)));
            let histograms = histograms.into_iter().flatten();
            let histograms =
                histograms.map(|(labels, histogram)| (labels, Value::Histogram(histogram.clone())));
            counters.chain(histograms).map(|(labels, value)| (&**name, labels, value))
        })
    }

    /// Adds the counters and histograms of another generation.
    pub(super) fn add(&mut self, other: &Self) {
        other.counted().for_each(|(name, labels, value)| self.add_value(name, labels, &value));
    }

    /// Adds the gauges of the connections that another generation still serves, with its number as
    /// a label.
    pub(super) fn add_open(&mut self, other: &Self, generation: u64) {
        for (name, family) in other.0.iter().filter(|(name, _)| is_of_connections(name)) {
            let Values::Gauge(gauges) = &family.values else { continue };
            for (labels, value) in gauges {
                // Two generations can have the same number: one that was rolled back, and its
                // replacement.
                self.add_value(name, &labels.with("generation", generation), &Value::Gauge(*value));
            }
        }
    }
}

/// Prometheus' text format 0.0.4, with families and series in order.
impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, Family { help, values }) in &self.0 {
            if let Some(help) = help {
                let help = help.replace('\\', r"\\").replace('\n', r"\n");
                writeln!(f, "# HELP {name} {help}")?;
            }
            match values {
                Values::Counter(counters) => {
                    writeln!(f, "# TYPE {name} counter")?;
                    for (labels, count) in counters {
                        writeln!(f, "{name}{labels} {count}")?;
                    }
                }
                Values::Gauge(gauges) => {
                    writeln!(f, "# TYPE {name} gauge")?;
                    for (labels, value) in gauges {
                        writeln!(f, "{name}{labels} {value}")?;
                    }
                }
                Values::Histogram(histograms) => {
                    writeln!(f, "# TYPE {name} histogram")?;
                    for (labels, histogram) in histograms {
                        for (bound, count) in histogram.cumulative() {
                            let le = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
                            writeln!(f, "{name}_bucket{} {count}", labels.with("le", le))?;
                        }
                        writeln!(f, "{name}_sum{labels} {}", histogram.sum())?;
                        writeln!(f, "{name}_count{labels} {}", histogram.count())?;
                    }
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::histogram::Sum;

    fn labels(labels: &[(&str, &str)]) -> Labels {
        Labels::new(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).unwrap()
    }

    fn histogram(buckets: [u64; 2], seconds: f64) -> Value {
        let sum = Sum::of_seconds(seconds);
        Value::Histogram(Histogram::new([0.25].into(), buckets.into(), sum).unwrap())
    }

    fn example() -> Totals {
        let mut totals = Totals::default();
        let echo = labels(&[("listener", "echo")]);
        let read = labels(&[("listener", "echo"), ("direction", "read")]);
        let written = labels(&[("listener", "echo"), ("direction", "written")]);
        totals.add_value("bytes_total", &read, &Value::Counter(u64::MAX));
        totals.add_value("bytes_total", &written, &Value::Counter(9_007_199_254_740_993));
        totals.add_value("connections_active", &echo, &Value::Gauge(2.0));
        totals.add_value("duration_seconds", &echo, &histogram([1, 1], 3.25));
        totals.describe("bytes_total", &"Bytes,\n\\ and more.".into());
        totals
    }

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let text = r#"# HELP bytes_total Bytes,\n\\ and more.
# TYPE bytes_total counter
bytes_total{direction="read",listener="echo"} 18446744073709551615
bytes_total{direction="written",listener="echo"} 9007199254740993

# TYPE connections_active gauge
connections_active{listener="echo"} 2

# TYPE duration_seconds histogram
duration_seconds_bucket{listener="echo",le="0.25"} 1
duration_seconds_bucket{listener="echo",le="+Inf"} 2
duration_seconds_sum{listener="echo"} 3.25
duration_seconds_count{listener="echo"} 2

"#;
        assert_eq!(example().to_string(), text);
    }

    #[test]
    fn counters_and_histograms_add_up_exactly_and_gauges_do_not() {
        let echo = labels(&[("listener", "echo")]);
        let mut other = Totals::default();
        let written = |listener| labels(&[("direction", "written"), ("listener", listener)]);
        other.add_value("bytes_total", &written("echo"), &Value::Counter(2));
        other.add_value("bytes_total", &written("new"), &Value::Counter(5));
        other.add_value("connections_active", &echo, &Value::Gauge(40.0));
        other.add_value("duration_seconds", &echo, &histogram([10, 0], 0.1));
        other.add_value("elsewhere_total", &labels(&[]), &Value::Counter(1));
        let mut sum = example();
        sum.add(&other);
        let text = sum.to_string();
        for line in [
            r#"bytes_total{direction="written",listener="echo"} 9007199254740995"#,
            r#"bytes_total{direction="written",listener="new"} 5"#,
            r#"connections_active{listener="echo"} 2"#,
            r#"duration_seconds_bucket{listener="echo",le="0.25"} 11"#,
            r#"duration_seconds_bucket{listener="echo",le="+Inf"} 12"#,
            r#"duration_seconds_sum{listener="echo"} 3.35"#,
            r#"duration_seconds_count{listener="echo"} 12"#,
            "# TYPE elsewhere_total counter",
            "elsewhere_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line:?} in:\n{text}");
        }
        assert_eq!(text.matches("# TYPE bytes_total ").count(), 1, "{text}");
    }

    #[test]
    fn open_connections_have_the_number_of_their_generation() {
        let mut shown = example();
        shown.add_open(&example(), 4);
        shown.add_open(&example(), 4);
        let text = shown.to_string();
        let expected = "connections_active{listener=\"echo\"} 2\nconnections_active{listener=\"echo\",generation=\"4\"} 4\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_family_that_is_something_else_elsewhere_stays_what_it_is_here() {
        let mut sum = example();
        let mut other = Totals::default();
        let echo = labels(&[("listener", "echo")]);
        other.add_value("bytes_total", &echo, &histogram([1, 1], 1.0));
        other.add_value("connections_active", &echo, &Value::Counter(7));
        sum.add(&other);
        sum.add_open(&other, 1);
        assert_eq!(sum, example());
    }
}
