//! Metrics to Tencent Cloud Monitor: `PutMonitorData` of API 3.0 (2018-07-24), signed with TC3.
//!
//! A report is a list of names and whole numbers for one instance and one minute; there are no dimensions, and an account has a
//! hundred names. So a node tells what all of its machines came to together since the last report that was taken, with itself
//! as the instance. The names are ours: none for ASW are published. Invariants: a report's time is a whole minute of the last
//! five; one that was taken is not repeated. What may fail: the service; what it did not take is told with the next report.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use rustls::ClientConfig;
use serde_json::{Value, json};
use sign::Unsigned;
use telemetry::Snapshot;

use super::PushError;
use super::answer::{Answer, judge};
use super::deltas::{Counts, Told};
use crate::http_client::{body, client, explain};
use crate::keys::{self, TENCENT};
use crate::{Batch, Now, Sent, Sink, SinkError};

/// In the order of [`Counts::numbers`].
const NAMES: [&str; 6] = [
    "myriad_executions_started",
    "myriad_executions_succeeded",
    "myriad_executions_failed",
    "myriad_executions_aborted",
    "myriad_executions_timed_out",
    "myriad_executions_throttled",
];
/// The average, in milliseconds.
const TIME: &str = "myriad_execution_time_ms";

/// Where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TencentOptions {
    /// For example `https://monitor.tencentcloudapi.com`.
    pub endpoint: String,
    /// Sent as `X-TC-Region`, where one is given: the API needs none.
    pub region: Option<String>,
    /// Whose numbers these are: the node's name.
    pub instance: String,
    /// Holds `TENCENTCLOUD_SECRET_ID=…`, `TENCENTCLOUD_SECRET_KEY=…` and, of temporary keys, `TENCENTCLOUD_TOKEN=…`, each on
    /// a line of its own.
    pub keys_file: PathBuf,
}

/// See the module.
pub struct TencentMonitor {
    options: TencentOptions,
    url: String,
    http: reqwest::Client,
    now: Now,
    told: Told,
}

impl std::fmt::Debug for TencentMonitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TencentMonitor").field("options", &self.options).finish_non_exhaustive()
    }
}

impl TencentMonitor {
    /// `tls` says whom to trust.
    ///
    /// # Errors
    /// [`PushError`]
    pub fn new(options: TencentOptions, tls: &Arc<ClientConfig>, now: Now) -> Result<Self, PushError> {
        let url = super::url(options.endpoint.clone())?;
        Ok(Self { url, http: client(tls)?, options, now, told: Told::default() })
    }

    async fn put(&self, report: &Value) -> Result<u64, SinkError> {
        let keys = keys::read(&self.options.keys_file, TENCENT, "Tencent Cloud Monitor").await?;
        let text = report.to_string();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        headers.insert("x-tc-action", HeaderValue::from_static("PutMonitorData"));
        headers.insert("x-tc-version", HeaderValue::from_static("2018-07-24"));
        if let Some(region) = &self.options.region {
            headers.insert("x-tc-region", HeaderValue::from_str(region).map_err(SinkError::refused)?);
        }
        let mut request = Unsigned {
            method: &http::Method::POST,
            url: &self.url,
            headers: &mut headers,
            body: text.as_bytes(),
        };
        sign::tc3::sign(&mut request, &keys, "monitor", (self.now)() / 1_000)
            .map_err(SinkError::unavailable)?;
        let sent = text.len() as u64;
        let response = self.http.post(&self.url).headers(headers).body(text).send().await;
        let response = response.map_err(|error| {
            SinkError::unavailable(format!(
                "Tencent Cloud Monitor at {} cannot be reached: {}",
                self.url,
                explain(error)
            ))
        })?;
        let status = response.status();
        let answer: Value = serde_json::from_slice(&body(response).await).unwrap_or_default();
        // Refusals have the status 200 as well.
        let response = answer.get("Response");
        let error = response.and_then(|response| response.get("Error"));
        if status.is_success() && response.is_some() && error.is_none() {
            return Ok(sent);
        }
        let text = |name: &str| error.and_then(|error| error.get(name)).and_then(Value::as_str);
        let answer = Answer { status, code: text("Code"), message: text("Message") };
        Err(judge("Tencent Cloud Monitor", &answer))
    }
}

impl Sink<Arc<Snapshot>> for TencentMonitor {
    async fn send(&mut self, batch: &Batch<Arc<Snapshot>>) -> Result<Sent, SinkError> {
        let mut sent = 0_u64;
        for snapshot in &batch.items {
            let due = self.told.due(snapshot);
            let mut all = Counts::default();
            due.iter().for_each(|due| all.add(&due.delta));
            let at = snapshot.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            sent += self.put(&report(&all, &self.options.instance, at)).await?;
            due.iter().for_each(|due| self.told.told(due));
        }
        Ok(sent.into())
    }
}

/// Zeros are told too: an alarm wants to see them. The time only where an execution has ended.
fn report(counts: &Counts, instance: &str, at: u64) -> Value {
    let numbers = NAMES.iter().zip(counts.numbers);
    let time = counts.time.sum_us.checked_div(counts.time.count()).map(|average| (&TIME, average / 1_000));
    let metrics: Vec<Value> =
        numbers.chain(time).map(|(name, value)| json!({ "MetricName": name, "Value": value })).collect();
    json!({ "Metrics": metrics, "AnnounceTimestamp": at - at % 60, "AnnounceInstance": instance })
}
