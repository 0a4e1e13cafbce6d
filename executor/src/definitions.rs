//! Programs by the hash of their definition: compiled once per node, kept in the store for ever.
//!
//! Invariants: a program is handed out only after its definition is durable; at most [`limits::PROGRAMS_MAX`] programs
//! stay compiled, others are read again from the store. What may fail: the store; a definition that does not compile.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use asl::{Dialect, Program};
use ids::DefinitionHash;

use crate::limits;

type Programs = HashMap<(DefinitionHash, Dialect), Arc<Program>, foldhash::fast::RandomState>;

/// The node's programs. Shards ask it once per machine, and keep the answer.
#[derive(Debug, Default)]
pub struct Definitions {
    programs: RwLock<Programs>,
}

impl Definitions {
    /// A program that is compiled already.
    #[must_use]
    pub fn compiled(&self, hash: &DefinitionHash, dialect: Dialect) -> Option<Arc<Program>> {
        let programs = self.programs.read().unwrap_or_else(PoisonError::into_inner);
        programs.get(&(*hash, dialect)).map(Arc::clone)
    }

    /// Keeps a compiled program.
    fn keep(&self, program: &Arc<Program>) {
        let mut programs = self.programs.write().unwrap_or_else(PoisonError::into_inner);
        if programs.len() >= limits::PROGRAMS_MAX {
            programs.retain(|_, kept| Arc::strong_count(kept) > 1);
        }
        if programs.len() >= limits::PROGRAMS_MAX {
            programs.clear();
        }
        programs.insert((program.hash, program.dialect), Arc::clone(program));
    }
}
