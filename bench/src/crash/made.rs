//! Which strikes were made, which had no effect, and which a run lacks.

use std::collections::BTreeMap;

use serde::Serialize;

use super::drive::Struck;
use super::plan::{Field, Strike};

/// The strikes of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Made {
    /// Strikes of every kind that were made.
    pub strikes: u64,
    /// Of those: SIGKILL and SIGSTOP.
    pub kills: u64,
    /// By kind and target, for example `SIGKILL node`; one that hits two counts for both.
    pub strikes_by_kind: BTreeMap<String, u64>,
    /// Of those that can miss: strikes that had no effect.
    pub without_effect: BTreeMap<String, u64>,
    /// Of those: kinds of which none had any.
    pub toothless: Vec<String>,
    /// Strikes that the store allows and that were not made, by kind and target.
    pub not_made: Vec<String>,
    /// Strikes that were drawn, after those that each plan begins with.
    pub drawn: u64,
    /// Of those: SIGKILL and SIGSTOP.
    pub drawn_kills: u64,
}

impl Made {
    /// Of what could be struck.
    #[must_use]
    pub fn of(struck: &[Struck], field: Option<&Field>) -> Self {
        let count = |wanted: fn(&Strike) -> bool| {
            struck.iter().filter(|struck| wanted(&struck.strike)).count() as u64
        };
        Self {
            strikes: struck.len() as u64,
            kills: count(|strike| strike.blow.is_kill()),
            strikes_by_kind: by_kind(struck),
            without_effect: without_effect(struck),
            toothless: toothless(struck),
            not_made: not_made(struck, field),
            drawn: count(|strike| strike.drawn),
            drawn_kills: count(|strike| strike.drawn && strike.blow.is_kill()),
        }
    }
}

/// Strikes by kind and target.
#[must_use]
pub fn by_kind(struck: &[Struck]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for Struck { strike, .. } in struck {
        for target in &strike.targets {
            *counts.entry(format!("{} {}", strike.blow.name(), target.class())).or_default() += 1;
        }
    }
    counts
}

fn kind_of(strike: &Strike) -> Option<String> {
    Some(format!("{} {}", strike.blow.name(), strike.targets.first()?.class()))
}

/// Strikes that can miss and did.
#[must_use]
pub fn without_effect(struck: &[Struck]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for missed in struck.iter().filter(|struck| struck.effect == Some(false)) {
        kind_of(&missed.strike).into_iter().for_each(|kind| *counts.entry(kind).or_default() += 1);
    }
    counts
}

/// Kinds that can miss and always did.
#[must_use]
pub fn toothless(struck: &[Struck]) -> Vec<String> {
    let bit = |kind: &String| {
        struck.iter().any(|one| one.effect == Some(true) && kind_of(&one.strike).as_ref() == Some(kind))
    };
    without_effect(struck).into_keys().filter(|kind| !bit(kind)).collect()
}

/// Strikes that could have been made and were not.
#[must_use]
pub fn not_made(struck: &[Struck], field: Option<&Field>) -> Vec<String> {
    let made = by_kind(struck);
    let all = field.map(Field::kinds).unwrap_or_default();
    let named = all.into_iter().map(|(blow, class)| format!("{} {class}", blow.name()));
    named.filter(|kind| !made.contains_key(kind)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::plan::{Blow, Plan, Target};
    use super::*;

    #[test]
    fn a_kind_that_never_had_an_effect_and_one_that_was_not_made_are_named() {
        let blows = vec![Blow::Oom, Blow::Kill];
        let field = Field { nodes: 2, masters: 1, lease: Duration::from_secs(2), blows };
        let plan: Vec<Strike> = Plan::new(1, field.clone()).take(4).collect();
        let struck = |effects: &[Option<bool>]| -> Vec<Struck> {
            let strikes = plan.iter().filter(|strike| strike.targets != [Target::Scheduler]);
            let gap = Duration::ZERO;
            strikes
                .zip(effects)
                .map(|(strike, effect)| Struck { strike: strike.clone(), gap, effect: *effect })
                .collect()
        };
        let missed = struck(&[None, None, Some(false)]);
        assert_eq!(toothless(&missed), ["out of memory redis"]);
        assert_eq!(not_made(&missed, Some(&field)), ["SIGKILL scheduler"]);
        assert!(toothless(&struck(&[None, None, Some(true)])).is_empty());
    }
}
