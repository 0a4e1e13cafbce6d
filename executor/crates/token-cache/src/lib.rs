//! Temporary credentials by role, fetched once and shared.
//!
//! Purpose: an executor asks for a role's credentials with every call of a cloud API; the cache answers from memory.
//! Invariants: at most one fetch of a key is under way, however many ask; what is handed out has not expired; credentials reach
//! no message and are wiped when dropped; the number of entries is bounded. What may fail: the provider, with
//! [`CredentialError`], which says whether to try again.

use std::sync::Arc;
use std::time::SystemTime;

use zeroize::Zeroizing;

/// Whose credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CredentialKey {
    /// ARN of the role that is assumed, or the name of what else gives credentials.
    pub role: Arc<str>,
    /// The session's name or scope: credentials of two scopes are never mixed up.
    pub session: Arc<str>,
}

/// What a provider gave.
pub struct Credentials {
    /// `AccessKeyId`, `SecretId`; empty for a bearer token.
    pub id: String,
    /// `SecretAccessKey`, `SecretKey`; empty for a bearer token.
    pub secret: Zeroizing<String>,
    /// `SessionToken`, `Token`, `access_token`.
    pub token: Option<Zeroizing<String>>,
    /// When the other side no longer takes them; `None`: never.
    pub expires_at: Option<SystemTime>,
}

/// Why there are no credentials.
#[derive(Debug, Clone, thiserror::Error)]
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
