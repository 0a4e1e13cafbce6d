//! What is published of a machine: numbered versions of it, and aliases that lead to them.
//!
//! Invariants: a version points at a revision, which never changes; a number is given once; an alias leads to one or two
//! versions that are there, with weights that make 100 together; there are at most [`VERSIONS_MAX`] and [`ALIASES_MAX`]. All of it is in
//! the machine's record, so that each change is one compare-and-put. What may fail: changes, with what stands against them.
//! Source: docs.aws.amazon.com/step-functions/latest/dg/concepts-state-machine-version.html and …-alias.html (rules, quotas).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::placement::Dice;

/// Versions of a machine (Step Functions).
pub const VERSIONS_MAX: usize = 1_000;

/// Aliases of a machine (Step Functions).
pub const ALIASES_MAX: usize = 100;

/// Versions that an alias leads to (Step Functions).
pub const ROUTES_MAX: usize = 2;

/// The sum of an alias' weights.
const WEIGHTS: u32 = 100;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Published {
    /// The number that was given last; those of deleted versions are not given again.
    pub(super) last: u32,
    /// Versions that are there, by number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) live: BTreeMap<u32, PublishedVersion>,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) aliases: BTreeMap<String, Alias>,
}

/// A published version. The names of its members are short, for a machine may have a thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedVersion {
    /// Which revision of the machine it is.
    #[serde(rename = "r")]
    pub revision: u32,
    /// Unix time in milliseconds.
    #[serde(rename = "at")]
    pub created_ms: u64,
    /// Under which number its description is kept, if it has one.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<u32>,
}

/// A name that leads to versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// To which, and how often.
    pub routes: Vec<Route>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Unix time in milliseconds.
    pub created_ms: u64,
    /// Unix time in milliseconds.
    pub updated_ms: u64,
}

/// One way that an alias leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// The number of a version.
    pub version: u32,
    /// Of 100 starts so many go there.
    pub weight: u8,
}

impl Published {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The version that is this revision, if it is published.
    pub(super) fn of_revision(&self, revision: u32) -> Option<(u32, PublishedVersion)> {
        let mut live = self.live.iter().rev();
        live.find(|(_, version)| version.revision == revision).map(|(number, version)| (*number, *version))
    }

    /// Gives a revision the next number.
    ///
    /// # Errors
    /// [`Error::Limit`] (`ServiceQuotaExceededException`).
    pub(super) fn publish(&mut self, version: PublishedVersion) -> Result<u32, Error> {
        if self.live.len() >= VERSIONS_MAX {
            return Err(quota(format!(
                "the machine has {VERSIONS_MAX} versions, which is the most: delete some"
            )));
        }
        let number = self
            .last
            .checked_add(1)
            .ok_or_else(|| quota("the machine's numbers of versions are used up".into()))?;
        self.last = number;
        self.live.insert(number, version);
        Ok(number)
    }

    /// Takes a version away; gives it, if it was there.
    ///
    /// # Errors
    /// [`Error::Conflict`] (`ConflictException`) while an alias leads to it.
    pub(super) fn delete(&mut self, number: u32) -> Result<Option<PublishedVersion>, Error> {
        let leads = |alias: &Alias| alias.routes.iter().any(|route| route.version == number);
        if let Some((name, _)) = self.aliases.iter().find(|(_, alias)| leads(alias)) {
            let message =
                format!("the alias {name} leads to version {number}: lead it elsewhere, or delete it first");
            return Err(Error::conflict("ConflictException", message));
        }
        Ok(self.live.remove(&number))
    }

    /// Makes an alias; gives when it was made, which is earlier where the same one is there.
    ///
    /// # Errors
    /// [`Error::Conflict`] (`ConflictException`) when another one has the name, [`Error::Limit`]
    /// (`ServiceQuotaExceededException`), and as [`Published::check`].
    pub(super) fn create_alias(&mut self, name: &str, alias: Alias) -> Result<u64, Error> {
        self.check(&alias.routes)?;
        let sorted = |alias: &Alias| {
            let mut routes = alias.routes.clone();
            routes.sort_unstable();
            routes
        };
        if let Some(known) = self.aliases.get(name) {
            if known.description == alias.description && sorted(known) == sorted(&alias) {
                return Ok(known.created_ms);
            }
            let message =
                format!("the alias {name} exists and leads elsewhere, or has another description: update it");
            return Err(Error::conflict("ConflictException", message));
        }
        if self.aliases.len() >= ALIASES_MAX {
            return Err(quota(format!(
                "the machine has {ALIASES_MAX} aliases, which is the most: delete some"
            )));
        }
        let created_ms = alias.created_ms;
        self.aliases.insert(name.to_owned(), alias);
        Ok(created_ms)
    }

    /// Whether an alias may lead so.
    ///
    /// # Errors
    /// [`Error::Invalid`] (`InvalidRoutingConfiguration`).
    pub(super) fn check(&self, routes: &[Route]) -> Result<(), Error> {
        let wrong = |why: String| Err(Error::invalid("InvalidRoutingConfiguration", why));
        if routes.is_empty() || routes.len() > ROUTES_MAX {
            return wrong(format!(
                "an alias leads to 1 or {ROUTES_MAX} versions, this one to {}",
                routes.len()
            ));
        }
        if let [one, other] = routes
            && one.version == other.version
        {
            return wrong(format!(
                "version {} is named twice: name two versions, or one with the weight 100",
                one.version
            ));
        }
        let sum: u32 = routes.iter().map(|route| u32::from(route.weight)).sum();
        if sum != WEIGHTS {
            return wrong(format!("the weights are {sum} together: they have to be {WEIGHTS}"));
        }
        match routes.iter().find(|route| !self.live.contains_key(&route.version)) {
            None => Ok(()),
            Some(route) => {
                wrong(format!("the machine has no version {}: publish one, or name another", route.version))
            }
        }
    }
}

fn quota(message: String) -> Error {
    Error::Limit { code: "ServiceQuotaExceededException".to_owned(), message }
}

/// One of several with weights of 100 together; the first where there is only one.
pub(super) fn draw<'a, T>(routes: &'a [(T, u8)], dice: &mut Dice) -> Option<&'a T> {
    let (first, rest) = routes.split_first()?;
    if rest.is_empty() {
        return Some(&first.0);
    }
    let mut left = dice.below(WEIGHTS as usize);
    for (what, weight) in routes {
        match left.checked_sub(usize::from(*weight)) {
            None => return Some(what),
            Some(less) => left = less,
        }
    }
    Some(&first.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(revision: u32) -> PublishedVersion {
        PublishedVersion { revision, created_ms: 1, description: None }
    }

    fn alias(routes: &[(u32, u8)]) -> Alias {
        let routes = routes.iter().map(|&(version, weight)| Route { version, weight }).collect();
        Alias { routes, description: String::new(), created_ms: 7, updated_ms: 7 }
    }

    fn with_versions(count: u32) -> Published {
        let mut published = Published::default();
        for revision in 1..=count {
            assert_eq!(published.publish(version(revision)).expect("published"), revision);
        }
        published
    }

    #[test]
    fn a_deleted_versions_number_is_never_given_again() {
        let mut published = with_versions(2);
        assert_eq!(published.delete(2).expect("deleted"), Some(version(2)));
        assert_eq!(published.delete(2).expect("nothing to delete"), None);
        assert_eq!(published.publish(version(2)).expect("published"), 3);
        let text = serde_json::to_string(&published).expect("JSON");
        assert_eq!(serde_json::from_str::<Published>(&text).expect("the same"), published);
    }

    #[test]
    fn versions_and_aliases_have_their_most() {
        let mut published = with_versions(1_000);
        let full = published.publish(version(1_001)).expect_err("full");
        assert_eq!(full.code(), "ServiceQuotaExceededException");
        assert!(serde_json::to_string(&published).expect("JSON").len() < 64 << 10);
        for number in 0..ALIASES_MAX {
            published.create_alias(&format!("a{number}"), alias(&[(1, 100)])).expect("made");
        }
        let full = published.create_alias("more", alias(&[(1, 100)])).expect_err("full");
        assert_eq!(full.code(), "ServiceQuotaExceededException");
    }

    #[test]
    fn an_alias_leads_to_one_or_two_versions_that_are_there_with_100_together() {
        let published = with_versions(3);
        let check = |routes: &[(u32, u8)]| published.check(&alias(routes).routes);
        for right in [&[(1, 100)][..], &[(1, 100), (2, 0)], &[(3, 1), (1, 99)]] {
            assert!(check(right).is_ok(), "{right:?}");
        }
        for wrong in [
            &[][..],
            &[(1, 99)],
            &[(1, 50), (2, 40)],
            &[(1, 50), (1, 50)],
            &[(9, 100)],
            &[(1, 40), (2, 40), (3, 20)],
        ] {
            assert_eq!(check(wrong).expect_err("refused").code(), "InvalidRoutingConfiguration", "{wrong:?}");
        }
    }

    #[test]
    fn the_same_alias_again_is_the_one_that_is_there_and_another_is_a_conflict() {
        let mut published = with_versions(2);
        published.create_alias("PROD", alias(&[(1, 30), (2, 70)])).expect("made");
        let again = Alias { created_ms: 99, ..alias(&[(2, 70), (1, 30)]) };
        assert_eq!(published.create_alias("PROD", again).expect("the same"), 7);
        let other = published.create_alias("PROD", alias(&[(2, 100)])).expect_err("another");
        assert_eq!(other.code(), "ConflictException");
        assert_eq!(published.delete(1).expect_err("led to").code(), "ConflictException");
    }

    #[test]
    fn starts_are_drawn_as_often_as_their_weights_say() {
        let mut dice = Dice::new(7);
        let mut drawn =
            |routes: &[(char, u8)]| (0..10_000).filter(|_| draw(routes, &mut dice) == Some(&'a')).count();
        let thirty = drawn(&[('a', 30), ('b', 70)]);
        assert!((2_700..3_300).contains(&thirty), "{thirty}");
        assert_eq!(drawn(&[('a', 0), ('b', 100)]), 0);
        assert_eq!(drawn(&[('b', 0), ('a', 100)]), 10_000);
        assert_eq!(drawn(&[('a', 100)]), 10_000);
        assert_eq!(drawn(&[]), 0);
    }
}
