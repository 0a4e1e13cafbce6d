//! A snapshot as text, in the two forms that Prometheus reads: OpenMetrics 1.0, and the older text format 0.0.4.
//!
//! Invariants: a series has the same labels in both, `le` among them, so that whichever form a scraper asks for, it stores the
//! same series. What may fail: nothing.

use std::fmt::Write;
use std::sync::LazyLock;

use crate::cells::{HistogramSnapshot, LATENCY_BUCKETS_US};
use crate::inventory::{Kind, Metric};
use crate::snapshot::{Family, Series, Snapshot, Value};

/// A form of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The Prometheus text format 0.0.4.
    Prometheus,
}

impl Form {
    /// The form that an `Accept` header prefers; the older one where it does not say.
    #[must_use]
    pub fn accepted(header: Option<&str>) -> Self {
        let (mut open, mut classic) = (0.0_f32, 0.0_f32);
        for range in header.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            match &*media {
                "application/openmetrics-text" if version.is_none_or(|version| version == "1.0.0") => {
                    open = open.max(quality);
                }
                "text/plain" | "text/*" | "*/*" => classic = classic.max(quality),
                _ => {}
            }
        }
        if open > 0.0 && open >= classic { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// What an answer in this form says it is.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The `le` label of each bucket.
static BOUNDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let bounds = LATENCY_BUCKETS_US.iter().map(|us| format!("{:?}", *us as f64 / 1e6));
    bounds.chain(["+Inf".to_owned()]).collect()
});

/// The whole text.
#[must_use]
pub fn write(snapshot: &Snapshot, form: Form) -> String {
    let mut text = String::new();
    for family in &snapshot.families {
        write_head(&mut text, family.metric, form);
        let mut labels = String::new();
        for series in &family.series {
            write_labels(&mut labels, family, series);
            write_series(&mut text, family.metric.name, &labels, &series.value);
        }
    }
    if form == Form::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn write_head(text: &mut String, metric: &Metric, form: Form) {
    let (name, kind) = match (form, metric.kind) {
        (Form::OpenMetrics, Kind::Counter) => (metric.name.trim_end_matches("_total"), "counter"),
        (Form::OpenMetrics, Kind::Info) => (metric.name.trim_end_matches("_info"), "info"),
        (Form::Prometheus, Kind::Counter) => (metric.name, "counter"),
        (_, Kind::Gauge) | (Form::Prometheus, Kind::Info) => (metric.name, "gauge"),
        (_, Kind::Histogram) => (metric.name, "histogram"),
    };
    for part in ["# HELP ", name, " ", metric.help, "\n# TYPE ", name, " ", kind, "\n"] {
        text.push_str(part);
    }
    let unit = metric.unit.as_str();
    if form == Form::OpenMetrics && !unit.is_empty() {
        for part in ["# UNIT ", name, " ", unit, "\n"] {
            text.push_str(part);
        }
    }
}

/// The labels of a series, without braces.
fn write_labels(text: &mut String, family: &Family, series: &Series) {
    text.clear();
    for (name, value) in family.metric.labels.iter().zip(&series.labels) {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
}

fn write_series(text: &mut String, name: &str, labels: &str, value: &Value) {
    match value {
        Value::Count(count) => write_sample(text, (name, ""), labels, None, *count),
        Value::Measure(measure) => write_sample(text, (name, ""), labels, None, *measure),
        Value::Histogram(histogram) => write_histogram(text, name, labels, histogram),
    }
}

fn write_histogram(text: &mut String, name: &str, labels: &str, histogram: &HistogramSnapshot) {
    let mut below = 0;
    for (bound, count) in BOUNDS.iter().zip(histogram.buckets) {
        below += count;
        write_sample(text, (name, "_bucket"), labels, Some(bound), below);
    }
    write_sample(text, (name, "_sum"), labels, None, histogram.sum_us as f64 / 1e6);
    write_sample(text, (name, "_count"), labels, None, below);
}

fn write_sample(
    text: &mut String,
    (name, end): (&str, &str),
    labels: &str,
    bound: Option<&String>,
    value: impl std::fmt::Display,
) {
    text.push_str(name);
    text.push_str(end);
    if !labels.is_empty() || bound.is_some() {
        text.push('{');
        text.push_str(labels);
        if let Some(bound) = bound {
            for part in [if labels.is_empty() { "" } else { "," }, "le=\"", bound, "\""] {
                text.push_str(part);
            }
        }
        text.push('}');
    }
    // Strings grow.
    let _ = writeln!(text, " {value}");
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::inventory as names;

    fn text(form: Form) -> String {
        let series = |labels: &[&str], value| Series {
            labels: labels.iter().map(|label| (*label).into()).collect(),
            value,
        };
        let mut histogram = HistogramSnapshot::default();
        histogram.buckets[0] = 2;
        histogram.buckets[LATENCY_BUCKETS_US.len()] = 1;
        histogram.sum_us = 1_500_000;
        let families = vec![
            Family { metric: &names::STARTED, series: vec![series(&["a\"b\\c\nd"], Value::Count(3))] },
            Family { metric: &names::BUILD, series: vec![series(&["1.0"], Value::Count(1))] },
            Family { metric: &names::BUSY, series: vec![series(&["0"], Value::Measure(0.25))] },
            Family {
                metric: &names::CREDENTIALS_LATENCY,
                series: vec![series(&[], Value::Histogram(Box::new(histogram)))],
            },
        ];
        write(&Snapshot { since: SystemTime::UNIX_EPOCH, at: SystemTime::UNIX_EPOCH, families }, form)
    }

    #[test]
    fn both_forms_have_the_same_series() {
        let samples = |form| {
            let text = text(form);
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
        };
        let samples = [samples(Form::OpenMetrics), samples(Form::Prometheus)];
        assert_eq!(samples[0], samples[1]);
        for wanted in [
            r#"executor_executions_started_total{machine="a\"b\\c\nd"} 3"#,
            r#"executor_build_info{version="1.0"} 1"#,
            r#"executor_shard_busy_seconds_total{shard="0"} 0.25"#,
            r#"executor_credentials_fetch_seconds_bucket{le="0.001"} 2"#,
            r#"executor_credentials_fetch_seconds_bucket{le="86400.0"} 2"#,
            r#"executor_credentials_fetch_seconds_bucket{le="+Inf"} 3"#,
            "executor_credentials_fetch_seconds_sum 1.5",
            "executor_credentials_fetch_seconds_count 3",
        ] {
            assert!(samples[0].iter().any(|line| line == wanted), "{wanted}: {samples:?}");
        }
    }

    #[test]
    fn each_form_names_families_as_its_readers_expect() {
        let (open, classic) = (text(Form::OpenMetrics), text(Form::Prometheus));
        for wanted in [
            "# TYPE executor_executions_started counter\n",
            "# TYPE executor_build info\n",
            "# UNIT executor_shard_busy_seconds seconds\n",
            "# TYPE executor_credentials_fetch_seconds histogram\n",
        ] {
            assert!(open.contains(wanted), "{wanted}: {open}");
        }
        assert!(open.ends_with("# EOF\n"));
        for wanted in [
            "# TYPE executor_executions_started_total counter\n",
            "# TYPE executor_build_info gauge\n",
            "# TYPE executor_shard_busy_seconds_total counter\n",
        ] {
            assert!(classic.contains(wanted), "{wanted}: {classic}");
        }
        assert!(!classic.contains("# UNIT") && !classic.contains("# EOF"), "{classic}");
    }

    #[test]
    fn the_accept_header_chooses_the_form() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (header, form) in [
            (None, Form::Prometheus),
            (Some("*/*"), Form::Prometheus),
            (Some("text/html, */*;q=0.8"), Form::Prometheus),
            (Some("application/openmetrics-text"), Form::OpenMetrics),
            (Some("application/openmetrics-text; version=\"1.0.0\"; charset=utf-8"), Form::OpenMetrics),
            (Some("application/openmetrics-text;version=0.0.1"), Form::Prometheus),
            (Some("application/openmetrics-text;q=0"), Form::Prometheus),
            (Some("application/openmetrics-text;q=0.5, text/plain"), Form::Prometheus),
            (Some(prometheus), Form::OpenMetrics),
        ] {
            assert_eq!(Form::accepted(header), form, "{header:?}");
        }
    }
}
