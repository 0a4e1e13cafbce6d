//! Who shall have which partition: decided from what nodes report, and from nothing else.
//!
//! Purpose: one value, [`Assigner`], that takes reports in and gives assignments out. It is pure: no clock, no I/O,
//! no randomness; the same calls give the same answers, so a simulation can drive it. Safety does not depend on it
//! (the store's fence keeps two owners apart); what it promises is that partitions find an owner soon, stay where they
//! are, and lie evenly.
//!
//! # How to drive it
//! 1. [`Assigner::registered`] once, with the incarnation that a node's store gave. Before it nobody is told anything.
//! 2. [`Assigner::report`] for each report of a node, as it arrives. The number of the stream on which it came
//!    (`session`) grows with each stream that is opened: reports of older streams are ignored.
//! 3. [`Assigner::broken`] when a node's stream has ended.
//! 4. [`Assigner::tick`] after each of these and at least every [`Rules::pause_us`] / 4: it returns [`Effect`]s,
//!    among them what nodes are to be told. Telling is level-triggered: what was lost may be sent again at any time
//!    from [`Assigner::assignment`].
//!
//! `now_us` are microseconds of any clock; a gap or a step back is taken for a pause of our own.
//!
//! # Invariants
//! * At any time a partition is named to one shard at most, and to another one only once its holder has reported it gone,
//!   is dead, has lost it to a higher generation, or has been cut off from the store for [`Rules::cut_off_us`] while
//!   another shard was not.
//! * What a node reports as its own is adopted, not moved; a move has a reason: a node that drains, or shards that differ
//!   by two partitions or more. No move is begun
//!   while [`Rules::moves_max`] are under way that are younger than [`Rules::move_us`].
//! * While no node is heard at all nobody is dead: it may be us who were away.

mod place;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use place::{ORPHAN, Place};

/// A node's name: `host:port` of its public port.
pub type NodeKey = Arc<str>;

/// A shard of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardKey {
    /// Its node.
    pub node: NodeKey,
    /// Its number there.
    pub index: u32,
}

/// How far an owner has come with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its log is being read.
    Recovering,
    /// It takes starts.
    Serving,
    /// It is being given back.
    Releasing,
}

/// A partition in the hands of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Its number.
    pub partition: u16,
    /// The fence in the store; 0 until the shard has raised it.
    pub generation: u64,
    /// How far it is.
    pub state: State,
}

/// What a shard says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShardReport {
    /// Its number.
    pub index: u32,
    /// Admission permits used, in percent.
    pub saturation_percent: u32,
    /// Whether nothing of the store answers it.
    pub cut_off: bool,
    /// All that it has.
    pub owned: Vec<Claim>,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its name.
    pub node: NodeKey,
    /// The stream on which it came, counted upwards.
    pub session: u64,
    /// Whether it follows assignments; one that does not keeps what it has.
    pub managed: bool,
    /// Whether it wants to lose everything.
    pub draining: bool,
    /// The incarnation of the scheduler that it followed last.
    pub followed: u32,
    /// Partitions of the whole cluster.
    pub partitions: u16,
    /// Its shards; empty where they have not answered, which says nothing about what they have.
    pub shards: Vec<ShardReport>,
}

/// What one node shall have: for each of its shards the whole set. Shards without partitions are not listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// Of the scheduler that says so.
    pub incarnation: u32,
    /// Partitions by shard, ascending.
    pub shards: BTreeMap<u32, Vec<u16>>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell a node what it shall have; said once for each change and each stream.
    Tell {
        /// Whom.
        node: NodeKey,
        /// What.
        assignment: Assignment,
    },
    /// A node is given up: what it had is given to others.
    Dead {
        /// Which.
        node: NodeKey,
        /// Why.
        cause: Cause,
    },
    /// A shard is given up, for the store answers others and not it. Said once.
    CutOff {
        /// Which.
        shard: ShardKey,
    },
    /// A node follows a scheduler that began after us: we assign no more. Said once.
    Replaced {
        /// That scheduler's incarnation.
        by: u32,
    },
}

/// Why a node is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its stream ended, and it did not open another in time.
    Broken,
    /// It has said nothing for too long.
    Silent,
}

/// The times and bounds by which it decides. See [`Rules::default`] for the reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Silence after which a node gets nothing new.
    pub silent_us: u64,
    /// Silence after which a node is dead.
    pub dead_us: u64,
    /// How long a node whose stream ended may take to open another.
    pub reconnect_us: u64,
    /// How long reports are only listened to after the first one.
    pub listen_us: u64,
    /// Nodes after whose reports listening ends early; 0: it never does.
    pub expected_nodes: usize,
    /// How long a node may take to say that it has what it was told to take.
    pub take_us: u64,
    /// How long a shard may be cut off from the store while another is not.
    pub cut_off_us: u64,
    /// Between two ticks: more was a pause of our own.
    pub pause_us: u64,
    /// Moves under way at once.
    pub moves_max: usize,
    /// How long a move counts as one of these.
    pub move_us: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            // Three beats of 500 ms: two lost ones are no reason, and starts find another shard meanwhile.
            silent_us: 1_500_000,
            // One more second for a process that was stopped or a network that was away: with a tick and a
            // recovery, starts are taken again some 3 seconds after the last beat.
            dead_us: 2_500_000,
            // A killed process ends its stream at once; one that lives tries again after 100, 300 and 700 ms.
            reconnect_us: 1_000_000,
            // After a start of ours a node tries at least once a second.
            listen_us: 1_500_000,
            expected_nodes: 0,
            // Four beats: whoever has not said a word of it by then has not heard, or cannot.
            take_us: 2_000_000,
            // A store that comes back is found again within 2 s: who takes longer is alone with it.
            cut_off_us: 5_000_000,
            // Ticks come every 100 ms; a node's patience is longer than this.
            pause_us: 1_000_000,
            // Each is a short pause for one partition: of 64, an eighth at a time.
            moves_max: 8,
            // A move takes a second or two. One whose recovery fails again and again shall not hold up a drain, which has 25.
            move_us: 10_000_000,
        }
    }
}

#[derive(Debug)]
struct Node {
    report: Report,
    heard_us: u64,
    broken_us: Option<u64>,
    told: Option<Assignment>,
    /// Shards that are cut off while others are not.
    cut_off: BTreeMap<u32, CutOff>,
}

#[derive(Debug, Clone, Copy)]
struct CutOff {
    since_us: u64,
    given_up: bool,
}

impl Node {
    fn is_suspected(&self, now_us: u64, rules: &Rules) -> bool {
        self.broken_us.is_some() || now_us.saturating_sub(self.heard_us) >= rules.silent_us
    }

    fn fate(&self, now_us: u64, rules: &Rules) -> Option<Cause> {
        let over = |since_us: u64, patience_us: u64| now_us.saturating_sub(since_us) >= patience_us;
        if self.broken_us.is_some_and(|at| over(at, rules.reconnect_us)) {
            return Some(Cause::Broken);
        }
        over(self.heard_us, rules.dead_us).then_some(Cause::Silent)
    }

    /// As if it had just been heard: it gets its whole patience anew.
    fn forgive(&mut self, now_us: u64) {
        self.heard_us = now_us;
        self.broken_us = self.broken_us.map(|_| now_us);
        self.cut_off.values_mut().for_each(|cut_off| cut_off.since_us = now_us);
    }

    /// Whether what this shard has is given to others, whatever it says.
    fn has_given_up(&self, shard: u32) -> bool {
        self.cut_off.get(&shard).is_some_and(|cut_off| cut_off.given_up)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Assigner {
    rules: Rules,
    /// 0 until [`Assigner::registered`].
    incarnation: u32,
    replaced_by: Option<u32>,
    said_replaced: bool,
    nodes: BTreeMap<NodeKey, Node>,
    /// By partition number.
    places: Vec<Place>,
    listening_until_us: Option<u64>,
    in_charge: bool,
    ticked_us: Option<u64>,
    /// Nobody was heard at the last tick.
    blind: bool,
}

impl Assigner {
    /// One that knows nobody.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            incarnation: 0,
            replaced_by: None,
            said_replaced: false,
            nodes: BTreeMap::new(),
            places: Vec::new(),
            listening_until_us: None,
            in_charge: false,
            ticked_us: None,
            blind: false,
        }
    }

    /// Assigns from now on under this incarnation. Only the first call counts: a later number would let a scheduler that
    /// was replaced come back.
    pub fn registered(&mut self, incarnation: u32) {
        if self.incarnation == 0 {
            self.incarnation = incarnation;
        }
    }

    /// Takes a report in.
    pub fn report(&mut self, now_us: u64, mut report: Report) {
        let known = self.nodes.get_mut(&report.node);
        if known.as_ref().is_some_and(|known| known.report.session > report.session) {
            return;
        }
        if self.incarnation != 0 && report.followed > self.incarnation {
            self.replaced_by = self.replaced_by.max(Some(report.followed));
        }
        let (mut told, mut cut_off) = (None, BTreeMap::new());
        if let Some(known) = known
            && known.report.session == report.session
        {
            told = known.told.take();
            cut_off = std::mem::take(&mut known.cut_off);
            if report.shards.is_empty() {
                report.shards = std::mem::take(&mut known.report.shards);
            }
        }
        if self.nodes.is_empty() {
            self.listening_until_us = Some(now_us.saturating_add(self.rules.listen_us));
            self.places = vec![ORPHAN; usize::from(report.partitions)];
        }
        if std::mem::take(&mut self.blind) {
            self.nodes.values_mut().for_each(|node| node.forgive(now_us));
        }
        let key = Arc::clone(&report.node);
        self.nodes.insert(key, Node { report, heard_us: now_us, broken_us: None, told, cut_off });
    }

    /// A node's stream has ended.
    pub fn broken(&mut self, now_us: u64, node: &str, session: u64) {
        if let Some(node) = self.nodes.get_mut(node)
            && node.report.session == session
        {
            node.broken_us.get_or_insert(now_us);
        }
    }

    /// Decides. See the module about when to call it.
    pub fn tick(&mut self, now_us: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.mind_pause(now_us);
        self.bury(now_us, &mut effects);
        if let Some(by) = self.replaced_by
            && !std::mem::replace(&mut self.said_replaced, true)
        {
            effects.push(Effect::Replaced { by });
        }
        self.in_charge = self.may_assign(now_us);
        if self.in_charge && !self.blind {
            self.mind_stores(now_us, &mut effects);
            self.settle(now_us);
            self.place_orphans(now_us);
            self.plan_moves(now_us);
            self.tell(&mut effects);
        }
        effects
    }

    /// What a node shall have; `None` while we have no say in it.
    #[must_use]
    pub fn assignment(&self, node: &str) -> Option<Assignment> {
        let managed = self.nodes.get(node).is_some_and(|node| node.report.managed);
        (self.in_charge && managed).then(|| self.named_to(node))
    }

    /// Whether it tells nodes what they shall have: registered, done with listening, not replaced.
    #[must_use]
    pub fn is_in_charge(&self) -> bool {
        self.in_charge
    }

    /// Under which incarnation it assigns; 0: it has none yet.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// The scheduler that took over from us.
    #[must_use]
    pub fn replaced_by(&self) -> Option<u32> {
        self.replaced_by
    }

    /// Whether some node follows assignments.
    #[must_use]
    pub fn has_managed(&self) -> bool {
        self.nodes.values().any(|node| node.report.managed)
    }

    /// The shard that a partition is named to.
    #[must_use]
    pub fn named(&self, partition: u16) -> Option<&ShardKey> {
        match self.places.get(usize::from(partition)) {
            Some(Place::Named { shard, .. }) => Some(shard),
            _ => None,
        }
    }

    /// Partitions that are named to nobody.
    pub fn unnamed(&self) -> impl Iterator<Item = u16> + '_ {
        let named = |place: &Place| matches!(place, Place::Named { .. });
        (0u16..).zip(&self.places).filter(move |(_, place)| !named(place)).map(|(partition, _)| partition)
    }

    /// Moves under way.
    #[must_use]
    pub fn moves(&self) -> usize {
        self.places.iter().filter(|place| place.moving().is_some()).count()
    }

    /// Those of them that are not overdue: what cannot be finished holds up nothing else.
    fn fresh_moves(&self, now_us: u64) -> usize {
        let fresh = |since_us: &u64| now_us.saturating_sub(*since_us) < self.rules.move_us;
        self.places.iter().filter_map(Place::moving).filter(fresh).count()
    }

    /// If we were away ourselves, nobody else was.
    fn mind_pause(&mut self, now_us: u64) {
        let away = self
            .ticked_us
            .is_some_and(|last| now_us.checked_sub(last).is_none_or(|gap_us| gap_us > self.rules.pause_us));
        self.ticked_us = Some(now_us);
        if !away {
            return;
        }
        self.nodes.values_mut().for_each(|node| node.forgive(now_us));
        for place in &mut self.places {
            match place {
                Place::Named { since_us, moving, .. } => {
                    *since_us = now_us;
                    *moving = moving.map(|_| now_us);
                }
                Place::Orphan { moving, .. } => *moving = moving.map(|_| now_us),
                Place::Leaving { since_us, .. } => *since_us = now_us,
            }
        }
        if let Some(until_us) = &mut self.listening_until_us {
            *until_us = now_us.saturating_add(self.rules.listen_us);
        }
    }

    /// Gives up nodes that are gone, as long as anybody at all is heard.
    fn bury(&mut self, now_us: u64, effects: &mut Vec<Effect>) {
        let rules = &self.rules;
        self.blind = self.nodes.values().all(|node| node.is_suspected(now_us, rules));
        if self.blind {
            return;
        }
        let fates = self.nodes.iter().filter_map(|(key, node)| Some((key, node.fate(now_us, rules)?)));
        let dead: Vec<(NodeKey, Cause)> = fates.map(|(key, cause)| (Arc::clone(key), cause)).collect();
        for (key, cause) in dead {
            self.nodes.remove(&key);
            for place in &mut self.places {
                let held = match place {
                    Place::Named { shard, .. } => shard.node == key,
                    Place::Leaving { from, .. } => *from == key,
                    Place::Orphan { .. } => false,
                };
                if held {
                    *place = ORPHAN;
                }
            }
            effects.push(Effect::Dead { node: key, cause });
        }
    }

    fn may_assign(&mut self, now_us: u64) -> bool {
        if let Some(until_us) = self.listening_until_us {
            let there = |node: &&Node| node.report.managed && !node.report.shards.is_empty();
            let expected = self.rules.expected_nodes;
            let all_there = expected > 0 && self.nodes.values().filter(there).count() >= expected;
            if now_us < until_us && !all_there {
                return false;
            }
            self.listening_until_us = None;
        }
        self.incarnation != 0 && self.replaced_by.is_none() && !self.nodes.is_empty()
    }

    fn named_to(&self, node: &str) -> Assignment {
        let mut shards: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
        for (partition, place) in (0u16..).zip(&self.places) {
            if let Place::Named { shard, .. } = place
                && &*shard.node == node
            {
                shards.entry(shard.index).or_default().push(partition);
            }
        }
        Assignment { incarnation: self.incarnation, shards }
    }

    fn tell(&mut self, effects: &mut Vec<Effect>) {
        let managed = self.nodes.iter().filter(|(_, node)| node.report.managed);
        let keys: Vec<NodeKey> = managed.map(|(key, _)| Arc::clone(key)).collect();
        for key in keys {
            let assignment = self.named_to(&key);
            let Some(node) = self.nodes.get_mut(&key) else { continue };
            if node.told.as_ref() != Some(&assignment) {
                node.told = Some(assignment.clone());
                effects.push(Effect::Tell { node: key, assignment });
            }
        }
    }
}
