//! Temporary credentials by role, fetched once and shared.
//!
//! Purpose: an executor asks for a role's credentials with every call of a cloud API; the cache answers from memory.
//! Invariants: at most one fetch of a key is under way, however many ask; what is handed out has not expired; a hit takes no
//! lock and touches nothing that another thread writes; credentials reach no message and are wiped when dropped; the number of
//! entries, of fetches and of bytes that are read of an answer is bounded. What may fail: the provider, with
//! [`CredentialError`], which says whether to try again.
//!
//! Rooms, from the ground up: `slots` (what is known of each key: pure), `cache` ([`TokenCache`]: one for a node, a lock and
//! the fetches), `local` ([`LocalCache`]: one for a shard), [`providers`] (who gives credentials).

mod cache;
mod local;
#[cfg(all(test, feature = "model"))]
mod model;
pub mod providers;
mod settings;
mod slots;
mod sync;

use std::sync::Arc;
use std::time::SystemTime;

use sign::Keys;
use zeroize::Zeroizing;

pub use cache::TokenCache;
pub use local::{Lease, LocalCache};
pub use providers::Provider;
pub use settings::{Now, Settings};

/// Whose credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CredentialKey {
    /// ARN of the role that is assumed, or the name of what else gives credentials.
    pub role: Arc<str>,
    /// The session's name or scope: credentials of two scopes are never mixed up.
    pub session: Arc<str>,
}

impl CredentialKey {
    /// A key.
    pub fn new(role: impl Into<Arc<str>>, session: impl Into<Arc<str>>) -> Self {
        Self { role: role.into(), session: session.into() }
    }
}

/// What a provider gave.
#[derive(PartialEq, Eq)]
pub struct Credentials {
    /// `AccessKeyId`, `SecretId`; empty for a bearer token.
    pub id: String,
    /// `SecretAccessKey`, `SecretKey`; empty for a bearer token.
    pub secret: Zeroizing<String>,
    /// `SessionToken`, `Token`, `access_token`.
    pub token: Option<Zeroizing<String>>,
    /// When the other side no longer takes them, by our clock; `None`: never.
    pub expires_at: Option<SystemTime>,
}

impl Credentials {
    /// What requests are signed with.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys { id: self.id.clone(), secret: self.secret.clone(), token: self.token.clone() }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, secret: _, token: _, expires_at } = self;
        f.debug_struct("Credentials").field("id", id).field("expires_at", expires_at).finish_non_exhaustive()
    }
}

/// Why there are no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The role may not be assumed, or is none.
    #[error("the role {role} cannot be assumed: {why}")]
    Refused {
        /// Which.
        role: Arc<str>,
        /// In the words of whoever refused it.
        why: Arc<str>,
    },
    /// Nobody answers, and what was fetched before has expired.
    #[error("no credentials for {role} can be had now: {why}")]
    Unavailable {
        /// Of which role.
        role: Arc<str>,
        /// What was tried.
        why: Arc<str>,
    },
}

impl CredentialError {
    /// Trying again is of no use before somebody changes something.
    pub fn refused(key: &CredentialKey, why: impl std::fmt::Display) -> Self {
        Self::Refused { role: Arc::clone(&key.role), why: why.to_string().into() }
    }

    /// It may work when tried again.
    pub fn unavailable(key: &CredentialKey, why: impl std::fmt::Display) -> Self {
        Self::Unavailable { role: Arc::clone(&key.role), why: why.to_string().into() }
    }
}
