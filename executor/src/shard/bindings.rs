//! Which worker pool serves a function name.
//!
//! A Task's function is its `Resource`, or, for `arn:aws:states:::lambda:invoke`, the `FunctionName` of its arguments.
//! Patterns are tried in the order of the configuration; `*` stands for any text. Answers are remembered, within a bound.

use std::collections::HashMap;
use std::sync::Arc;

use super::handle::Binding;

/// Function names whose answer is remembered.
const REMEMBERED_MAX: usize = 4_096;

/// Index of a pool in [`Bindings::pools`].
pub type PoolIndex = u16;

/// Patterns and pools.
#[derive(Debug)]
pub struct Bindings {
    rules: Arc<[Binding]>,
    pools: Vec<String>,
    remembered: HashMap<String, Option<PoolIndex>, foldhash::fast::RandomState>,
}

impl Bindings {
    /// Rules in order.
    #[must_use]
    pub fn new(rules: Arc<[Binding]>) -> Self {
        let mut pools: Vec<String> = rules.iter().map(|rule| rule.pool.clone()).collect();
        pools.sort_unstable();
        pools.dedup();
        pools.truncate(usize::from(u16::MAX));
        Self { rules, pools, remembered: HashMap::default() }
    }

    /// The names of the pools that some rule binds to.
    #[must_use]
    pub fn pools(&self) -> &[String] {
        &self.pools
    }

    /// The pool of this name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<PoolIndex> {
        self.pools.binary_search_by(|pool| pool.as_str().cmp(name)).ok().and_then(|at| u16::try_from(at).ok())
    }

    /// The pool that serves a function.
    pub fn resolve(&mut self, function: &str) -> Option<PoolIndex> {
        if let Some(known) = self.remembered.get(function) {
            return *known;
        }
        let rule = self.rules.iter().find(|rule| matches(&rule.pattern, function));
        let found = rule.and_then(|rule| self.pool(&rule.pool));
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.clear();
        }
        self.remembered.insert(function.to_owned(), found);
        found
    }
}

/// Whether the text matches the pattern, in which `*` stands for any text. Time is the product of both lengths at worst.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on when a later part does not fit: after the last star, one byte further in the text.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            retry = Some((p + 1, t));
            p += 1;
        } else if p < pattern.len() && pattern[p] == text[t] {
            p += 1;
            t += 1;
        } else if let Some((after_star, from)) = retry {
            p = after_star;
            t = from + 1;
            retry = Some((after_star, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, pool: &str) -> Binding {
        Binding { pattern: pattern.to_owned(), pool: pool.to_owned() }
    }

    #[test]
    fn a_star_stands_for_any_text_and_nothing_else_does() {
        let arn = "arn:aws:lambda:us-east-1:123456789012:function:orders-pay";
        for pattern in
            ["*", arn, "*:function:orders-*", "arn:*:function:*pay", "arn:aws:lambda:*:*:function:*", "**"]
        {
            assert!(matches(pattern, arn), "{pattern}");
        }
        for pattern in ["", "arn", "*:function:orders", "orders-*", "*x*", "arn:aws:lambda:?s-east-1*"] {
            assert!(!matches(pattern, arn), "{pattern}");
        }
    }

    #[test]
    fn the_first_rule_that_matches_wins() {
        let rules = [rule("*:pay", "payments"), rule("*", "rest")];
        let mut bindings = Bindings::new(rules.into());
        let (payments, rest) = (bindings.pool("payments"), bindings.pool("rest"));
        assert!(payments.is_some() && rest.is_some() && payments != rest);
        assert_eq!(bindings.resolve("function:pay"), payments);
        assert_eq!(bindings.resolve("function:ship"), rest);
        assert_eq!(Bindings::new([].into()).resolve("function:pay"), None);
    }
}
