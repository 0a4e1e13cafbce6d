//! Schedulers: the product's own [`Assigner`], which dies, stands still, and is followed by others while it lives.
//!
//! What it decides it decides from the reports that have reached it; a scheduler that begins knows nothing and rebuilds
//! what it knows from them. Dispatchers go by what the newest one thinks. Invariants: nothing durable is kept here; several
//! schedulers may be there at once, and nodes follow the one that registered last. Nothing here fails.

use std::collections::BTreeMap;

use assign::{Assigner, Assignment, Effect, NodeKey, Report, Rules};

use crate::mutation::Mutation;
use crate::world::{Event, World};

/// How often a scheduler looks at the clock; it promises to do so four times in its shortest pause.
const TICK_US: u64 = 250_000;
/// How long a scheduler waits for its incarnation, at most.
const REGISTER_US: u64 = 2_000_000;
/// How long it takes until a dead scheduler is followed by another, at most.
const AWAY_US: u64 = 20_000_000;

/// How long it takes until somebody sees to a scheduler that says it was replaced.
const OPERATOR_US: u64 = 30_000_000;

/// A scheduler.
#[derive(Debug)]
pub struct Scheduler {
    assigner: Assigner,
    last_session: u64,
    /// The stream of each node that counts, and the process that made it.
    streams: BTreeMap<NodeKey, (u64, u32)>,
    paused_until_us: u64,
}

impl Scheduler {
    /// The number of a stream that a node opens.
    pub fn open(&mut self) -> u64 {
        self.last_session += 1;
        self.last_session
    }
}

impl World {
    /// A scheduler begins: it knows nobody.
    pub(crate) fn begin_scheduler(&mut self) {
        let id = self.next_number();
        let waits = self.rng.permille(500);
        let expected_nodes = if waits { self.options.nodes as usize } else { 0 };
        let assigner = Assigner::new(Rules { expected_nodes, ..Rules::default() });
        let scheduler = Scheduler { assigner, last_session: 0, streams: BTreeMap::new(), paused_until_us: 0 };
        self.schedulers.insert(id, scheduler);
        self.trace.note(self.now_us, "scheduler", [id, 0]);
        let in_us = 1 + self.rng.below(REGISTER_US);
        self.after(in_us, Event::SchedulerRegisters(id));
        self.after(TICK_US, Event::SchedulerTicks(id));
    }

    /// A scheduler gets its incarnation from the store.
    pub(crate) fn scheduler_registers(&mut self, id: u64) {
        self.incarnations += 1;
        if let Some(scheduler) = self.schedulers.get_mut(&id) {
            scheduler.assigner.registered(self.incarnations);
        }
    }

    /// A scheduler dies, stands still, or is taken for dead and followed while it goes on.
    pub(crate) fn scheduler_fails(&mut self) {
        let (kind, long_us) = (self.rng.below(3), self.rng.between(100_000, AWAY_US));
        let Some(id) = self.schedulers.keys().next_back().copied().filter(|_| !self.healed) else { return };
        self.trace.note(self.now_us, "scheduler fails", [id, kind]);
        match kind {
            0 => {
                self.schedulers.remove(&id);
                self.after(long_us, Event::SchedulerBegins);
            }
            1 => self.begin_scheduler(),
            _ => {
                if let Some(scheduler) = self.schedulers.get_mut(&id) {
                    scheduler.paused_until_us = self.now_us + long_us;
                }
            }
        }
    }

    /// All schedulers go on.
    pub(crate) fn heal_schedulers(&mut self) {
        self.schedulers.values_mut().for_each(|scheduler| scheduler.paused_until_us = 0);
    }

    pub(crate) fn scheduler_ticks(&mut self, id: u64) {
        let Some(scheduler) = self.schedulers.get(&id) else { return };
        let rest_us = scheduler.paused_until_us.saturating_sub(self.now_us);
        if rest_us == 0 {
            self.decide(id);
        }
        self.after(rest_us.max(TICK_US), Event::SchedulerTicks(id));
    }

    /// A report reaches a scheduler, which answers.
    pub(crate) fn scheduler_hears(&mut self, id: u64, process: u32, report: Report) {
        let Some(scheduler) = self.schedulers.get_mut(&id) else { return };
        let rest_us = scheduler.paused_until_us.saturating_sub(self.now_us);
        if rest_us > 0 {
            return self.after(rest_us, Event::Reported(id, process, Box::new(report)));
        }
        let (node, session) = (report.node.clone(), report.session);
        let counts = scheduler.streams.get(&node).is_none_or(|(known, _)| *known <= session);
        if counts {
            scheduler.streams.insert(node.clone(), (session, process));
        }
        scheduler.assigner.report(self.now_us, report);
        self.decide(id);
        let assignment = self.schedulers.get(&id).and_then(|scheduler| scheduler.assigner.assignment(&node));
        if let Some(assignment) = assignment.filter(|_| counts) {
            self.direct(process, &assignment);
        }
    }

    /// A scheduler hears that a stream has ended.
    pub(crate) fn stream_ends(&mut self, id: u64, node: &str, session: u64) {
        let Some(scheduler) = self.schedulers.get_mut(&id) else { return };
        if scheduler.streams.get(node).is_some_and(|(known, _)| *known == session) {
            scheduler.streams.remove(node);
            scheduler.assigner.broken(self.now_us, node, session);
        }
    }

    fn decide(&mut self, id: u64) {
        let Some(scheduler) = self.schedulers.get_mut(&id) else { return };
        let (mut told, mut replaced) = (Vec::new(), false);
        for effect in scheduler.assigner.tick(self.now_us) {
            match effect {
                Effect::Tell { node, assignment } => {
                    let stream = scheduler.streams.get(&node);
                    told.extend(stream.map(|(_, process)| (*process, assignment)));
                }
                Effect::Dead { node, cause } => {
                    self.trace.say(self.now_us, "  given up", || format!("{node}: {cause:?}"));
                }
                Effect::CutOff { shard } => {
                    self.trace.say(self.now_us, "  cut off", || shard.node.to_string());
                }
                Effect::Replaced { by } => {
                    self.trace.note(self.now_us, "replaced", [id, u64::from(by)]);
                    replaced = true;
                }
            }
        }
        for (process, assignment) in told {
            self.direct(process, &assignment);
        }
        if replaced {
            self.after(OPERATOR_US, Event::SchedulerStopped(id));
        }
        self.learn_owners(id);
    }

    /// Somebody does what a scheduler asks for that was replaced: it is stopped, and begun anew if nodes talk to it.
    pub(crate) fn stop_scheduler(&mut self, id: u64) {
        let is_newest = self.schedulers.keys().next_back() == Some(&id);
        if self.schedulers.remove(&id).is_some() && is_newest {
            self.begin_scheduler();
        }
    }

    /// Dispatchers live with the newest scheduler.
    fn learn_owners(&mut self, id: u64) {
        let Some(scheduler) = self.schedulers.get(&id) else { return };
        if self.schedulers.keys().next_back() != Some(&id) {
            return;
        }
        for (number, group) in (0..).zip(&mut self.groups) {
            let shard = scheduler.assigner.named(number);
            if let Some((_, process)) = shard.and_then(|shard| scheduler.streams.get(&shard.node)) {
                group.owner = *process;
            }
        }
    }

    /// Tells a node what it shall have, unless that is lost.
    fn direct(&mut self, process: u32, assignment: &Assignment) {
        let (mut to, mut assignment) = (process, assignment.clone());
        if !self.healed && self.mutations.has(Mutation::EveryNodeIsNamed) {
            assignment.shards.insert(0, (0..self.partition_count()).collect());
        }
        let astray = !self.healed && self.mutations.has(Mutation::DirectivesGoAstray);
        if astray && !self.processes.is_empty() && self.rng.permille(300) {
            let all: Vec<u32> = self.processes.keys().copied().collect();
            to = *self.rng.pick(&all);
        }
        self.post(|| Event::Directed(to, Box::new(assignment.clone())));
    }
}
