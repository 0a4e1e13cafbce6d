//! Which process is hit when, and how: fixed by the seed.
//!
//! A plan begins with one strike of each kind on each class of targets that the store allows, kills first; then it draws.
//!
//! Invariant: the same seed and the same [`Field`] give the same strikes, whatever the machine does meanwhile; how long a
//! process really stands still depends on the machine, what is waited for between two strikes too.

use std::fmt;
use std::time::Duration;

/// splitmix64: small, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Begins a sequence.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number of `[0, bound)`; 0 for an empty range.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll().checked_rem(bound).unwrap_or(0)
    }

    fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let span = u64::try_from(to.saturating_sub(from).as_millis()).unwrap_or(u64::MAX);
        from + Duration::from_millis(self.below(span.saturating_add(1)))
    }
}

/// What can be hit: a process, or a way between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The scheduler.
    Scheduler,
    /// Node i.
    Node(u16),
    /// Redis, master i.
    Redis(u16),
    /// The way from node i to Redis.
    StoreLink(u16),
    /// The way from the scheduler to node i: calls and batches.
    DataLink(u16),
    /// The way from node i to the scheduler: its reports, and what they are answered with.
    ReportLink(u16),
}

impl Target {
    /// For counting.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Node(_) => "node",
            Self::Redis(_) => "redis",
            Self::StoreLink(_) => "node-redis",
            Self::DataLink(_) => "scheduler-node",
            Self::ReportLink(_) => "node-scheduler",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduler => f.write_str("scheduler"),
            Self::Node(number) => write!(f, "node-{number}"),
            Self::Redis(number) => write!(f, "redis-{number}"),
            Self::StoreLink(node) => write!(f, "node-{node}>redis"),
            Self::DataLink(node) => write!(f, "scheduler>node-{node}"),
            Self::ReportLink(node) => write!(f, "node-{node}>scheduler"),
        }
    }
}

/// How it is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Blow {
    /// SIGKILL of scheduler, node or Redis, or two at once; started again
    Kill,
    /// SIGSTOP of the same for longer than the lease, then SIGCONT: connections stay open, nobody is told
    Stop,
    /// SIGTERM of scheduler or node, or of all, one after the other: it hands over, ends with 0, is started again
    Restart,
    /// Redis stands still for 100 to 900 ms, again and again, as in slow calls of fsync; half end with its SIGKILL
    SlowStore,
    /// Redis is out of memory (maxmemory)
    Oom,
    /// Files may grow no further: Redis ends by itself, a torn command in its log; a node on files sheds
    DiskFull,
    /// Replies are lost after they were given, and the connection with them
    LostReplies,
    /// Connections are reset, and none is accepted for a while
    Cut,
    /// Nothing passes for a while, connections stay open, all of it comes later
    Partition,
    /// Everything takes 20 to 200 ms longer each way
    Delay,
}

/// What hits processes with a signal that they cannot catch.
const UNCAUGHT: [Blow; 2] = [Blow::Kill, Blow::Stop];

impl Blow {
    /// For reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL",
            Self::Stop => "SIGSTOP",
            Self::Restart => "SIGTERM",
            Self::SlowStore => "slow fsync",
            Self::Oom => "out of memory",
            Self::DiskFull => "disk full",
            Self::LostReplies => "lost replies",
            Self::Cut => "cut",
            Self::Partition => "partition",
            Self::Delay => "delay",
        }
    }

    /// Whether the bound of kills counts it.
    #[must_use]
    pub fn is_kill(self) -> bool {
        UNCAUGHT.contains(&self)
    }

    /// Whether it hits a way between two processes.
    #[must_use]
    pub fn hits_links(self) -> bool {
        matches!(self, Self::LostReplies | Self::Cut | Self::Partition | Self::Delay)
    }

    /// Whether there is something to hit.
    #[must_use]
    pub fn is_possible(self, field: &Field) -> bool {
        match self {
            Self::SlowStore | Self::Oom => field.masters > 0,
            _ => true,
        }
    }

    /// Its share of the strikes among others.
    fn weight(self) -> u64 {
        match self {
            Self::Kill => 12,
            Self::Stop => 5,
            Self::Restart | Self::LostReplies | Self::Cut | Self::Partition => 3,
            Self::SlowStore | Self::Oom | Self::DiskFull | Self::Delay => 2,
        }
    }
}

/// One entry of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strike {
    /// From 1.
    pub number: u64,
    /// One target, or several: at the same moment, or in this order where each takes its time.
    pub targets: Vec<Target>,
    /// How.
    pub blow: Blow,
    /// Load before it.
    pub delay: Duration,
    /// How long it lasts.
    pub down: Duration,
    /// Falls while the one before is still being recovered from.
    pub hasty: bool,
    /// A slow store is killed in the end.
    pub ends_in_kill: bool,
    /// For what is drawn while it lasts.
    pub seed: u64,
    /// It was drawn, and is none of those that a plan begins with: only these are alike and independent.
    pub drawn: bool,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: Vec<String> = self.targets.iter().map(ToString::to_string).collect();
        write!(f, "{} {} for {:.1} s", self.blow.name(), targets.join("+"), self.down.as_secs_f64())?;
        if self.ends_in_kill {
            f.write_str(", killed in the end")?;
        }
        if self.hasty { f.write_str(", hasty") } else { Ok(()) }
    }
}

/// What the plan draws from.
#[derive(Debug, Clone)]
pub struct Field {
    /// How many nodes there are.
    pub nodes: u16,
    /// How many Redis masters there are; 0 for files.
    pub masters: u16,
    /// A process that stands still does so for longer than this.
    pub lease: Duration,
    /// Which strikes; none is all that are possible.
    pub blows: Vec<Blow>,
}

impl Field {
    /// Nodes reach a single Redis through a proxy; masters of a cluster tell their own addresses.
    #[must_use]
    pub fn has_store_links(&self) -> bool {
        self.masters == 1
    }

    /// What is drawn from, and whether there are proxies.
    #[must_use]
    pub fn drawn(&self) -> Vec<Blow> {
        use clap::ValueEnum as _;
        let all = Blow::value_variants().iter().copied();
        let wanted = |blow: &Blow| self.blows.is_empty() || self.blows.contains(blow);
        all.filter(|blow| wanted(blow) && blow.is_possible(self)).collect()
    }

    /// Each strike on each class of targets, as [`Blow::name`] and [`Target::class`] tell it.
    #[must_use]
    pub fn kinds(&self) -> Vec<(Blow, &'static str)> {
        let all = self.drawn().into_iter();
        all.flat_map(|blow| self.examples(blow).into_iter().map(move |one| (blow, one.class()))).collect()
    }

    /// A target of each class that a strike has.
    fn examples(&self, blow: Blow) -> Vec<Target> {
        let (on_redis, with_links) = (self.masters > 0, self.has_store_links());
        match blow {
            Blow::Kill | Blow::Stop => [Target::Scheduler, Target::Node(0)]
                .into_iter()
                .chain(on_redis.then_some(Target::Redis(0)))
                .collect(),
            Blow::Restart => vec![Target::Scheduler, Target::Node(0)],
            Blow::SlowStore | Blow::Oom | Blow::DiskFull if on_redis => vec![Target::Redis(0)],
            Blow::SlowStore | Blow::Oom | Blow::DiskFull => vec![Target::Node(0)],
            Blow::LostReplies | Blow::Cut | Blow::Partition | Blow::Delay => [Target::DataLink(0)]
                .into_iter()
                // A node on files does not report.
                .chain(on_redis.then_some(Target::ReportLink(0)))
                .chain(with_links.then_some(Target::StoreLink(0)))
                .collect(),
        }
    }
}

/// An endless sequence of strikes.
#[derive(Debug)]
pub struct Plan {
    dice: Dice,
    field: Field,
    blows: Vec<Blow>,
    number: u64,
    /// What it begins with, the last one first.
    first: Vec<(Blow, Target)>,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn new(seed: u64, field: Field) -> Self {
        // The load draws from the seed itself.
        let dice = Dice::new(seed ^ 0x6B69_6C6C);
        let mut plan = Self { dice, blows: field.drawn(), field, number: 0, first: Vec::new() };
        let (kills, others): (Vec<Blow>, Vec<Blow>) =
            plan.blows.iter().partition(|blow| matches!(blow, Blow::Kill));
        for blows in [others, kills] {
            let mut these: Vec<(Blow, Target)> = Vec::new();
            for blow in blows {
                for target in plan.field.examples(blow) {
                    these.push((blow, plan.one_like(target)));
                }
            }
            plan.shuffle(&mut these);
            plan.first.append(&mut these);
        }
        plan
    }

    /// Any target of the same class.
    fn one_like(&mut self, target: Target) -> Target {
        let (nodes, masters) = (self.field.nodes, self.field.masters);
        match target {
            Target::Scheduler => Target::Scheduler,
            Target::Node(_) => Target::Node(self.one_of(nodes)),
            Target::Redis(_) => Target::Redis(self.one_of(masters)),
            Target::StoreLink(_) => Target::StoreLink(self.one_of(nodes)),
            Target::DataLink(_) => Target::DataLink(self.one_of(nodes)),
            Target::ReportLink(_) => Target::ReportLink(self.one_of(nodes)),
        }
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            let other = usize::try_from(self.dice.below(last as u64 + 1)).unwrap_or(last);
            all.swap(last, other);
        }
    }

    fn one_of(&mut self, count: u16) -> u16 {
        u16::try_from(self.dice.below(count.into())).unwrap_or(0)
    }

    fn blow(&mut self) -> Blow {
        let total = self.blows.iter().map(|blow| blow.weight()).sum();
        let mut left = self.dice.below(total);
        for blow in &self.blows {
            match left.checked_sub(blow.weight()) {
                Some(rest) => left = rest,
                None => return *blow,
            }
        }
        Blow::Kill
    }

    fn process(&mut self) -> Target {
        let redis = if self.field.masters > 0 { 3 } else { 0 };
        match self.dice.below(8 + redis) {
            0..=2 => Target::Scheduler,
            3..=7 => Target::Node(self.one_of(self.field.nodes)),
            _ => Target::Redis(self.one_of(self.field.masters)),
        }
    }

    fn targets(&mut self, blow: Blow) -> Vec<Target> {
        match blow {
            Blow::Kill | Blow::Stop => {
                let (first, second) = (self.process(), self.process());
                let two = self.dice.below(8) == 0 && second != first;
                if two { vec![first, second] } else { vec![first] }
            }
            Blow::Restart => match self.dice.below(4) {
                0 => (0..self.field.nodes).map(Target::Node).chain([Target::Scheduler]).collect(),
                1 => vec![Target::Scheduler],
                _ => vec![Target::Node(self.one_of(self.field.nodes))],
            },
            Blow::SlowStore | Blow::Oom | Blow::DiskFull if self.field.masters > 0 => {
                vec![Target::Redis(self.one_of(self.field.masters))]
            }
            Blow::SlowStore | Blow::Oom | Blow::DiskFull => vec![Target::Node(self.one_of(self.field.nodes))],
            Blow::LostReplies | Blow::Cut | Blow::Partition | Blow::Delay => {
                let node = self.one_of(self.field.nodes);
                let (data, report) = (Target::DataLink(node), Target::ReportLink(node));
                if self.field.masters == 0 {
                    // A node on files does not report.
                    return vec![data];
                }
                match self.dice.below(if self.field.has_store_links() { 8 } else { 4 }) {
                    0 | 1 => vec![data],
                    2 => vec![report],
                    // The scheduler takes the node for dead, which lives on and has its store.
                    3 => vec![data, report],
                    _ => vec![Target::StoreLink(node)],
                }
            }
        }
    }

    fn down(&mut self, blow: Blow) -> Duration {
        let (ms, lease) = (Duration::from_millis, self.field.lease);
        let (from, to) = match blow {
            Blow::Kill if self.dice.below(2) == 0 => (Duration::ZERO, Duration::ZERO),
            Blow::Kill | Blow::Cut => (Duration::ZERO, ms(1_500)),
            Blow::Stop => (lease * 6 / 5, lease * 2),
            Blow::Restart => (Duration::ZERO, Duration::ZERO),
            Blow::SlowStore => (ms(2_000), ms(5_000)),
            Blow::Oom | Blow::DiskFull => (ms(500), ms(3_000)),
            Blow::LostReplies => (ms(200), ms(2_000)),
            Blow::Partition => (ms(300), lease * 2),
            Blow::Delay => (ms(1_000), ms(4_000)),
        };
        self.dice.between(from, to)
    }
}

impl Iterator for Plan {
    type Item = Strike;

    fn next(&mut self) -> Option<Strike> {
        self.number += 1;
        let first = self.first.pop();
        let drawn = first.is_none();
        let (blow, targets) = match first {
            Some((blow, target)) => (blow, vec![target]),
            None => {
                let blow = self.blow();
                (blow, self.targets(blow))
            }
        };
        let delay = self.dice.between(Duration::from_millis(200), Duration::from_millis(2_000));
        let down = self.down(blow);
        let hasty = self.dice.below(6) == 0 && drawn;
        let ends_in_kill = blow == Blow::SlowStore && self.dice.below(2) == 0;
        let seed = self.dice.roll();
        Some(Strike { number: self.number, targets, blow, delay, down, hasty, ends_in_kill, seed, drawn })
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    fn field(nodes: u16, masters: u16) -> Field {
        Field { nodes, masters, lease: Duration::from_secs(2), blows: Vec::new() }
    }

    fn strikes(seed: u64, field: Field) -> Vec<Strike> {
        Plan::new(seed, field).take(4_000).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_strikes_and_another_seed_others() {
        assert_eq!(strikes(7, field(3, 1)), strikes(7, field(3, 1)));
        assert_ne!(strikes(7, field(3, 1)), strikes(8, field(3, 1)));
    }

    #[test]
    fn every_process_is_killed_and_stopped_and_two_at_once_too() {
        let all = strikes(1, field(3, 2));
        let processes =
            [Target::Scheduler, Target::Node(0), Target::Node(2), Target::Redis(0), Target::Redis(1)];
        for target in processes {
            for blow in [Blow::Kill, Blow::Stop] {
                assert!(all.iter().any(|s| s.targets == [target] && s.blow == blow), "{target} {blow:?}");
            }
        }
        let two = |s: &&Strike| s.blow.is_kill() && s.targets.len() == 2;
        assert!(all.iter().filter(two).count() > 0);
        assert!(all.iter().filter(two).all(|strike| strike.targets[0] != strike.targets[1]));
        assert!(all.iter().any(|strike| strike.hasty));
    }

    #[test]
    fn every_strike_that_is_possible_is_made() {
        let all = strikes(1, field(2, 1));
        for blow in Blow::value_variants() {
            assert!(all.iter().any(|strike| strike.blow == *blow), "{blow:?}");
        }
        assert!(all.iter().any(|s| s.blow == Blow::Restart && s.targets.len() == 3), "all in turn");
        for link in [Target::StoreLink(1), Target::DataLink(1), Target::ReportLink(1)] {
            assert!(all.iter().any(|s| s.blow == Blow::Partition && s.targets == [link]), "{link}");
        }
        let killed = all.iter().filter(|strike| strike.ends_in_kill);
        assert!(killed.clone().count() > 0);
        assert!(killed.clone().all(|strike| strike.blow == Blow::SlowStore));
    }

    #[test]
    fn a_plan_begins_with_each_kind_once_kills_first_and_then_draws() {
        for (nodes, masters) in [(2, 1), (2, 3), (1, 0)] {
            let field = field(nodes, masters);
            let kinds = field.kinds();
            let all: Vec<Strike> = Plan::new(7, field).take(kinds.len() + 50).collect();
            let mut first: Vec<_> =
                all[..kinds.len()].iter().map(|s| (s.blow, s.targets[0].class())).collect();
            let kills = kinds.iter().filter(|(blow, _)| *blow == Blow::Kill).count();
            assert!(first[..kills].iter().all(|(blow, _)| *blow == Blow::Kill), "{first:?}");
            assert!(all[..kinds.len()].iter().all(|strike| !strike.drawn && !strike.hasty));
            assert!(all[kinds.len()..].iter().all(|strike| strike.drawn));
            let mut kinds = kinds;
            kinds.sort_unstable();
            first.sort_unstable();
            assert_eq!(first, kinds, "{masters} masters");
        }
    }

    #[test]
    fn only_the_strikes_that_were_asked_for_are_made() {
        let blows = vec![Blow::Oom, Blow::Restart];
        let all = strikes(4, Field { blows: blows.clone(), ..field(2, 1) });
        assert!(all.iter().all(|strike| blows.contains(&strike.blow)));
    }

    #[test]
    fn a_process_stands_still_for_longer_than_the_lease() {
        let all = strikes(3, field(2, 1));
        assert!(all.iter().filter(|s| s.blow == Blow::Stop).all(|s| s.down > Duration::from_secs(2)));
    }

    #[test]
    fn without_redis_none_is_hit_and_with_a_cluster_no_way_to_it() {
        let redis = |target: &Target| matches!(target, Target::Redis(_) | Target::StoreLink(_));
        let all = strikes(5, field(1, 0));
        assert!(!all.iter().flat_map(|s| &s.targets).any(redis));
        let all = strikes(5, field(1, 3));
        assert!(!all.iter().flat_map(|s| &s.targets).any(|target| matches!(target, Target::StoreLink(_))));
    }
}
