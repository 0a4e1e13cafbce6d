//! Snapshots of metrics as OTLP has them.
//!
//! Counters become monotonic cumulative sums that began when the node did, gauges become gauges, histograms keep their
//! bounds, and infos become sums of 1 that are not monotonic. Names lose `_total`, as the mapping between OTLP and Prometheus
//! has it, so that they come out of a collector as `/metrics` tells them.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use rustls::ClientConfig;
use telemetry::Snapshot;
use telemetry::cells::LATENCY_BUCKETS_US;
use telemetry::inventory::{Kind, Unit};
use telemetry::snapshot::{Family, Series, Value};

use super::{Client, OtlpError, OtlpOptions, attribute, text};
use crate::{Batch, Sent, Sink, SinkError};

/// In one request: with labels as long as ARNs about a megabyte, where collectors take 4 or 20.
const POINTS_MAX: usize = 5_000;

/// See the module.
#[derive(Debug)]
pub struct OtlpMetrics {
    client: Client,
    points_max: usize,
}

impl OtlpMetrics {
    /// `tls` says whom to trust.
    ///
    /// # Errors
    /// [`OtlpError`]
    pub fn new(options: OtlpOptions, tls: &Arc<ClientConfig>) -> Result<Self, OtlpError> {
        Ok(Self { client: Client::new(options, "metrics", tls)?, points_max: POINTS_MAX })
    }

    async fn send_points(&mut self, metrics: Vec<Metric>) -> Result<Sent, SinkError> {
        let scope = ScopeMetrics { scope: Some(self.client.scope()), metrics, ..ScopeMetrics::default() };
        let resource = ResourceMetrics {
            resource: Some(self.client.resource()),
            scope_metrics: vec![scope],
            ..ResourceMetrics::default()
        };
        let request = ExportMetricsServiceRequest { resource_metrics: vec![resource] };
        let (answer, bytes): (ExportMetricsServiceResponse, _) = self.client.send(&request).await?;
        let partial = answer.partial_success.unwrap_or_default();
        Ok(self.client.taken(bytes, partial.rejected_data_points, &partial.error_message))
    }
}

impl Sink<Arc<Snapshot>> for OtlpMetrics {
    /// As many requests as it takes; all of them again after a failure, which changes nothing, for the values are cumulative.
    async fn send(&mut self, batch: &Batch<Arc<Snapshot>>) -> Result<Sent, SinkError> {
        let mut sent = Sent::default();
        for snapshot in &batch.items {
            let (mut metrics, mut points) = (Vec::new(), 0);
            for (family, series) in pieces(snapshot, self.points_max) {
                if points + series.len() > self.points_max {
                    sent += self.send_points(std::mem::take(&mut metrics)).await?;
                    points = 0;
                }
                points += series.len();
                metrics.push(metric(snapshot, family, series));
            }
            if points > 0 {
                sent += self.send_points(metrics).await?;
            }
        }
        Ok(sent)
    }
}

/// Families that have series, in parts that fit into a request.
fn pieces(snapshot: &Snapshot, points_max: usize) -> impl Iterator<Item = (&Family, &[Series])> {
    let families = snapshot.families.iter();
    families.flat_map(move |family| family.series.chunks(points_max).map(move |series| (family, series)))
}

fn metric(snapshot: &Snapshot, family: &Family, series: &[Series]) -> Metric {
    let about = family.metric;
    let (start, at) = (nanos(snapshot.since), nanos(snapshot.at));
    // A gauge has no beginning.
    let numbers = |start| {
        let point = |series: &Series| {
            let value = match &series.value {
                Value::Count(count) => Number::AsInt(i64::try_from(*count).unwrap_or(i64::MAX)),
                Value::Measure(measure) => Number::AsDouble(*measure),
                // No histogram is in a family of another kind.
                Value::Histogram(_) => return None,
            };
            Some(NumberDataPoint {
                attributes: attributes(about.labels, series),
                start_time_unix_nano: start,
                time_unix_nano: at,
                value: Some(value),
                ..NumberDataPoint::default()
            })
        };
        series.iter().filter_map(point).collect()
    };
    let cumulative = i32::from(AggregationTemporality::Cumulative);
    let sum = |is_monotonic| {
        Data::Sum(Sum { data_points: numbers(start), aggregation_temporality: cumulative, is_monotonic })
    };
    let data = match about.kind {
        Kind::Counter => sum(true),
        Kind::Info => sum(false),
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers(0) }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: series
                .iter()
                .filter_map(|series| histogram(about.labels, series, start, at))
                .collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: about.name.strip_suffix("_total").unwrap_or(about.name).to_owned(),
        description: about.help.to_owned(),
        unit: unit(about.unit).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn histogram(labels: &[&str], series: &Series, start: u64, at: u64) -> Option<HistogramDataPoint> {
    let Value::Histogram(snapshot) = &series.value else { return None };
    Some(HistogramDataPoint {
        attributes: attributes(labels, series),
        start_time_unix_nano: start,
        time_unix_nano: at,
        count: snapshot.count(),
        sum: Some(seconds(snapshot.sum_us)),
        bucket_counts: snapshot.buckets.to_vec(),
        explicit_bounds: LATENCY_BUCKETS_US.iter().map(|bound| seconds(*bound)).collect(),
        ..HistogramDataPoint::default()
    })
}

fn attributes(labels: &[&str], series: &Series) -> Vec<KeyValue> {
    labels.iter().zip(&series.labels).map(|(name, value)| attribute(name, text(value))).collect()
}

fn seconds(us: u64) -> f64 {
    std::time::Duration::from_micros(us).as_secs_f64()
}

/// As UCUM has it; a collector takes `1` for a ratio, so things have none.
fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "",
        Unit::Seconds => "s",
        Unit::Bytes => "By",
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use telemetry::NodeMetrics;

    use super::*;

    #[test]
    fn a_snapshot_goes_into_parts_that_hold_each_series_once() {
        let snapshot = NodeMetrics::new("test", 3).snapshot();
        let whole: usize = snapshot.families.iter().map(|family| family.series.len()).sum();
        for max in [1, 2, 7, POINTS_MAX] {
            let parts: Vec<_> = pieces(&snapshot, max).collect();
            assert!(parts.iter().all(|(_, series)| (1..=max).contains(&series.len())));
            assert_eq!(parts.iter().map(|(_, series)| series.len()).sum::<usize>(), whole);
        }
    }
}
