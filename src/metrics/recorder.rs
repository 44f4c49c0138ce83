//! The recorder behind the `metrics` facade.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

use super::{labels::Labels, registry::Registry, totals::is_of_connections};

/// Records the series that continue across restarts, and passes all others to another recorder.
///
/// The series that continue are the counters and histograms that this library registers, and the
/// gauges of its connections.
#[derive(Debug)]
pub(crate) struct Recorder<R> {
    registry: Arc<Registry>,
    others: R,
}

impl<R> Recorder<R> {
    pub(crate) const fn new(registry: Arc<Registry>, others: R) -> Self {
        Self { registry, others }
    }
}

/// Whether a series is registered by this library, by the module that does it: the prefixes of
/// names are configurable, and an application may have series with the same endings.
fn is_own(metadata: &Metadata<'_>) -> bool {
    let path = metadata.module_path().unwrap_or_default();
    matches!(path.split("::").next(), Some("portcullis" | "portcullis_layers"))
}

/// The name and the labels, as Prometheus takes them. `None` if it would not take the labels.
fn identity(key: &Key) -> Option<(String, Labels)> {
    let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned()));
    Some((sanitize(key.name()), Labels::new(labels)?))
}

/// What Prometheus does not allow in a name becomes an underscore: a prefix may be anything.
fn sanitize(name: &str) -> String {
    let allowed = |(place, letter): (usize, char)| {
        let digit = place > 0 && letter.is_ascii_digit();
        if letter.is_ascii_alphabetic() || matches!(letter, '_' | ':') || digit { letter } else { '_' }
    };
    name.chars().enumerate().map(allowed).collect()
}

impl<R: metrics::Recorder> metrics::Recorder for Recorder<R> {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.registry.describe(&sanitize(key.as_str()), help.clone());
        self.others.describe_counter(key, unit, help);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.registry.describe(&sanitize(key.as_str()), help.clone());
        self.others.describe_gauge(key, unit, help);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.registry.describe(&sanitize(key.as_str()), help.clone());
        self.others.describe_histogram(key, unit, help);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        match identity(key).filter(|_| is_own(metadata)) {
            Some((name, labels)) => Counter::from_arc(self.registry.counter(&name, labels)),
            None => self.others.register_counter(key, metadata),
        }
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        match identity(key).filter(|(name, _)| is_own(metadata) && is_of_connections(name)) {
            Some((name, labels)) => Gauge::from_arc(self.registry.gauge(&name, labels)),
            None => self.others.register_gauge(key, metadata),
        }
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        match identity(key).filter(|_| is_own(metadata)) {
            Some((name, labels)) => Histogram::from_arc(self.registry.histogram(&name, labels)),
            None => self.others.register_histogram(key, metadata),
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics::{Level, NoopRecorder, Recorder as _};

    use super::*;

    fn recorder() -> Recorder<NoopRecorder> {
        Recorder::new(Registry::new(Vec::new()), NoopRecorder)
    }

    fn count(recorder: &Recorder<NoopRecorder>, module: &str, key: &'static str) {
        let metadata = Metadata::new(module, Level::INFO, Some(module));
        recorder.register_counter(&Key::from_static_name(key), &metadata).increment(1);
    }

    #[test]
    fn only_what_this_library_registers_goes_on() {
        let recorder = recorder();
        count(&recorder, "portcullis_layers::metrics::register", "mail_connections_accepted_total");
        count(&recorder, "portcullis::generation", "restarts_total");
        // It may be called as one of ours is.
        count(&recorder, "application::jobs", "portcullis_restarts_total");
        count(&recorder, "portcullis_clone", "portcullis_connections_accepted_total");
        let text = recorder.registry.render();
        assert_eq!(text.matches("# TYPE ").count(), 2, "{text}");
        assert!(text.contains("\nrestarts_total 1\n"), "{text}");
    }

    #[test]
    fn gauges_go_on_if_they_are_of_connections() {
        let recorder = recorder();
        let metadata = Metadata::new("", Level::INFO, Some("portcullis::generation"));
        for gauge in ["x_connections_active", "x_draining", "x_generation"] {
            recorder.register_gauge(&Key::from_static_name(gauge), &metadata).set(7.0);
        }
        assert_eq!(
            recorder.registry.render(),
            "# TYPE x_connections_active gauge\nx_connections_active 7\n\n"
        );
    }

    #[test]
    fn a_prefix_that_is_no_name_becomes_one() {
        let recorder = recorder();
        recorder.describe_counter("7 é-mails_total".into(), None, "Help.".into());
        count(&recorder, "portcullis::generation", "7 é-mails_total");
        assert_eq!(
            recorder.registry.render(),
            "# HELP ____mails_total Help.\n# TYPE ____mails_total counter\n____mails_total 1\n\n"
        );
    }

    #[test]
    fn handles_of_one_series_count_together() {
        let recorder = recorder();
        count(&recorder, "portcullis", "a_total");
        count(&recorder, "portcullis", "a_total");
        assert!(recorder.registry.render().contains("a_total 2\n"));
    }
}
