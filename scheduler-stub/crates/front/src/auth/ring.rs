//! The access keys that one reading of the credentials file gave, and what each may.
//!
//! Invariants: a ring never changes; secrets are wiped when it goes, and show in no debug output; a token is known by its hash
//! alone. Nothing here fails.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::rate::Rate;
use crate::operations::{Api, Right};

/// An access key.
#[derive(Clone, PartialEq)]
pub(super) struct Key {
    pub(super) id: Arc<str>,
    pub(super) secret: Zeroizing<String>,
    pub(super) account: Arc<str>,
    pub(super) apis: Vec<Api>,
    /// Of temporary keys.
    pub(super) token: Option<TokenHash>,
    /// From when on it is not known any more, in Unix seconds.
    pub(super) expires: Option<u64>,
    /// Whether a signature of it makes one change only.
    pub(super) once: bool,
    pub(super) rate: Option<Arc<Rate>>,
    pub(super) grants: Vec<Grant>,
    /// Whether the authorization service is asked for what `grants` do not give.
    pub(super) ask: bool,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("account", &self.account).finish_non_exhaustive()
    }
}

/// A token's hash: two of them may be compared in any time, for they do not tell the tokens.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TokenHash([u8; 32]);

impl TokenHash {
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// What a key may do on which machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) rights: Vec<Right>,
    /// Patterns of machines' names in which `*` is any text.
    pub(super) machines: Vec<String>,
}

impl Key {
    /// Whether its own grants give a right on a machine. What is about no machine takes a grant on all of them.
    pub(super) fn may(&self, right: Right, machine: Option<&str>) -> bool {
        let is_about = |pattern: &String| match machine {
            Some(machine) => fits(pattern, machine),
            None => pattern == "*",
        };
        self.grants.iter().any(|grant| grant.rights.contains(&right) && grant.machines.iter().any(is_about))
    }
}

/// All keys, by their id.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Ring(HashMap<Arc<str>, Key>);

impl Ring {
    pub(super) fn of(keys: impl IntoIterator<Item = Key>) -> Self {
        Self(keys.into_iter().map(|key| (Arc::clone(&key.id), key)).collect())
    }

    pub(super) fn get(&self, id: &str) -> Option<&Key> {
        self.0.get(id)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn asks(&self) -> bool {
        self.0.values().any(|key| key.ask)
    }

    /// Keys whose rate is the former one's have as many calls left as they had.
    pub(super) fn go_on_from(&mut self, former: &Self) {
        for (id, key) in &mut self.0 {
            let before = former.get(id).and_then(|key| key.rate.as_ref());
            if key.rate.as_ref() == before {
                key.rate = before.cloned();
            }
        }
    }
}

/// Whether a text fits a pattern in which `*` is any text.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(begin) else { return false };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_with_any_text_for_each_star() {
        for (pattern, text, expected) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "ab", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("a*b*c", "abc", true),
            ("a*a", "a", false),
            ("**", "x", true),
            ("订*", "订单", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    fn key(grants: &[(&[Right], &[&str])]) -> Key {
        let grants = grants.iter().map(|(rights, machines)| Grant {
            rights: rights.to_vec(),
            machines: machines.iter().map(|&machine| machine.to_owned()).collect(),
        });
        Key {
            id: "id".into(),
            secret: "made-up-secret".to_owned().into(),
            account: "1".into(),
            apis: vec![Api::Sfn],
            token: Some(TokenHash::of("made-up-token")),
            expires: None,
            once: false,
            rate: Some(Arc::new(Rate::new(1))),
            grants: grants.collect(),
            ask: false,
        }
    }

    #[test]
    fn a_key_may_what_one_of_its_grants_gives_and_nothing_else() {
        let key = key(&[
            (&[Right::Read, Right::Start], &["orders-*", "bill"]),
            (&[Right::Manage], &["bill"]),
            (&[Right::Read], &["*"]),
        ]);
        for (right, machine, expected) in [
            (Right::Read, Some("orders-eu"), true),
            (Right::Start, Some("orders-eu"), true),
            (Right::Manage, Some("orders-eu"), false),
            (Right::Start, Some("orders"), false),
            (Right::Start, Some("bill"), true),
            (Right::Manage, Some("bill"), true),
            (Right::Manage, Some("bills"), false),
            (Right::Read, Some("anything"), true),
            (Right::Read, None, true),
            (Right::Start, None, false),
            (Right::Manage, None, false),
        ] {
            assert_eq!(key.may(right, machine), expected, "{right:?} {machine:?}");
        }
    }

    #[test]
    fn a_key_that_is_read_again_has_as_many_calls_left_as_before() {
        let now = std::time::Duration::from_secs(1_795_767_330);
        let take = |ring: &Ring| ring.get("id").and_then(|key| key.rate.clone()).expect("a rate").take(now);
        let former = Ring::of([key(&[])]);
        assert!(take(&former) && !take(&former));
        let mut same = Ring::of([key(&[])]);
        same.go_on_from(&former);
        assert!(same == former && !take(&same));
        let mut faster = Ring::of([Key { rate: Some(Arc::new(Rate::new(2))), ..key(&[]) }]);
        faster.go_on_from(&former);
        assert!(faster != former && take(&faster));
    }

    #[test]
    fn secrets_show_in_no_debug_output() {
        let text = format!("{:?}", Ring::of([key(&[])]));
        assert!(text.contains("id") && !text.contains("made-up"), "{text}");
    }
}
