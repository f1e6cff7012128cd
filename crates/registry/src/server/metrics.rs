//! Counters of a server, and their text for Prometheus (exposition format 0.0.4). What labels can be is fixed here, so that
//! no client makes the table longer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;

use super::page;
use super::route::Route;

/// Upper bounds of the histogram of latencies, in seconds: from a manifest in memory to a large upload.
const BOUNDS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0];

/// What a request is about, as one word of a label.
pub(super) fn class(path: &str) -> &'static str {
    match path {
        "/healthz" | "/readyz" => return "health",
        "/metrics" => return "metrics",
        "/token" => return "token",
        path if page::has(path) => return "page",
        _ => {}
    }
    match Route::parse(path) {
        Ok(Route::Root) => "root",
        Ok(Route::Catalog) => "catalog",
        Ok(Route::Blob { .. }) => "blob",
        Ok(Route::Uploads { .. } | Route::Upload { .. }) => "upload",
        Ok(Route::Manifest { .. }) => "manifest",
        Ok(Route::Tags { .. }) => "tags",
        Ok(Route::Referrers { .. }) => "referrers",
        Err(_) => "other",
    }
}

/// A method as one word of a label.
fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// Everything that is counted, since the start.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, &'static str, u16), u64>>,
    latencies: Mutex<BTreeMap<&'static str, Histogram>>,
    pub(super) in_flight: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) limited: AtomicU64,
    pub(super) refused_connections: AtomicU64,
    pub(super) failed_handshakes: AtomicU64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, secs: f64) {
        self.count += 1;
        self.sum += secs;
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(secs <= bound);
        }
    }
}

/// What others count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gauges {
    pub(super) uploads_open: u64,
    pub(super) failed_logins: u64,
    pub(super) log_lines_lost: u64,
}

impl Metrics {
    /// A request that is answered.
    pub(super) fn answered(&self, method: &Method, class: &'static str, status: u16, took: Duration) {
        let key = (method_word(method), class, status);
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies.entry(class).or_default().observe(took.as_secs_f64());
    }

    /// The text.
    pub(super) fn text(&self, gauges: Gauges) -> String {
        let mut out = String::new();
        self.write_requests(&mut out);
        self.write_latencies(&mut out);
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (name, kind, help, value) in [
            ("requests_in_flight", "gauge", "Requests whose answer is not all sent.", of(&self.in_flight)),
            ("connections", "gauge", "Open connections.", of(&self.connections)),
            ("uploads_open", "gauge", "Uploads that are begun and neither ended nor cancelled.", gauges.uploads_open),
            ("received_bytes_total", "counter", "Bytes of request bodies.", of(&self.received)),
            ("sent_bytes_total", "counter", "Bytes of answers' bodies.", of(&self.sent)),
            ("auth_failures_total", "counter", "Logins with a wrong name or password.", gauges.failed_logins),
            ("rate_limited_total", "counter", "Requests answered with 429.", of(&self.limited)),
            ("connections_refused_total", "counter", "Connections over a limit.", of(&self.refused_connections)),
            (
                "tls_handshakes_failed_total",
                "counter",
                "Connections that never spoke TLS.",
                of(&self.failed_handshakes),
            ),
            ("log_lines_lost_total", "counter", "Lines of the access log nobody took.", gauges.log_lines_lost),
        ] {
            head(&mut out, name, kind, help);
            let _ = writeln!(out, "cooper_{name} {value}");
        }
        out
    }

    fn write_requests(&self, out: &mut String) {
        head(out, "requests_total", "counter", "Requests by method, kind of resource and status.");
        for ((method, class, status), count) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            let labels = format!("method=\"{method}\",resource=\"{class}\",status=\"{status}\"");
            let _ = writeln!(out, "cooper_requests_total{{{labels}}} {count}");
        }
    }

    fn write_latencies(&self, out: &mut String) {
        let name = "request_duration_seconds";
        head(out, name, "histogram", "From the head of a request to the last byte of its answer.");
        for (class, histogram) in &*self.latencies.lock().unwrap_or_else(PoisonError::into_inner) {
            let bounds = BOUNDS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
            for (bound, count) in bounds.zip(histogram.buckets.iter().chain([&histogram.count])) {
                let _ = writeln!(out, "cooper_{name}_bucket{{resource=\"{class}\",le=\"{bound}\"}} {count}");
            }
            let _ = writeln!(out, "cooper_{name}_sum{{resource=\"{class}\"}} {}", histogram.sum);
            let _ = writeln!(out, "cooper_{name}_count{{resource=\"{class}\"}} {}", histogram.count);
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(out, "# HELP cooper_{name} {help}\n# TYPE cooper_{name} {kind}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_method_resource_and_status() {
        let metrics = Metrics::default();
        for (method, path, status, ms) in [
            (Method::GET, "/v2/a/manifests/1", 200, 3),
            (Method::GET, "/v2/a/b/manifests/2", 200, 700),
            (Method::HEAD, "/v2/a/manifests/1", 404, 1),
            (Method::PATCH, "/v2/a/blobs/uploads/0a", 202, 200_000),
            (Method::TRACE, "/../etc", 404, 1),
        ] {
            metrics.answered(&method, class(path), status, Duration::from_millis(ms));
        }
        metrics.sent.fetch_add(42, Ordering::Relaxed);
        let text = metrics.text(Gauges { uploads_open: 7, ..Gauges::default() });
        for line in [
            "cooper_requests_total{method=\"GET\",resource=\"manifest\",status=\"200\"} 2",
            "cooper_requests_total{method=\"HEAD\",resource=\"manifest\",status=\"404\"} 1",
            "cooper_requests_total{method=\"other\",resource=\"other\",status=\"404\"} 1",
            "cooper_request_duration_seconds_bucket{resource=\"manifest\",le=\"0.001\"} 1",
            "cooper_request_duration_seconds_bucket{resource=\"manifest\",le=\"0.005\"} 2",
            "cooper_request_duration_seconds_bucket{resource=\"manifest\",le=\"1\"} 3",
            "cooper_request_duration_seconds_bucket{resource=\"upload\",le=\"120\"} 0",
            "cooper_request_duration_seconds_bucket{resource=\"upload\",le=\"+Inf\"} 1",
            "cooper_request_duration_seconds_count{resource=\"upload\"} 1",
            "cooper_request_duration_seconds_sum{resource=\"upload\"} 200",
            "cooper_sent_bytes_total 42",
            "cooper_uploads_open 7",
            "# TYPE cooper_sent_bytes_total counter",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn no_path_makes_a_label() {
        let metrics = Metrics::default();
        let before = metrics.text(Gauges::default()).lines().count();
        for n in 0..1000 {
            let path = format!("/v2/r{n}/manifests/t\"{n}\n");
            metrics.answered(&Method::GET, class(&path), 400, Duration::ZERO);
        }
        // One line for the requests; one for each bound, the sum and the count for their durations.
        assert_eq!(metrics.text(Gauges::default()).lines().count(), before + 1 + BOUNDS.len() + 3);
    }
}
