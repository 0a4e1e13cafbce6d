//! Where integrations get credentials from.

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use token_cache::{CredentialError, CredentialKey, Credentials};

/// Gives credentials, usually from memory.
pub trait CredentialSource {
    /// Credentials that have not expired.
    fn get<'a>(&'a self, key: &'a CredentialKey) -> LocalBoxFuture<'a, Result<Arc<Credentials>, CredentialError>>;
}
