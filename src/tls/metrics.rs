//! The series of reloads and expiries.

use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use portcullis_layers::{
    metrics::series_name,
    tls::{Expiry, ExpiryKind},
};

/// See the module. The label of an expiry is the file as the configuration names it: a closed set.
pub(super) struct TlsMetrics {
    succeeded: Counter,
    failed: Counter,
    last_success: Gauge,
    certificate: String,
    crl: String,
}

impl TlsMetrics {
    pub(super) fn new(prefix: &str) -> Self {
        let reloads = series_name(prefix, "reloads_total");
        let last_success = series_name(prefix, "last_reload_success_timestamp_seconds");
        let certificate = series_name(prefix, "tls_certificate_not_after_timestamp_seconds");
        let crl = series_name(prefix, "tls_crl_next_update_timestamp_seconds");
        describe_counter!(reloads.clone(), "Reloads of what is configured by files, by their result");
        describe_gauge!(last_success.clone(), "When a reload, or the first reading, has last succeeded");
        describe_gauge!(
            certificate.clone(),
            "When the certificate chain in this file ends: the first certificate of it to do so"
        );
        describe_gauge!(crl.clone(), "When the revocation list in this file should have been replaced");
        let this = Self {
            succeeded: counter!(reloads.clone(), "kind" => "tls", "result" => "succeeded"),
            failed: counter!(reloads, "kind" => "tls", "result" => "failed"),
            last_success: gauge!(last_success, "kind" => "tls"),
            certificate,
            crl,
        };
        this.succeeded.increment(0);
        this.failed.increment(0);
        this.last_success.set(seconds(SystemTime::now()));
        this
    }

    pub(super) fn reloaded(&self, success: bool) {
        if success {
            self.succeeded.increment(1);
            self.last_success.set(seconds(SystemTime::now()));
        } else {
            self.failed.increment(1);
        }
    }

    /// The earliest end for each file.
    pub(super) fn tell(&self, expiries: &[Expiry]) {
        for Expiry { kind, file, at, .. } in expiries {
            let same = expiries.iter().filter(|other| other.kind == *kind && other.file == *file);
            let first = same.map(|other| other.at).min().unwrap_or(*at);
            let file = file.display().to_string();
            match kind {
                ExpiryKind::Certificate => gauge!(self.certificate.clone(), "certificate" => file),
                ExpiryKind::Crl => gauge!(self.crl.clone(), "crl" => file),
                _ => continue,
            }
            .set(seconds(first));
        }
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
