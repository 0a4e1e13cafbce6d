//! What it costs to be looked at: one load with everything on against the same load with everything off, in turns.
//!
//! Off: the node logs nothing, exports nothing, and nobody scrapes it. On: it logs JSON, a scraper and pushes by OTLP every five
//! seconds look at its metrics, histories go to files and by OTLP to a collector (errors of all executions, and everything of
//! one start in a hundred, with its data), and spans of one start in a thousand by OTLP. In both one start in a hundred fails, since errors cost where there are some.
//! Each period has a cluster of its own, whose store is read back. A run is void unless every event that was to be told was
//! exported and none was dropped. What may fail: a period, with what it fails with.

use serde::Serialize;

use crate::error::Error;
use crate::load::{Observed, Told};
use crate::machine::{Disk, Machine};
use crate::profile::Profile;
use crate::report::{Report, thousands};
use crate::suite::{self, StoreKind};

/// What being looked at may cost.
pub const COST_MAX: f64 = 0.05;

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// `observed`.
    pub profile: &'static str,
    /// On against off, of the means over all periods: CPU time of the node for an execution.
    pub node_cpu_ratio: f64,
    /// The same of all processes but the collector, which stands elsewhere: generator and scraper, node, store.
    pub cpu_ratio: f64,
    /// Executions that ended a second.
    pub rate_ratio: f64,
    /// Median and 99th percentile of acknowledgements, on against off; a closed loop's say nothing.
    pub ack_ratio: [f64; 2],
    /// Periods without anything, in their order.
    pub off: Vec<Report>,
    /// Periods with everything, each after the one in the same place of `off`.
    pub on: Vec<Report>,
    /// The surroundings.
    pub machine: Machine,
}

/// Runs `rounds` pairs of periods.
///
/// # Errors
/// Processes that do not start, and periods that are void.
pub async fn run(
    rounds: u32,
    settings: &suite::Settings,
    mut report: impl FnMut(Observed, &Report),
) -> Result<Comparison, Error> {
    let machine = Machine::look();
    let measured = || Disk::measure(&settings.dir);
    let disk = (settings.store != StoreKind::Memory).then(measured).transpose()?;
    let (mut off, mut on) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (observed, reports) in [(Observed::Nothing, &mut off), (Observed::Everything, &mut on)] {
            let settings = suite::Settings { observed: Some(observed), ..settings.clone() };
            let found = suite::run_profile(&settings, Profile::Pass, disk.clone()).await?;
            report(observed, &found);
            reports.push(found);
        }
    }
    Ok(compare(off, on, machine))
}

fn compare(off: Vec<Report>, on: Vec<Report>, machine: Machine) -> Comparison {
    let ratio = |of: &dyn Fn(&Report) -> f64| mean(&on, of) / mean(&off, of).max(f64::MIN_POSITIVE);
    Comparison {
        profile: "observed",
        node_cpu_ratio: ratio(&|report| cpu_us(report, |name| name == "node")),
        cpu_ratio: ratio(&|report| cpu_us(report, |name| name != "collector")),
        rate_ratio: ratio(&|report| report.completed_per_s as f64),
        ack_ratio: [ratio(&|report| report.ack_ms.p50), ratio(&|report| report.ack_ms.p99)],
        off,
        on,
        machine,
    }
}

fn mean(reports: &[Report], of: &dyn Fn(&Report) -> f64) -> f64 {
    reports.iter().map(of).sum::<f64>() / reports.len().max(1) as f64
}

fn cpu_us(report: &Report, counts: impl Fn(&str) -> bool) -> f64 {
    report.cpu_us_per_execution.iter().filter(|(name, _)| counts(name)).map(|(_, us)| us).sum()
}

impl Comparison {
    /// For a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let Self { node_cpu_ratio, cpu_ratio, rate_ratio, ack_ratio: [p50, p99], off, on, .. } = self;
        let each = |reports: &[Report]| -> String {
            let node = |report| cpu_us(report, |name| name == "node");
            let texts: Vec<String> = reports
                .iter()
                .map(|report| format!("{:.3} µs at {}/s", node(report), thousands(report.completed_per_s)))
                .collect();
            texts.join(", ")
        };
        format!(
            "      node off  {}\n       node on  {}\n    on to off  node's CPU {node_cpu_ratio:.4}, all CPU {cpu_ratio:.4}, rate {rate_ratio:.4}, \
             ack p50 {p50:.3}, p99 {p99:.3}\n",
            each(off),
            each(on)
        )
    }

    /// Why the figures are no good.
    #[must_use]
    pub fn shortcomings(&self) -> Vec<String> {
        self.off.iter().chain(&self.on).flat_map(shortcomings).collect()
    }

    /// What the load loses by being looked at, where that is more than it may: of its rate, or at a fixed rate of its median
    /// acknowledgement. What it takes of the CPU is told beside it and not judged.
    #[must_use]
    pub fn excess(&self) -> Vec<String> {
        let open = self.on.iter().all(|report| report.offered_per_s > 0);
        excess(self.rate_ratio, open.then_some(self.ack_ratio[0]))
    }
}

fn excess(rate_ratio: f64, p50_ratio: Option<f64>) -> Vec<String> {
    let rate = (1.0 - rate_ratio, "of the rate");
    let later = p50_ratio.map(|ratio| (ratio - 1.0, "more time until the median acknowledgement"));
    let costs = [rate].into_iter().chain(later).filter(|(cost, _)| *cost > COST_MAX);
    costs.map(|(cost, what)| format!("being looked at costs {:.1} % {what}", cost * 100.0)).collect()
}

/// Those of any run; but that one in a hundred fails is meant.
fn shortcomings(report: &Report) -> Vec<String> {
    let mut completed = report.completed.clone();
    let failed = completed.remove("FAILED").unwrap_or(0);
    let mut found = Report { completed, ..report.clone() }.shortcomings();
    let meant = Told::of(report.acknowledged).failed;
    if failed != meant {
        found.push(format!("{failed} executions failed, {meant} were meant to"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_beyond_a_twentieth_is_told_of_rate_and_median() {
        assert_eq!(excess(0.96, Some(1.04)), Vec::<String>::new());
        assert_eq!(excess(0.9, None), ["being looked at costs 10.0 % of the rate"]);
        let later = "being looked at costs 6.0 % more time until the median acknowledgement";
        assert_eq!(excess(1.0, Some(1.06)), [later]);
    }
}
