//! Metrics of machines to Amazon CloudWatch: `PutMetricData`, in AWS's JSON protocol, signed with SigV4.
//!
//! Names, units and the dimension `StateMachineArn` are those of `AWS/States`, in a namespace of one's own; a push tells what has
//! come since the last one that was taken. Invariants: a request is within the service's bounds; one that was taken is not
//! repeated because a later one failed. What may fail: the service; what it did not take is told with the next push.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use rustls::ClientConfig;
use serde_json::{Value, json};
use sign::{Keys, Unsigned};
use telemetry::Snapshot;

use super::PushError;
use super::answer::{Answer, judge};
use super::deltas::{Counts, Due, Told};
use crate::http_client::{body, client, explain};
use crate::keys::{self, AWS};
use crate::{Batch, Now, Sent, Sink, SinkError};

/// In the order of [`Counts::numbers`].
const NAMES: [&str; 6] = [
    "ExecutionsStarted",
    "ExecutionsSucceeded",
    "ExecutionsFailed",
    "ExecutionsAborted",
    "ExecutionsTimedOut",
    "ExecutionThrottled",
];
/// In one request.
const METRICS_MAX: usize = 1_000;
/// A request may have 1 MB; these are the metrics of one, without what is around them.
const BYTES_MAX: usize = 900_000;
/// Of a dimension's value.
const DIMENSION_CHARS_MAX: usize = 1_024;

/// Where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudWatchOptions {
    /// For example `us-east-1`.
    pub region: String,
    /// Where it is not `https://monitoring.REGION.amazonaws.com`.
    pub endpoint: Option<String>,
    /// For example `Myriad/States`; not one that begins with `AWS/`.
    pub namespace: String,
    /// Holds `AWS_ACCESS_KEY_ID=…`, `AWS_SECRET_ACCESS_KEY=…` and, of temporary keys, `AWS_SESSION_TOKEN=…`, each on a line of
    /// its own.
    pub keys_file: PathBuf,
}

/// See the module.
pub struct CloudWatch {
    options: CloudWatchOptions,
    url: String,
    http: reqwest::Client,
    now: Now,
    told: Told,
}

impl std::fmt::Debug for CloudWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CloudWatch").field("options", &self.options).finish_non_exhaustive()
    }
}

impl CloudWatch {
    /// `tls` says whom to trust.
    ///
    /// # Errors
    /// [`PushError`]
    pub fn new(options: CloudWatchOptions, tls: &Arc<ClientConfig>, now: Now) -> Result<Self, PushError> {
        let usual = || format!("https://monitoring.{}.amazonaws.com", options.region);
        let url = super::url(options.endpoint.clone().unwrap_or_else(usual))?;
        Ok(Self { url, http: client(tls)?, options, now, told: Told::default() })
    }

    /// Sends a request of these metrics, each as JSON; gives its bytes.
    async fn put(&self, keys: &Keys, metrics: &[String]) -> Result<u64, SinkError> {
        let (namespace, metrics) = (json!(self.options.namespace), metrics.join(","));
        let text = format!(r#"{{"Namespace":{namespace},"MetricData":[{metrics}]}}"#);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
        let target = HeaderValue::from_static("GraniteServiceVersion20100801.PutMetricData");
        headers.insert("x-amz-target", target);
        let mut request = Unsigned {
            method: &http::Method::POST,
            url: &self.url,
            headers: &mut headers,
            body: text.as_bytes(),
        };
        sign::sigv4::sign(&mut request, keys, "monitoring", &self.options.region, (self.now)() / 1_000)
            .map_err(SinkError::unavailable)?;
        let sent = text.len() as u64;
        let response = self.http.post(&self.url).headers(headers).body(text).send().await;
        let response = response.map_err(|error| {
            SinkError::unavailable(format!(
                "CloudWatch at {} cannot be reached: {}",
                self.url,
                explain(error)
            ))
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(sent);
        }
        let answer: Value = serde_json::from_slice(&body(response).await).unwrap_or_default();
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        // `com.amazonaws.cloudwatch#InvalidParameterValueException`.
        let code = text("__type").map(|code| code.rsplit('#').next().unwrap_or(code));
        let message = text("message").or_else(|| text("Message"));
        Err(judge("CloudWatch", &Answer { status, code, message }))
    }
}

impl Sink<Arc<Snapshot>> for CloudWatch {
    async fn send(&mut self, batch: &Batch<Arc<Snapshot>>) -> Result<Sent, SinkError> {
        let (mut sent, mut refused) = (0_u64, None);
        for snapshot in &batch.items {
            let due = self.told.due(snapshot);
            if due.is_empty() {
                continue;
            }
            let keys = keys::read(&self.options.keys_file, AWS, "CloudWatch").await?;
            let at = snapshot.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            for (machines, metrics) in requests(&due, at) {
                match self.put(&keys, &metrics).await {
                    Ok(bytes) => {
                        sent += bytes;
                        machines.iter().for_each(|due| self.told.told(due));
                    }
                    // The other machines are not to suffer for it.
                    Err(error @ SinkError::Refused { .. }) => refused = Some(error),
                    Err(error) => return Err(error),
                }
            }
        }
        refused.map_or(Ok(sent.into()), Err)
    }
}

/// Machines, and their metrics as JSON, in requests that are within the bounds.
fn requests(due: &[Due], at: u64) -> Vec<(&[Due], Vec<String>)> {
    let (mut requests, mut metrics, mut bytes, mut first) = (Vec::new(), Vec::new(), 0, 0);
    for (place, machine) in due.iter().enumerate() {
        let own: Vec<String> = metrics_of(machine, at).iter().map(Value::to_string).collect();
        let own_bytes: usize = own.iter().map(|metric| metric.len() + 1).sum();
        if metrics.len() + own.len() > METRICS_MAX || bytes + own_bytes > BYTES_MAX {
            requests.push((&due[first..place], std::mem::take(&mut metrics)));
            (bytes, first) = (0, place);
        }
        bytes += own_bytes;
        metrics.extend(own);
    }
    requests.push((&due[first..], metrics));
    requests
}

/// What there is to tell of a machine; zeros are not told.
fn metrics_of(due: &Due, at: u64) -> Vec<Value> {
    let Counts { numbers, .. } = &due.delta;
    let shown = |char: char| if char == ' ' || char.is_ascii_graphic() { char } else { '?' };
    let machine: String = due.machine.chars().take(DIMENSION_CHARS_MAX).map(shown).collect();
    let dimensions = json!([{ "Name": "StateMachineArn", "Value": machine }]);
    let counts = NAMES.iter().zip(numbers).filter(|(_, count)| **count > 0);
    let mut metrics: Vec<Value> = counts
        .map(|(name, count)| {
            json!({ "MetricName": name, "Dimensions": dimensions, "Timestamp": at, "Value": count, "Unit": "Count" })
        })
        .collect();
    let (values, counts): (Vec<f64>, Vec<u64>) = due.delta.durations_ms().into_iter().unzip();
    if !values.is_empty() {
        metrics.push(json!({
            "MetricName": "ExecutionTime", "Dimensions": dimensions, "Timestamp": at,
            "Values": values, "Counts": counts, "Unit": "Milliseconds",
        }));
    }
    metrics
}

#[cfg(test)]
mod tests {
    use telemetry::NodeMetrics;

    use super::*;

    #[test]
    fn a_thousand_machines_go_into_requests_within_the_bounds_each_in_one() {
        let node = NodeMetrics::new("test", 1);
        for number in 0..999 {
            // As long as a label may be, and six times as long where it is JSON.
            let name = format!("{}{number}", "\u{1}".repeat(250));
            let machine = node.shard(0).expect("a shard").machine(&name);
            machine.started.add(1);
            machine.succeeded.add(1);
            machine.duration.observe(number);
        }
        let due = Told::default().due(&node.snapshot());
        let requests = requests(&due, 1_700_000_000);
        assert!(requests.len() > 1);
        for (_, metrics) in &requests {
            assert!((1..=METRICS_MAX).contains(&metrics.len()));
            assert!(metrics.iter().map(|metric| metric.len() + 1).sum::<usize>() <= BYTES_MAX);
        }
        let told: Vec<_> = requests.iter().flat_map(|(machines, _)| machines.iter()).collect();
        assert_eq!(told, due.iter().collect::<Vec<_>>());
    }
}
