//! Who shall own which partitions: what a scheduler does, as hasty and as ill-informed as the seed wants it.
//!
//! Partitions come in groups. Without nodes, each group has processes of its own, one following the other; with nodes, every
//! process is told again and again which groups it shall have, as by a scheduler. Invariant: nobody but the store decides
//! whose blocks count; whatever is decided here may be wrong.

use ids::PartitionId;
use proto::executor::v1;

use crate::process::{Message, Process};
use crate::world::{Event, World};

/// How often the placement looks.
const PLACEMENT_US: u64 = 1_000_000;
/// Assignments that do not wait until the former owner has given its partitions back.
const HASTY: u64 = 50;

/// Partitions that have one owner.
#[derive(Debug)]
pub struct Group {
    /// Ascending.
    pub partitions: Vec<PartitionId>,
    /// The process that the placement takes for the owner.
    pub owner: u32,
    /// The node that shall have it, if there are nodes.
    node: usize,
}

/// A place for processes, one after the other.
#[derive(Debug)]
pub struct Seat {
    process: u32,
    /// Since when it has not been heard of.
    silent_since_us: Option<u64>,
}

impl World {
    /// The partitions in their groups, and the first processes.
    pub(crate) fn begin_groups(&mut self) {
        let each = self.options.partitions_per_group;
        let nodes = self.options.nodes as usize;
        for group in 0..self.options.groups {
            let numbers = group * each..(group + 1) * each;
            let partitions = numbers.filter_map(|number| PartitionId::new(number).ok()).collect();
            let node = group as usize % nodes.max(1);
            self.groups.push(Group { partitions, owner: 0, node });
        }
        let seats = if nodes == 0 { self.groups.len() } else { nodes };
        for seat in 0..seats {
            self.seats.push(Seat { process: 0, silent_since_us: None });
            self.follow(seat);
        }
    }

    /// Another process takes a seat.
    pub(crate) fn follow(&mut self, seat: usize) {
        let own = self.options.nodes == 0;
        let process = self.spawn(own.then_some(seat));
        self.seats[seat] = Seat { process, silent_since_us: None };
        if own {
            self.groups[seat].owner = process;
        }
    }

    /// A group is given to others, though its owner is well; or a node is asked to go.
    pub(crate) fn replace(&mut self, group: usize) {
        if self.healed {
            return;
        }
        let seat = self.rng.below(self.seats.len() as u64) as usize;
        self.trace.note(self.now_us, "replaces", [group as u64, seat as u64]);
        if self.rng.permille(500) {
            let process = self.seats[seat].process;
            self.post_to(process, &Message::Drain);
        } else if self.options.nodes == 0 {
            self.follow(group);
        } else {
            self.groups[group].node = seat;
        }
    }

    /// Looks who is there, and lets others follow.
    pub(crate) fn look_after_processes(&mut self) {
        for seat in 0..self.seats.len() {
            let Seat { process, silent_since_us } = self.seats[seat];
            let there = self.processes.get(&process);
            let failed = there.is_some_and(Process::has_failed) && self.options.nodes == 0;
            let silent = there.is_none_or(|process| process.paused_until_us.is_some());
            let since_us = silent_since_us.unwrap_or(self.now_us);
            self.seats[seat].silent_since_us = silent.then_some(since_us);
            if failed {
                self.crash(process);
                self.follow(seat);
            } else if silent && self.now_us - since_us >= self.options.suspicion_us {
                // Those of nodes go on with the next one that is there.
                self.move_away(seat);
                self.follow(seat);
            } else if !silent {
                self.post_to(process, &Message::Report);
            }
        }
        if self.options.nodes > 0 {
            self.assign();
        }
        self.after(PLACEMENT_US, Event::Placement);
    }

    fn move_away(&mut self, from: usize) {
        let there: Vec<usize> = (0..self.seats.len())
            .filter(|seat| *seat != from && self.seats[*seat].silent_since_us.is_none())
            .collect();
        for group in 0..self.groups.len() {
            if self.groups[group].node == from && !there.is_empty() {
                self.groups[group].node = *self.rng.pick(&there);
            }
        }
    }

    /// Tells every node which partitions it shall have.
    fn assign(&mut self) {
        for group in &mut self.groups {
            group.owner = self.seats[group.node].process;
        }
        for seat in 0..self.seats.len() {
            let process = self.seats[seat].process;
            let hasty = !self.healed && self.rng.permille(HASTY);
            let held = |partition: &PartitionId| {
                let number = u32::from(partition.get());
                let others = self.seats.iter().filter(|other| other.process != process);
                let mut others = others.filter_map(|other| self.processes.get(&other.process));
                !hasty && others.any(|other| other.owned.contains(&number))
            };
            let groups = self.groups.iter().filter(|group| group.node == seat);
            let partitions = groups.flat_map(|group| group.partitions.iter().copied());
            let partitions = partitions.filter(|partition| !held(partition)).collect();
            self.post_to(process, &Message::Assign(partitions));
        }
    }

    /// A process says what it has.
    pub(crate) fn reported(&mut self, process: u32, owned: &[v1::OwnedPartition]) {
        let Some(process) = self.processes.get_mut(&process) else { return };
        let group = process.group.map(|group| self.groups[group].partitions.len());
        process.lacks = group.is_some_and(|partitions| owned.len() < partitions);
        process.owned = owned.iter().map(|owned| owned.partition).collect();
    }
}
