//! A batch on its way: what was sent under one id, and which of its executions are settled.
//!
//! Invariants: the message never changes once it has an id, so that a resend is recognised by the node; every
//! entry is settled exactly once, however often acknowledgements repeat; a part is answered when all of the
//! batch is settled.

use std::sync::Arc;

use ids::{BATCH_EXECUTIONS_MAX, BatchId, DefinitionHash, Logging, Mode};
use proto::executor::v1::start_refusal::Reason;
use proto::executor::v1::{self, StartRefusal};

use super::admission::Permit;
use super::reply::{Range, Reply, Settled};
use super::{LaneKey, Submission};
use crate::error::Error;
use crate::templates::Template;

/// The code of a shard that has lost its partition while it wrote: the batch may be durable all the same.
const OWNER_CHANGED: &str = "OwnerChanged";

/// One submission's share of a batch.
#[derive(Debug)]
struct Part {
    first: u32,
    count: u32,
    reply: Reply,
    /// Held until the part is answered.
    _permit: Permit,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: BatchId,
    pub(super) message: v1::StartBatch,
    /// Bytes of input.
    pub(super) bytes: usize,
    /// Unix microseconds at which to send it (again).
    pub(super) due_us: u64,
    /// Unix microseconds after which its callers no longer wait.
    pub(super) deadline_us: u64,
    /// Times sent.
    pub(super) attempts: u32,
    /// Times sent without a node's word that it began nothing: any of these may have started it, whatever was heard since.
    pub(super) doubtful: u32,
    /// The definition that the node lacks; not sent again before it has it.
    pub(super) waits_for: Option<DefinitionHash>,
    /// Whether the node has said that it is not the owner.
    pub(super) waits_for_owner: bool,
    /// What the node said last, for callers whose patience ends.
    pub(super) last_refusal: Option<StartRefusal>,
    /// The lane in which it counts as a partial batch.
    pub(super) partial_of: Option<LaneKey>,
    templates: Vec<Arc<Template>>,
    parts: Vec<Part>,
    settled: [u64; BATCH_EXECUTIONS_MAX / 64],
    /// What is settled and not durable under this batch's id.
    exceptions: Vec<Range>,
}

fn machine(template: &Template) -> v1::Machine {
    let dialect = match template.dialect {
        asl::Dialect::Asl => v1::Dialect::Asl,
        asl::Dialect::Tcsl => v1::Dialect::Tcsl,
    };
    v1::Machine {
        arn: template.arn.clone(),
        definition_hash: template.hash.to_vec().into(),
        mode: wire_mode(template.mode).into(),
        dialect: dialect.into(),
        retention_seconds: template.retention_s,
        role_arn: template.role_arn.clone(),
        // A machine of which nothing is exported says nothing.
        logging: (template.logging != Logging::default()).then(|| template.logging.into()),
        origin: template.origin.clone(),
    }
}

fn wire_mode(mode: Mode) -> v1::Mode {
    mode.into()
}

impl Batch {
    /// Puts submissions together. Together they have at most [`BATCH_EXECUTIONS_MAX`] entries.
    pub(super) fn new(id: BatchId, submissions: Vec<Submission>, now_us: u64, seed: u64) -> Self {
        let mut batch = Self {
            id,
            message: v1::StartBatch {
                id: Some(id.into()),
                start_time_ms: now_us / 1_000,
                seed,
                ..v1::StartBatch::default()
            },
            bytes: 0,
            due_us: now_us,
            deadline_us: 0,
            attempts: 0,
            doubtful: 0,
            waits_for: None,
            waits_for_owner: false,
            last_refusal: None,
            partial_of: None,
            templates: Vec::with_capacity(1),
            parts: Vec::with_capacity(submissions.len()),
            settled: [0; BATCH_EXECUTIONS_MAX / 64],
            exceptions: Vec::new(),
        };
        let one_machine = submissions.windows(2).all(|pair| same(&pair[0].template, &pair[1].template));
        let named = submissions.iter().any(|submission| !submission.names.is_empty());
        let traced = submissions.iter().any(|submission| !submission.traces.is_empty());
        for submission in submissions {
            batch.add(submission, one_machine, named, traced);
        }
        batch
    }

    fn add(&mut self, submission: Submission, one_machine: bool, named: bool, traced: bool) {
        let Submission { template, inputs, names, traces, bytes, reply, permit, deadline_us, .. } =
            submission;
        let count = u32::try_from(inputs.len()).unwrap_or(u32::MAX);
        let first = u32::try_from(self.message.input.len()).unwrap_or(u32::MAX);
        let index = self.templates.iter().position(|known| same(known, &template)).unwrap_or_else(|| {
            self.message.machines.push(machine(&template));
            self.templates.push(template);
            self.templates.len() - 1
        });
        if !one_machine {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            self.message.machine_index.extend(std::iter::repeat_n(index, inputs.len()));
        }
        if named {
            let unnamed = inputs.len() - names.len();
            self.message.name.extend(names);
            self.message.name.extend(std::iter::repeat_n(String::new(), unnamed));
        }
        if traced {
            let untraced = inputs.len() - traces.len();
            self.message.trace.extend(traces);
            self.message.trace.extend(std::iter::repeat_n(v1::TraceContext::default(), untraced));
        }
        if self.message.input.is_empty() {
            // The usual case: one submission is the batch, its column moves.
            self.message.input = inputs;
        } else {
            self.message.input.extend(inputs);
        }
        self.bytes += bytes;
        self.deadline_us = self.deadline_us.max(deadline_us);
        self.parts.push(Part { first, count, reply, _permit: permit });
    }

    /// Entries.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.message.input.len()).unwrap_or(u32::MAX)
    }

    /// The template whose definition has this hash.
    pub(super) fn template(&self, hash: &DefinitionHash) -> Option<&Arc<Template>> {
        self.templates.iter().find(|template| template.hash == *hash)
    }

    /// The first machine's template; every batch has one.
    pub(super) fn first_template(&self) -> Option<&Arc<Template>> {
        self.templates.first()
    }

    /// Settles entries `[from, to)` that are not settled yet.
    pub(super) fn settle(&mut self, from: u32, to: u32, how: &Settled) {
        let to = to.min(self.len());
        let mut run: Option<u32> = None;
        for index in from..to {
            let (word, bit) = (index as usize / 64, 1u64 << (index % 64));
            let news = self.settled[word] & bit == 0;
            self.settled[word] |= bit;
            match (news, run) {
                (true, None) => run = Some(index),
                (false, Some(start)) => {
                    self.note(start, index, how);
                    run = None;
                }
                _ => {}
            }
        }
        if let Some(start) = run {
            self.note(start, to, how);
        }
    }

    fn note(&mut self, from: u32, to: u32, how: &Settled) {
        if *how != Settled::Durable {
            self.exceptions.push(Range { from, to, settled: how.clone() });
        }
    }

    /// Whether every entry is settled.
    pub(super) fn is_settled(&self) -> bool {
        self.settled.iter().map(|word| word.count_ones()).sum::<u32>() >= self.len()
    }

    /// Answers the callers of a settled batch.
    pub(super) fn answer(mut self) {
        self.exceptions.sort_by_key(|range| range.from);
        let placed = Some((self.id, self.message.start_time_ms));
        for Part { first, count, reply, _permit } in self.parts {
            reply.settle(placed, first, share(&self.exceptions, first, first + count));
        }
    }

    /// It is on its way (again).
    pub(super) fn sent(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
        self.doubtful = self.doubtful.saturating_add(1);
    }

    /// A node has refused entries `[from, to)`, for now.
    pub(super) fn refused(&mut self, from: u32, to: u32, refusal: &StartRefusal) {
        let began_nothing = match refusal.reason() {
            Reason::Overloaded | Reason::DefinitionMissing | Reason::Draining | Reason::StoreUnavailable => {
                true
            }
            Reason::NotOwner => refusal.code != OWNER_CHANGED,
            _ => false,
        };
        if began_nothing && from == 0 && to >= self.len() {
            self.doubtful = self.doubtful.saturating_sub(1);
        }
    }

    /// What callers are told who wait no longer.
    pub(super) fn unsettled(&self, why: &str) -> StartRefusal {
        let heard = self.last_refusal.as_ref().map(|last| format!("{why}; last heard: {}", last.message));
        let told = heard.as_deref().unwrap_or(why);
        let error = match self.doubtful {
            0 => Error::unavailable(format!("no node has taken it: {told}")),
            _ => Error::start_unknown(told),
        };
        error.refusal()
    }

    /// Answers callers who wait no longer.
    pub(super) fn give_up(self, why: &str) {
        let refusal = self.unsettled(why);
        self.refuse(&refusal);
    }

    /// Refuses what is not settled, and answers.
    pub(super) fn refuse(mut self, refusal: &StartRefusal) {
        self.settle(0, self.len(), &Settled::Refused(refusal.clone()));
        self.answer();
    }
}

fn same(a: &Arc<Template>, b: &Arc<Template>) -> bool {
    Arc::ptr_eq(a, b) || a.runs_as(b)
}

/// The ranges of one part, counted from its first entry: exceptions, and between them durable ones.
fn share(exceptions: &[Range], first: u32, end: u32) -> Vec<Range> {
    let mut ranges = Vec::with_capacity(1);
    let mut at = first;
    let durable =
        |from: u32, to: u32| Range { from: from - first, to: to - first, settled: Settled::Durable };
    for except in exceptions.iter().filter(|range| range.to > first && range.from < end) {
        let (from, to) = (except.from.max(first), except.to.min(end));
        if from > at {
            ranges.push(durable(at, from));
        }
        ranges.push(Range { from: from - first, to: to - first, settled: except.settled.clone() });
        at = to;
    }
    if at < end {
        ranges.push(durable(at, end));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(from: u32, to: u32) -> Range {
        Range { from, to, settled: Settled::Refused(StartRefusal::default()) }
    }

    fn plain(ranges: &[Range]) -> Vec<(u32, u32, bool)> {
        ranges.iter().map(|range| (range.from, range.to, range.settled == Settled::Durable)).collect()
    }

    #[test]
    fn a_part_sees_only_its_own_refusals_counted_from_its_first_entry() {
        let refusals = [refused(2, 4), refused(9, 11)];
        assert_eq!(plain(&share(&refusals, 0, 3)), [(0, 2, true), (2, 3, false)]);
        assert_eq!(plain(&share(&refusals, 3, 10)), [(0, 1, false), (1, 6, true), (6, 7, false)]);
        assert_eq!(plain(&share(&refusals, 11, 12)), [(0, 1, true)]);
    }
}
