//! Who looks after processes: dead ones are followed by others, nodes join and leave.
//!
//! Partitions come in groups. Without nodes, each group has processes of its own, one following the other, as hasty as the
//! seed wants it; with nodes, each partition is a group, and a scheduler ([`crate::scheduler`]) says who shall have it.
//! Invariant: nobody but the store decides whose blocks count; whatever is decided here may be wrong.

use assign::NodeKey;
use ids::PartitionId;
use proto::executor::v1;

use crate::process::{Message, Process};
use crate::world::{Event, World};

/// How often somebody looks.
const PLACEMENT_US: u64 = 1_000_000;
/// Nodes at most, those that joined later included.
const NODES_MAX: usize = 4;

/// Partitions that have one owner.
#[derive(Debug)]
pub struct Group {
    /// Ascending.
    pub partitions: Vec<PartitionId>,
    /// The process that dispatchers take for the owner.
    pub owner: u32,
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
        let nodes = self.options.nodes as usize;
        let each = self.partitions_per_group();
        let count = u32::from(self.partition_count());
        for first in (0..count).step_by(each as usize) {
            let numbers = first..first + each;
            let partitions = numbers.filter_map(|number| PartitionId::new(number).ok()).collect();
            self.groups.push(Group { partitions, owner: 0 });
        }
        let seats = if nodes == 0 { self.groups.len() } else { nodes };
        (0..seats).for_each(|_| self.add_seat());
    }

    fn add_seat(&mut self) {
        self.seats.push(Seat { process: 0, silent_since_us: None });
        self.follow(self.seats.len() - 1);
    }

    /// Partitions of a group.
    pub(crate) fn partitions_per_group(&self) -> u32 {
        if self.options.nodes == 0 { self.options.partitions_per_group } else { 1 }
    }

    /// Another process takes a seat. It has the name of the first one there, unless that still lives, on a
    /// machine of its own.
    pub(crate) fn follow(&mut self, seat: usize) {
        let own = self.options.nodes == 0;
        let name = NodeKey::from(format!("node-{seat}:1"));
        let taken = self.processes.values().any(|process| process.node == name);
        let name = if taken { NodeKey::from(format!("node-{seat}-{}:1", self.number)) } else { name };
        let process = self.spawn(own.then_some(seat), name);
        self.seats[seat] = Seat { process, silent_since_us: None };
        if own {
            self.groups[seat].owner = process;
        } else {
            self.beat(process);
        }
    }

    /// A group is given to others, though its owner is well; or a node is asked to go, or another one joins.
    pub(crate) fn replace(&mut self, group: usize) {
        if self.healed {
            return;
        }
        let seat = self.rng.below(self.seats.len() as u64) as usize;
        self.trace.note(self.now_us, "replaces", [group as u64, seat as u64]);
        let process = self.seats[seat].process;
        let managed = self.options.nodes > 0;
        match self.rng.below(4) {
            0 => self.post_to(process, &Message::Drain),
            1 | 2 if managed => self.leave(process),
            _ if !managed => self.follow(group),
            _ if self.seats.len() < NODES_MAX => self.add_seat(),
            _ => {}
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
                self.follow(seat);
            } else if !silent && self.options.nodes == 0 {
                self.post_to(process, &Message::Report);
            }
        }
        self.after(PLACEMENT_US, Event::Placement);
    }

    /// A process says what it has.
    pub(crate) fn reported(&mut self, process: u32, shard: &v1::Shard) {
        if self.options.nodes > 0 {
            return self.tell_scheduler(process, shard);
        }
        let Some(process) = self.processes.get_mut(&process) else { return };
        let group = process.group.map(|group| self.groups[group].partitions.len());
        process.lacks = group.is_some_and(|partitions| shard.owned.len() < partitions);
    }
}
