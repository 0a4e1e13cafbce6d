//! Programs by the hash of their definition: compiled once per node, kept in the store for ever.
//!
//! Invariants: a program is handed out only after its definition is durable; at most [`limits::PROGRAMS_MAX`]
//! programs stay compiled, others are read again from the store. What may fail: the store; a definition that
//! does not compile.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use asl::{Dialect, Program};
use bytes::Bytes;
use ids::DefinitionHash;
use journal::{Store, StoreError};

use crate::error::Error;
use crate::limits;

type Programs = HashMap<(DefinitionHash, Dialect), Arc<Program>, foldhash::fast::RandomState>;

/// The node's programs. Shards ask it once per machine, and keep the answer.
#[derive(Debug, Default)]
pub struct Definitions {
    programs: RwLock<Programs>,
}

/// Why programs cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// Nobody has put these definitions.
    #[error("the store has no definition with {} of the hashes", .0.len())]
    Missing(Vec<DefinitionHash>),
    /// The store holds it, and this version of the node does not accept it.
    #[error("a stored definition is refused: {0}")]
    Invalid(String),
    /// The store cannot say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Definitions {
    /// A program that is compiled already.
    #[must_use]
    pub fn compiled(&self, hash: &DefinitionHash, dialect: Dialect) -> Option<Arc<Program>> {
        let programs = self.programs.read().unwrap_or_else(PoisonError::into_inner);
        programs.get(&(*hash, dialect)).map(Arc::clone)
    }

    /// Compiles a definition and keeps it in the store; returns when it is durable. Sending the same again is
    /// harmless.
    ///
    /// # Errors
    /// [`Error::InvalidDefinition`] with every problem; the store.
    pub async fn put(
        &self,
        store: &dyn Store,
        definition: Bytes,
        dialect: Dialect,
    ) -> Result<DefinitionHash, Error> {
        let program = compile(definition.clone(), dialect).await?;
        if self.compiled(&program.hash, dialect).is_some() {
            return Ok(program.hash);
        }
        store.put(key(&program.hash), definition).await?;
        self.keep(&program);
        Ok(program.hash)
    }

    /// The program of a hash, from memory or else from the store; `None` where nobody has put the definition.
    ///
    /// # Errors
    /// The store; [`Error::InvalidDefinition`] where the definition does not compile in this dialect.
    pub async fn load(
        &self,
        store: &dyn Store,
        hash: DefinitionHash,
        dialect: Dialect,
    ) -> Result<Option<Arc<Program>>, Error> {
        if let Some(program) = self.compiled(&hash, dialect) {
            return Ok(Some(program));
        }
        let Some(definition) = store.get(key(&hash)).await? else { return Ok(None) };
        let program = compile(definition.clone(), dialect).await?;
        if program.hash != hash {
            let text = "a definition does not have the hash that it is kept under".to_owned();
            return Err(StoreError::Corrupt(text).into());
        }
        self.keep(&program);
        Ok(Some(program))
    }

    /// Programs that a shard needs, from the store where they are not compiled.
    ///
    /// # Errors
    /// [`LoadError`]; then what could be read stays compiled.
    pub async fn load_all(
        &self,
        store: &dyn Store,
        wanted: &[(DefinitionHash, Dialect)],
    ) -> Result<Vec<Arc<Program>>, LoadError> {
        let mut programs = Vec::with_capacity(wanted.len());
        let mut missing = Vec::new();
        for (hash, dialect) in wanted {
            match self.load(store, *hash, *dialect).await {
                Ok(Some(program)) => programs.push(program),
                Ok(None) => missing.push(*hash),
                Err(Error::Store(error)) => return Err(LoadError::Store(error)),
                Err(other) => return Err(LoadError::Invalid(other.to_string())),
            }
        }
        if missing.is_empty() { Ok(programs) } else { Err(LoadError::Missing(missing)) }
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

/// Compiles beside the thread that asks: a large definition takes a tenth of a second, and a shard has better things to
/// do.
async fn compile(definition: Bytes, dialect: Dialect) -> Result<Arc<Program>, Error> {
    let compiled = tokio::task::spawn_blocking(move || Program::compile(&definition, dialect)).await;
    match compiled {
        Ok(Ok(compiled)) => Ok(compiled.program),
        Ok(Err(diagnostics)) => Err(Error::InvalidDefinition { diagnostics }),
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime goes away.
            Err(_) => Err(Error::ShardGone),
        },
    }
}

/// Where a definition is kept.
fn key(hash: &DefinitionHash) -> Bytes {
    let mut key = b"definition/".to_vec();
    key.extend_from_slice(hash);
    key.into()
}

#[cfg(test)]
mod tests {
    use journal::memory::MemoryStore;

    use super::*;

    const PASS: &[u8] = br#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#;

    #[tokio::test]
    async fn a_definition_that_was_put_is_found_by_its_hash_and_no_other_is() {
        let store = MemoryStore::new();
        let put = Definitions::default().put(&store, Bytes::from_static(PASS), Dialect::Asl).await;
        let hash = put.expect("compiles");
        let later = Definitions::default();
        assert!(later.compiled(&hash, Dialect::Asl).is_none());
        let program = later.load(&store, hash, Dialect::Asl).await.expect("the store answers");
        assert_eq!(program.expect("was put").hash, hash);
        assert!(later.compiled(&hash, Dialect::Asl).is_some());
        assert!(later.load(&store, [7; 32], Dialect::Asl).await.expect("the store answers").is_none());
    }

    #[tokio::test]
    async fn a_definition_that_does_not_compile_is_refused_with_every_problem_and_not_kept() {
        let store = MemoryStore::new();
        let wrong = br#"{"StartAt":"Q","States":{"P":{"Type":"Pass"}}}"#;
        let put = Definitions::default().put(&store, Bytes::from_static(wrong), Dialect::Asl).await;
        let Err(Error::InvalidDefinition { diagnostics }) = put else { panic!("refused: {put:?}") };
        assert!(diagnostics.len() >= 2, "{diagnostics:?}");
        let kept = store.scan(Bytes::from_static(b"definition/"), None, 1).await.expect("the store answers");
        assert!(kept.is_empty());
    }
}
