//! What a run found: a table for people, JSON for comparing commits.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::ledger::Verified;
use crate::machine::{Disk, Machine};

/// Percentiles of a latency in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    /// How many latencies there are.
    pub count: u64,
}

impl Percentiles {
    /// Of a histogram in microseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let ms = |quantile| (histogram.value_at_quantile(quantile) as f64) / 1e3;
        Self {
            p50: ms(0.5),
            p90: ms(0.9),
            p99: ms(0.99),
            p999: ms(0.999),
            max: histogram.max() as f64 / 1e3,
            count: histogram.len(),
        }
    }

    /// In one line.
    pub(crate) fn text(&self) -> String {
        let Self { p50, p90, p99, p999, max, .. } = self;
        format!("p50 {p50:.2}  p90 {p90:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.1} ms")
    }
}

/// What is known of the HTTP calls of a run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Calls {
    /// Calls a second that the HTTP client of integrations makes alone, on as many threads as there are shards, to the same peer
    /// with the same bodies.
    pub client_per_s: u64,
    /// Calls a second of the run, as a ratio of that.
    pub of_client: f64,
    /// Calls that a second target was left with, which never answered.
    pub hung: u32,
}

/// What was exported of an observed run: all that was to be, and nothing dropped.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Exported {
    /// Events of histories, at each sink.
    pub events: u64,
    /// So many sinks.
    pub sinks: u64,
    /// Spans, of a start in a thousand.
    pub spans: u64,
    /// Snapshots of metrics that were pushed.
    pub pushes: u64,
    /// Times that metrics were scraped while the load ran.
    pub scrapes: u64,
}

/// Everything that a run found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// See [`crate::profile::Profile::name`].
    pub profile: String,
    /// `EXPRESS` or `STANDARD`.
    pub mode: String,
    /// `open` (rates fixed in advance) or `closed` (as fast as acknowledgements come back; its latencies do not count).
    pub loop_kind: &'static str,
    /// Whether the batches went through the scheduler.
    pub through_scheduler: bool,
    /// Executions a second that were scheduled; 0 in a closed loop.
    pub offered_per_s: u64,
    /// Acknowledged executions a second, over the time until the last acknowledgement.
    pub achieved_per_s: u64,
    /// Executions that reached their end, a second.
    pub completed_per_s: u64,
    /// Seconds that the schedule lasted.
    pub duration_s: f64,
    /// Executions.
    pub acknowledged: u64,
    /// Executions by final status.
    pub completed: BTreeMap<String, u64>,
    /// Starts that were not acknowledged, by reason.
    pub errors: BTreeMap<String, u64>,
    /// From the scheduled instant to the acknowledgement.
    pub ack_ms: Percentiles,
    /// From the scheduled instant to the durable end.
    pub completion_ms: Percentiles,
    /// Bytes of each input.
    pub payload_bytes: usize,
    /// How predictable the inputs are.
    pub entropy: String,
    /// Different machines mixed in each batch.
    pub machines: usize,
    /// CPU time per acknowledged execution of each process, in microseconds.
    pub cpu_us_per_execution: BTreeMap<String, f64>,
    /// CPU used of all that the machine has, all processes together, as a ratio.
    pub machine_cpu_ratio: f64,
    /// Growth of the store per acknowledged execution, in bytes.
    pub store_bytes_per_execution: Option<f64>,
    /// `redis`, `file` or `memory`, with its durability.
    pub store: String,
    /// For Redis.
    pub appendfsync: Option<String>,
    /// Of a run whose Tasks call over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<Calls>,
    /// Of an observed run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exported: Option<Exported>,
    /// What was read back.
    pub verified: Option<Verified>,
    /// The disk of the store.
    pub disk: Option<Disk>,
    /// The surroundings.
    pub machine: Machine,
}

impl Report {
    /// Starts that failed.
    #[must_use]
    pub fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Why the run is no success: errors, less than 99 % of what was offered acknowledged, or less than 97 % of the rate.
    #[must_use]
    pub fn shortcomings(&self) -> Vec<String> {
        let (profile, offered, errors) = (&self.profile, self.offered_per_s, self.errors_total());
        let mut found = Vec::new();
        if errors > 0 {
            found.push(format!("{profile}: {errors} starts were not acknowledged"));
        }
        let ended: u64 = self.completed.values().sum();
        let failed = ended - self.completed.get("SUCCEEDED").copied().unwrap_or(0);
        if failed > 0 {
            found.push(format!("{profile}: {failed} executions did not succeed"));
        }
        if self.acknowledged < (offered as f64 * self.duration_s * 0.99) as u64
            || self.achieved_per_s < offered * 97 / 100
        {
            found.push(format!("{profile}: fell short of the offered {offered}/s"));
        }
        found
    }

    /// For a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let via = if self.through_scheduler { " through the scheduler" } else { "" };
        let fsync =
            self.appendfsync.as_ref().map_or(String::new(), |setting| format!(", appendfsync {setting}"));
        let mut rows = vec![
            ("profile", format!("{} {}{via}, {} loop", self.profile, self.mode, self.loop_kind)),
            ("store", format!("{}{fsync}", self.store)),
        ];
        if self.offered_per_s > 0 {
            rows.push((
                "offered",
                format!("{}/s for {:.1} s", thousands(self.offered_per_s), self.duration_s),
            ));
        }
        let (achieved, completed) = (thousands(self.achieved_per_s), thousands(self.completed_per_s));
        rows.push(("achieved", format!("{achieved}/s acknowledged, {completed}/s ended")));
        rows.push(("acknowledged", thousands(self.acknowledged)));
        rows.push(("ended", counts(&self.completed)));
        rows.push(("errors", counts(&self.errors)));
        for (name, p) in [("ack", &self.ack_ms), ("completion", &self.completion_ms)] {
            if p.count > 0 {
                rows.push((name, p.text()));
            }
        }
        self.resource_rows(&mut rows);
        rows.iter().map(|(name, value)| format!("{name:>14}  {value}\n")).collect()
    }

    fn resource_rows(&self, rows: &mut Vec<(&'static str, String)>) {
        let cpu: Vec<String> =
            self.cpu_us_per_execution.iter().map(|(name, us)| format!("{name} {us:.2}")).collect();
        if !cpu.is_empty() {
            let percent = self.machine_cpu_ratio * 100.0;
            rows.push(("CPU", format!("{} µs per execution; {percent:.0} % of the machine", cpu.join(", "))));
        }
        if let Some(Calls { client_per_s, of_client, hung }) = &self.calls {
            let (client, percent) = (thousands(*client_per_s), of_client * 100.0);
            let text = format!(
                "the HTTP client alone {client}/s, the node {percent:.0} % of that; {hung} calls hung"
            );
            rows.push(("calls", text));
        }
        if let Some(Exported { events, sinks, spans, pushes, scrapes }) = &self.exported {
            let (events, spans) = (thousands(*events), thousands(*spans));
            let text = format!(
                "{events} events to each of {sinks} sinks, {spans} spans, {pushes} pushes, {scrapes} scrapes"
            );
            rows.push(("exported", text));
        }
        if let Some(bytes) = self.store_bytes_per_execution {
            rows.push(("store growth", format!("{bytes:.0} B per execution")));
        }
        if let Some(verified) = &self.verified {
            let (all, ended) = (thousands(verified.acknowledged), thousands(verified.ended_once));
            rows.push(("read back", format!("{all} acknowledged = stored, {ended} ended once")));
        }
        let Machine { load_average: [one, five, fifteen], cpus, commit, .. } = &self.machine;
        rows.push(("load average", format!("{one} {five} {fifteen} on {cpus} CPUs, commit {commit}")));
    }
}

pub(crate) fn counts(counts: &BTreeMap<String, u64>) -> String {
    let texts: Vec<String> =
        counts.iter().map(|(name, count)| format!("{name} {}", thousands(*count))).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

/// `1234567` as `1,234,567`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(
            [1, 999, 1_000, 115_741, 1_157_407].map(thousands),
            ["1", "999", "1,000", "115,741", "1,157,407"]
        );
    }

    /// A run of 10 s at 1,000/s.
    fn report(acknowledged: u64, achieved_per_s: u64, errors: &[(&str, u64)]) -> Report {
        Report {
            profile: "pass".to_owned(),
            mode: "EXPRESS".to_owned(),
            loop_kind: "open",
            through_scheduler: false,
            offered_per_s: 1_000,
            achieved_per_s,
            completed_per_s: 0,
            duration_s: 10.0,
            acknowledged,
            completed: BTreeMap::new(),
            errors: errors.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            ack_ms: Percentiles::default(),
            completion_ms: Percentiles::default(),
            payload_bytes: 200,
            entropy: "templated".to_owned(),
            machines: 1,
            cpu_us_per_execution: BTreeMap::new(),
            machine_cpu_ratio: 0.0,
            store_bytes_per_execution: None,
            store: "memory".to_owned(),
            appendfsync: None,
            calls: None,
            exported: None,
            verified: None,
            disk: None,
            machine: Machine::look(),
        }
    }

    #[test]
    fn errors_and_less_than_was_offered_are_shortcomings() {
        assert!(report(9_950, 990, &[]).shortcomings().is_empty());
        for (short, why) in [
            (report(9_950, 990, &[("REFUSED", 3)]), "3 starts"),
            (report(9_899, 990, &[]), "fell short"),
            (report(9_950, 969, &[]), "fell short"),
            (
                Report { completed: BTreeMap::from([("FAILED".to_owned(), 2)]), ..report(9_950, 990, &[]) },
                "2 executions did not succeed",
            ),
        ] {
            let found = short.shortcomings();
            assert!(found.len() == 1 && found[0].contains(why), "{found:?}");
        }
        assert!(Report { offered_per_s: 0, ..report(1, 1, &[]) }.shortcomings().is_empty(), "a closed loop");
    }

    #[test]
    fn percentiles_are_milliseconds_of_a_microsecond_histogram() {
        let mut histogram = Histogram::new(3).expect("three digits");
        (1..=1_000).for_each(|ms| histogram.record(ms * 1_000).expect("in range"));
        let percentiles = Percentiles::of(&histogram);
        assert!(
            (percentiles.p50 - 500.0).abs() < 1.0 && (percentiles.p99 - 990.0).abs() < 1.5,
            "{percentiles:?}"
        );
    }
}
