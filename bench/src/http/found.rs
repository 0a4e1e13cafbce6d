//! What a run through the front door found: a table for people, JSON for comparing commits.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::machine::Machine;
use crate::report::{Percentiles, counts, thousands};

/// See the module.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// `standard`, `express` or `sync`.
    pub mode: &'static str,
    /// Kept HTTP/1.1 connections, each with one call on its way.
    pub connections: usize,
    /// Whether each call was signed (SigV4) and verified.
    pub signed: bool,
    /// Bytes of each input.
    pub payload_bytes: usize,
    /// Seconds until the last answer.
    pub duration_s: f64,
    /// Calls that were answered with an execution.
    pub acknowledged: u64,
    /// The same, a second.
    pub acknowledged_per_s: u64,
    /// Calls that were not, by reason.
    pub errors: BTreeMap<String, u64>,
    /// From before a call is sent to its whole answer; of `sync` that is to the end of the execution.
    pub latency_ms: Percentiles,
    /// Executions of the run that were looked up afterwards: all had succeeded.
    pub checked: usize,
    /// CPU time per acknowledged execution of each process that the bench has started, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us_per_execution: Option<BTreeMap<String, f64>>,
    /// CPU used of all that the machine has, all these processes together, as a ratio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_cpu_ratio: Option<f64>,
    /// The store that the bench has started, and its durability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// The surroundings.
    pub machine: Machine,
}

impl Found {
    /// What processes used while calls were made.
    pub(super) fn used(
        &mut self,
        before: &BTreeMap<String, u64>,
        after: BTreeMap<String, u64>,
        took: Duration,
    ) {
        let used = |(name, after): (String, u64)| {
            let used = after.saturating_sub(before.get(&name).copied().unwrap_or(0));
            (name, used as f64)
        };
        let used: BTreeMap<String, f64> = after.into_iter().map(used).collect();
        let machine = took.as_micros() as f64 * self.machine.cpus as f64;
        self.machine_cpu_ratio = Some(used.values().sum::<f64>() / machine);
        let executions = self.acknowledged.max(1) as f64;
        self.cpu_us_per_execution =
            Some(used.into_iter().map(|(name, us)| (name, us / executions)).collect());
    }

    /// Why the run is no success.
    #[must_use]
    pub fn shortcomings(&self) -> Vec<String> {
        let mut found = Vec::new();
        let failed: u64 = self.errors.values().sum();
        if failed > 0 {
            found.push(format!("{failed} calls failed: {}", counts(&self.errors)));
        }
        if self.acknowledged == 0 {
            found.push("nothing was acknowledged".to_owned());
        }
        found
    }

    /// For a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let signed = if self.signed { "signed" } else { "not signed" };
        let mut rows = vec![
            ("mode", format!("{}, {} connections, {signed}", self.mode, self.connections)),
            ("acknowledged", format!("{} in {:.1} s", thousands(self.acknowledged), self.duration_s)),
            ("rate", format!("{}/s", thousands(self.acknowledged_per_s))),
            ("errors", counts(&self.errors)),
            ("latency", self.latency_ms.text()),
            ("looked up", format!("{}, all succeeded", self.checked)),
        ];
        if let Some(store) = &self.store {
            rows.insert(1, ("store", store.clone()));
        }
        if let (Some(cpu), Some(ratio)) = (&self.cpu_us_per_execution, self.machine_cpu_ratio) {
            let cpu: Vec<String> = cpu.iter().map(|(name, us)| format!("{name} {us:.1}")).collect();
            let percent = ratio * 100.0;
            rows.push(("CPU", format!("{} µs per execution; {percent:.0} % of the machine", cpu.join(", "))));
        }
        let Machine { load_average: [one, five, fifteen], cpus, commit, .. } = &self.machine;
        rows.push(("load average", format!("{one} {five} {fifteen} on {cpus} CPUs, commit {commit}")));
        rows.iter().map(|(name, value)| format!("{name:>14}  {value}\n")).collect()
    }
}
