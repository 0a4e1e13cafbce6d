//! Which process is hit when, and how: fixed by the seed.
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

/// What can be hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The scheduler.
    Scheduler,
    /// Node i.
    Node(u16),
    /// Redis, master i.
    Redis(u16),
}

impl Target {
    /// For counting.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Node(_) => "node",
            Self::Redis(_) => "redis",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduler => f.write_str("scheduler"),
            Self::Node(number) => write!(f, "node-{number}"),
            Self::Redis(number) => write!(f, "redis-{number}"),
        }
    }
}

/// How it is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL; started again later.
    Kill,
    /// SIGSTOP; SIGCONT later. Connections stay open, and nobody is told.
    Freeze,
}

impl Blow {
    /// For reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL",
            Self::Freeze => "SIGSTOP",
        }
    }
}

/// One entry of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strike {
    /// From 1.
    pub number: u64,
    /// One process, or two at the same moment.
    pub targets: Vec<Target>,
    /// How.
    pub blow: Blow,
    /// Load before it.
    pub delay: Duration,
    /// How long the targets are gone or stand still.
    pub down: Duration,
    /// Falls while the one before is still being recovered from.
    pub hasty: bool,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: Vec<String> = self.targets.iter().map(ToString::to_string).collect();
        write!(f, "{} {} for {:.1} s", self.blow.name(), targets.join("+"), self.down.as_secs_f64())?;
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
}

/// An endless sequence of strikes.
#[derive(Debug)]
pub struct Plan {
    dice: Dice,
    field: Field,
    number: u64,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn new(seed: u64, field: Field) -> Self {
        // The load draws from the seed itself.
        Self { dice: Dice::new(seed ^ 0x6B69_6C6C), field, number: 0 }
    }

    fn target(&mut self) -> Target {
        let redis = if self.field.masters > 0 { 3 } else { 0 };
        let node = |dice: &mut Dice, nodes: u16| dice.below(nodes.into()) as u16;
        match self.dice.below(8 + redis) {
            0..=2 => Target::Scheduler,
            3..=7 => Target::Node(node(&mut self.dice, self.field.nodes)),
            _ => Target::Redis(node(&mut self.dice, self.field.masters)),
        }
    }
}

impl Iterator for Plan {
    type Item = Strike;

    fn next(&mut self) -> Option<Strike> {
        self.number += 1;
        let mut targets = vec![self.target()];
        let second = self.target();
        if self.dice.below(8) == 0 && second != targets[0] {
            targets.push(second);
        }
        let blow = if self.dice.below(3) == 0 { Blow::Freeze } else { Blow::Kill };
        let delay = self.dice.between(Duration::from_millis(200), Duration::from_millis(2_000));
        let kept_down = self.dice.between(Duration::ZERO, Duration::from_millis(1_500));
        let at_once = self.dice.below(2) == 0;
        let still = self.dice.between(self.field.lease * 6 / 5, self.field.lease * 2);
        let down = match blow {
            Blow::Freeze => still,
            Blow::Kill if at_once => Duration::ZERO,
            Blow::Kill => kept_down,
        };
        let hasty = self.dice.below(6) == 0;
        Some(Strike { number: self.number, targets, blow, delay, down, hasty })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(nodes: u16, masters: u16) -> Field {
        Field { nodes, masters, lease: Duration::from_secs(2) }
    }

    fn strikes(seed: u64, field: Field) -> Vec<Strike> {
        Plan::new(seed, field).take(2_000).collect()
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
            for blow in [Blow::Kill, Blow::Freeze] {
                assert!(all.iter().any(|s| s.targets == [target] && s.blow == blow), "{target} {blow:?}");
            }
        }
        assert!(all.iter().any(|strike| strike.targets.len() == 2 && strike.targets[0] != strike.targets[1]));
        assert!(all.iter().any(|strike| strike.hasty));
    }

    #[test]
    fn a_process_stands_still_for_longer_than_the_lease() {
        let all = strikes(3, field(2, 1));
        assert!(all.iter().filter(|s| s.blow == Blow::Freeze).all(|s| s.down > Duration::from_secs(2)));
    }

    #[test]
    fn without_redis_none_is_hit() {
        let all = strikes(5, field(1, 0));
        assert!(all.iter().flat_map(|s| &s.targets).all(|target| target.class() != "redis"));
    }
}
