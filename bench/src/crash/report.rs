//! What a kill test found.

use std::collections::BTreeMap;

use serde::Serialize;

use super::drive::Struck;
use super::made::Made;
use super::peaks::Taken;
use super::plan::Blow;
use crate::machine::Machine;
use crate::report::{Percentiles, thousands};
use hdrhistogram::Histogram;

/// Everything that a kill test found.
#[derive(Debug, Clone, Serialize)]
pub struct CrashReport {
    /// Always `crash`.
    pub profile: &'static str,
    /// Of load and strikes.
    pub seed: u64,
    /// Where executions were kept.
    pub store: String,
    /// `debug` or `release`.
    pub build: &'static str,
    /// Nodes, shards of each, partitions of the cluster.
    pub nodes: u16,
    #[allow(missing_docs, reason = "the names say it")]
    pub shards: u16,
    #[allow(missing_docs, reason = "the names say it")]
    pub partitions: u16,
    /// Seconds that closed executions were kept.
    pub retention_s: u64,
    /// Seconds of the whole run.
    pub duration_s: f64,
    /// Seconds of the run times nodes, in hours.
    pub node_hours: f64,
    /// What was struck.
    #[serde(flatten)]
    pub made: Made,
    /// Replies that were lost on their way.
    pub lost_replies: u64,
    /// Starts a second that were offered.
    pub offered_per_s: u64,
    /// Acknowledged starts a second, over the whole run.
    pub acknowledged_per_s: u64,
    /// Starts sent.
    pub sent: u64,
    /// Starts due while nobody took them.
    pub unsent: u64,
    /// Starts with an unknown outcome: their stream broke, or the scheduler says that nobody answered it.
    pub unknown: u64,
    /// Starts refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Acknowledged executions, all on the ledger.
    pub acknowledged: u64,
    /// Of those: described at their right end before they expired.
    pub described: u64,
    /// Executions of the sample, each of which must be described.
    pub sampled: u64,
    /// Of those: described at their right end.
    pub sample_described: u64,
    /// Of those: described once more, with most of the retention gone or after everything was started anew.
    pub described_again: u64,
    /// Of those: not asked about again in time.
    pub missed_again: u64,
    /// Terminal records that ended less than the retention ago and were in the logs after everything was started anew.
    pub kept: u64,
    /// Looks at the nodes' counts of lost blocks.
    pub scrapes: u64,
    /// Acknowledged executions that were found closed once and rightly in the log, and not described.
    pub by_log_alone: u64,
    /// Acknowledged executions that expired before anybody looked.
    pub expired: u64,
    /// Executions that ended rightly, and whose start nobody was told of.
    pub unacknowledged: u64,
    /// Executions with a terminal record in the logs, unacknowledged ones too; a second one is a fault.
    pub closed_once: u64,
    /// Redrives that were acknowledged.
    pub redrives: u64,
    /// Executions with a second terminal record, after their redrive.
    pub closed_again: u64,
    /// Synchronous executions that were answered; they count as acknowledged.
    pub syncs_answered: u64,
    /// Calls of synchronous executions that broke.
    pub syncs_unknown: u64,
    /// Synchronous executions that were closed unfinished after their node had ended.
    pub syncs_ended: u64,
    /// Executions that were closed because kills met them three times: allowed, and few.
    pub condemned: u64,
    /// Histories read and found whole.
    pub histories: u64,
    /// Names started again and answered with the same execution.
    pub names_again: u64,
    /// Batches sent again after their acknowledgement, and acknowledged again.
    pub batches_again: u64,
    /// Batches that were told to be too old when they were sent again: on a machine that is far behind.
    pub batches_expired: u64,
    /// The latest that a look came after it was due.
    pub look_lag_ms: u64,
    /// The latest that a terminal record was read from a log after its execution had ended.
    pub log_lag_ms: u64,
    /// The latest that an execution ended after it could have, had nothing been hit.
    pub end_lag_ms: u64,
    /// Tasks that the worker saw.
    pub tasks: u64,
    /// Tasks seen again that may be.
    pub tasks_again: u64,
    /// Tasks of a stopped or dead node that came late.
    pub tasks_late: u64,
    /// Outcomes that were given back because a partition had moved, and sent again.
    pub outcomes_returned: u64,
    /// STANDARD tasks seen again after their outcome was journalled, and synchronous ones seen again.
    pub tasks_repeated: u64,
    /// Outcomes that were found in the journal.
    pub tasks_journalled: u64,
    /// Everything that must not be.
    pub faults: u64,
    /// The first of them.
    pub faults_told: Vec<String>,
    /// The longest time without acknowledgements for each strike, by kind and target.
    pub recovery_ms: BTreeMap<String, Percentiles>,
    /// The most memory and disk that were taken.
    pub taken_max: Taken,
    /// The same of each quarter of the run: what grows without a bound shows here.
    pub taken_by_quarter: Vec<Taken>,
    /// The probability of a loss per kill is below this at 95 %, if there was none; absent otherwise.
    pub loss_per_kill_below: Option<f64>,
    /// The same of strikes of any kind.
    pub loss_per_strike_below: Option<f64>,
    /// The surroundings.
    pub machine: Machine,
}

/// The most that a store may take on the disk, however long a run lasts.
const STORE_BYTES_MAX: u64 = 2_000_000_000;

/// Nothing in `kills` independent kills: the probability is below 3/kills at 95 % (rule of three).
#[must_use]
pub fn rule_of_three(kills: u64, faults: u64) -> Option<f64> {
    (faults == 0 && kills >= 3).then(|| 3.0 / kills as f64)
}

/// Times without acknowledgements, by kind and target.
#[must_use]
pub fn recovery(struck: &[Struck]) -> BTreeMap<String, Percentiles> {
    let mut histograms: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
    for Struck { strike, gap, .. } in struck {
        let us = u64::try_from(gap.as_micros()).unwrap_or(u64::MAX).max(1);
        let kind = match strike.targets.as_slice() {
            [one] => one.class(),
            _ => "several",
        };
        for kind in [format!("{} {kind}", strike.blow.name()), "all".to_owned()] {
            if let Ok(empty) = Histogram::new_with_max(3_600_000_000, 3) {
                histograms.entry(kind).or_insert(empty).saturating_record(us);
            }
        }
    }
    histograms.iter().map(|(kind, histogram)| (kind.clone(), Percentiles::of(histogram))).collect()
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn counted(counts: &BTreeMap<String, u64>) -> String {
    let texts: Vec<String> =
        counts.iter().map(|(name, count)| format!("{name} {}", thousands(*count))).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

impl CrashReport {
    /// Why the run is no success.
    #[must_use]
    pub fn shortcomings(&self, strikes: u64) -> Vec<String> {
        let mut found = Vec::new();
        if self.faults > 0 {
            found.push(format!("{} faults, with seed {}", self.faults, self.seed));
        }
        let store_bytes = self.taken_max.store_bytes;
        if store_bytes >= STORE_BYTES_MAX {
            found.push(format!(
                "the store took {:.1} GB on the disk, which must stay below {:.0}: lower --rate or --retention",
                store_bytes as f64 / 1e9,
                STORE_BYTES_MAX as f64 / 1e9
            ));
        }
        if self.expired > 0 {
            let expired = self.expired;
            found.push(format!(
                "{expired} acknowledged executions expired before they were looked at: lower --rate"
            ));
        }
        let undescribed = self.sampled - self.sample_described;
        if undescribed > 0 {
            let sampled = self.sampled;
            found.push(format!(
                "{undescribed} executions of the sample of {sampled} were not described: lower --rate"
            ));
        }
        if self.acknowledged > 0 && self.sampled == 0 {
            found.push("nothing was described: let it run longer".to_owned());
        }
        if self.made.strikes < strikes {
            found.push(format!("only {} of {strikes} strikes were made", self.made.strikes));
        }
        if strikes > 0 {
            found.extend(self.unproven());
        }
        if self.acknowledged == 0 {
            found.push("nothing was acknowledged: nothing was shown".to_owned());
        }
        found
    }

    /// What a whole run has to show and this one has not.
    fn unproven(&self) -> Vec<String> {
        let kills = self.made.not_made.iter().filter(|kind| kind.starts_with(Blow::Kill.name()));
        let mut found: Vec<String> =
            kills.map(|kind| format!("no {kind} was made: give more --kills")).collect();
        found.extend(
            self.made
                .toothless
                .iter()
                .map(|kind| format!("no {kind} had any effect: nothing was shown of it")),
        );
        if self.syncs_answered == 0 {
            found.push("no synchronous execution was answered".to_owned());
        }
        if self.faults == 0 && self.scrapes == 0 {
            found.push("no node was asked how many blocks it has lost".to_owned());
        }
        let again = self.described_again + self.missed_again;
        if self.missed_again * 100 > again || again == 0 && self.sample_described > 0 {
            found.push(format!(
                "{} of the sample were not described again before they could expire: lower --rate",
                self.missed_again
            ));
        }
        if self.faults == 0 && self.kept == 0 && self.store != "file" {
            found.push("no log was read once more in time: lower --rate, or raise --retention".to_owned());
        }
        found
    }

    /// For a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let n = thousands;
        let mut rows = vec![
            ("seed", format!("{}, {} build, commit {}", self.seed, self.build, self.machine.commit)),
            (
                "cluster",
                format!(
                    "{} nodes of {} shards, {} partitions on {}; retention {} s; {:.2} node-hours",
                    self.nodes, self.shards, self.partitions, self.store, self.retention_s, self.node_hours
                ),
            ),
            (
                "strikes",
                format!(
                    "{} in {:.0} s: {}",
                    self.made.strikes,
                    self.duration_s,
                    counted(&self.made.strikes_by_kind)
                ),
            ),
            ("not made", listed(&self.made.not_made)),
            ("no effect", counted(&self.made.without_effect)),
            (
                "offered",
                format!(
                    "{}/s, {} sent, {} while nobody took them",
                    n(self.offered_per_s),
                    n(self.sent),
                    n(self.unsent)
                ),
            ),
            (
                "acknowledged",
                format!(
                    "{}, {}/s over all; on the ledger, synced",
                    n(self.acknowledged),
                    n(self.acknowledged_per_s)
                ),
            ),
            ("unknown", format!("{} starts; refused: {}", n(self.unknown), counted(&self.refused))),
            ("checked", self.checked()),
            ("lag", self.lag()),
            ("sent again", self.sent_again()),
            ("synchronous", self.synchronous()),
            ("tasks", self.told_tasks()),
        ];
        rows.extend(self.taken());
        rows.extend(self.recovery_ms.iter().map(|(kind, p)| {
            let (p50, p90, max, count) = (p.p50 / 1e3, p.p90 / 1e3, p.max / 1e3, p.count);
            ("without acks", format!("{kind}: p50 {p50:.2}  p90 {p90:.2}  max {max:.2} s ({count})"))
        }));
        rows.push(("faults", n(self.faults)));
        rows.push(("bound", self.bound()));
        rows.iter().map(|(name, value)| format!("{name:>14}  {value}\n")).collect()
    }

    fn checked(&self) -> String {
        let n = thousands;
        format!(
            "{} described at their right end ({:.1} %), among them {} of the sample of {}, {} of these once more; {} by the log alone, \
             {} expired unseen; {} closed once in the logs, {} of them without an acknowledgement, {} read once more from the disk; \
             {} histories whole; {} blamed for kills that met them three times",
            n(self.described),
            self.described as f64 * 100.0 / (self.acknowledged as f64).max(1.0),
            n(self.sample_described),
            n(self.sampled),
            n(self.described_again),
            n(self.by_log_alone),
            n(self.expired),
            n(self.closed_once),
            n(self.unacknowledged),
            n(self.kept),
            n(self.histories),
            n(self.condemned)
        )
    }

    fn lag(&self) -> String {
        format!(
            "executions ended {:.1} s late at most, looks came {:.1} s late at most, ends were read in the logs {:.1} s late at most",
            self.end_lag_ms as f64 / 1e3,
            self.look_lag_ms as f64 / 1e3,
            self.log_lag_ms as f64 / 1e3
        )
    }

    fn sent_again(&self) -> String {
        let n = thousands;
        format!(
            "{} names and {} batches, without a second effect, {} batches too late; {} redrives acknowledged, {} second ends; {} replies lost on \
             their way",
            n(self.names_again),
            n(self.batches_again),
            n(self.batches_expired),
            n(self.redrives),
            n(self.closed_again),
            n(self.lost_replies)
        )
    }

    fn synchronous(&self) -> String {
        let n = thousands;
        format!(
            "{} answered, {} calls broke, {} closed unfinished after their node had ended; none run twice",
            n(self.syncs_answered),
            n(self.syncs_unknown),
            n(self.syncs_ended)
        )
    }

    fn told_tasks(&self) -> String {
        let n = thousands;
        format!(
            "{} handed out, {} again as may be, {} late from a node that was hit; {} outcomes given back and sent again; {} \
             repeated after their outcome was journalled, or of synchronous executions; {} outcomes were found in the journal",
            n(self.tasks),
            n(self.tasks_again),
            n(self.tasks_late),
            n(self.outcomes_returned),
            n(self.tasks_repeated),
            n(self.tasks_journalled)
        )
    }

    fn taken(&self) -> impl Iterator<Item = (&'static str, String)> {
        let told = |taken: &Taken| {
            format!(
                "node {:.0} MB, scheduler {:.0} MB, redis {:.0} MB; store {:.1} MB on the disk",
                taken.node_bytes as f64 / 1e6,
                taken.scheduler_bytes as f64 / 1e6,
                taken.redis_bytes as f64 / 1e6,
                taken.store_bytes as f64 / 1e6
            )
        };
        let quarters = self.taken_by_quarter.iter().zip(1..);
        let quarters =
            quarters.map(move |(taken, number)| ("", format!("quarter {number}: {}", told(taken))));
        [("at most", told(&self.taken_max))].into_iter().chain(quarters)
    }

    fn bound(&self) -> String {
        let of = |bound: Option<f64>, count: u64, what: &str| {
            let percent = bound? * 100.0;
            Some(format!(
                "no loss in {count} {what} that were drawn: below {percent:.2} % each at 95 % (rule of three: 3/{count})"
            ))
        };
        let kills = of(self.loss_per_kill_below, self.made.drawn_kills, "kills and stops");
        let strikes = of(self.loss_per_strike_below, self.made.drawn, "strikes of all kinds");
        let both: Vec<String> = kills.into_iter().chain(strikes).collect();
        if both.is_empty() {
            "none: there were faults, or too few strikes were drawn".to_owned()
        } else {
            both.join("; ")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::made::by_kind;
    use super::super::plan::{Field, Plan};
    use super::*;

    #[test]
    fn the_rule_of_three_needs_kills_and_no_fault() {
        assert_eq!(rule_of_three(300, 0), Some(0.01));
        assert_eq!(rule_of_three(300, 1), None);
        assert_eq!(rule_of_three(2, 0), None);
    }

    #[test]
    fn every_strike_counts_in_its_kind_and_in_all() {
        let field = Field { nodes: 2, masters: 1, lease: Duration::from_secs(2), blows: Vec::new() };
        let struck: Vec<Struck> = Plan::new(1, field)
            .take(200)
            .map(|strike| Struck { strike, gap: Duration::from_millis(700), effect: None })
            .collect();
        let recovery = recovery(&struck);
        assert_eq!(recovery["all"].count, 200);
        assert!((recovery["all"].p50 - 700.0).abs() < 1.0, "{recovery:?}");
        let targets: usize = struck.iter().map(|struck| struck.strike.targets.len()).sum();
        assert_eq!(by_kind(&struck).values().sum::<u64>(), targets as u64);
    }
}
