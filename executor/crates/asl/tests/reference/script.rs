//! What tasks answer: a function of the state, the iterations around it and the instant, so that both interpreters are
//! told the same whatever the order in which they ask.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value as Json;

/// A task's work.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// How long it takes, in milliseconds: never whole seconds, in which timeouts are counted.
    pub after: u64,
    /// How often a heartbeat comes, in milliseconds; 0 is never.
    pub beat: u64,
    pub answer: Answer,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Succeeds(Json),
    Fails(String, String),
    /// Only where a timeout ends it.
    Never,
}

/// A seed, and the outputs that tasks may give.
#[derive(Debug, Clone)]
pub struct Script {
    pub seed: u64,
    pub outputs: Vec<Json>,
}

/// Names that tasks fail with.
pub const ERRORS: [&str; 3] = ["E", "F", "Custom.Error"];

impl Script {
    pub fn reply(&self, state: &str, around: &[(&str, u32)], at: u64, input: &Json, may_hang: bool) -> Reply {
        let draw = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (self.seed, salt, state, around, at).hash(&mut hasher);
            hasher.finish()
        };
        let choice = draw(0);
        let answer = match choice % 8 {
            0 if may_hang => Answer::Never,
            0..=2 => Answer::Fails(
                ERRORS[(choice / 8) as usize % ERRORS.len()].to_owned(),
                "a worker's".to_owned(),
            ),
            3 | 4 => Answer::Succeeds(input.clone()),
            _ => Answer::Succeeds(self.outputs[(choice / 8) as usize % self.outputs.len()].clone()),
        };
        // Nor are heartbeats, so that none comes at the instant at which it is missed.
        let beat = if draw(1) % 2 == 0 { 0 } else { draw(4) % 4 * 1_000 + draw(5) % 999 + 1 };
        Reply { after: draw(2) % 8 * 1_000 + draw(3) % 999 + 1, beat, answer }
    }
}
