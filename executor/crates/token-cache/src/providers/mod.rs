//! Who gives credentials.
//!
//! Invariants: a provider keeps nothing of what it gives; what it says of expiry is by our clock, whatever the other side's
//! says; an error names the role and carries no secret. Signed requests follow no redirects.

mod auth_service;
mod aws;
mod fixed;
mod oauth;
mod sts;
mod tencent;
mod times;
mod transport;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::{CredentialError, CredentialKey, Credentials};

pub use auth_service::{AuthService, AuthServiceSettings};
pub use aws::AwsSts;
pub use fixed::{Fixed, Vendor};
pub use oauth::{ClientAuthentication, OAuth, OAuthClient, OAuthClients};
pub use tencent::TencentSts;
pub use transport::{CONNECT_WITHIN, HttpTransport, Post, Reply, Transport};

/// A fetch under way.
pub type Fetch<'a> = BoxFuture<'a, Result<Credentials, CredentialError>>;

/// Who gives credentials for a key. The cache bounds how long it may take, and never asks twice at once for the same key.
pub trait Provider: Send + Sync + 'static {
    /// Asks for them.
    fn fetch<'a>(&'a self, key: &'a CredentialKey) -> Fetch<'a>;
}

/// Several providers, each for the roles that begin with a prefix; the first that fits is asked.
#[derive(Default)]
pub struct Routes(Vec<(String, Arc<dyn Provider>)>);

impl Routes {
    /// One more; an empty prefix fits every role.
    #[must_use]
    pub fn and(mut self, prefix: impl Into<String>, provider: Arc<dyn Provider>) -> Self {
        self.0.push((prefix.into(), provider));
        self
    }
}

impl Provider for Routes {
    fn fetch<'a>(&'a self, key: &'a CredentialKey) -> Fetch<'a> {
        match self.0.iter().find(|(prefix, _)| key.role.starts_with(prefix.as_str())) {
            Some((_, provider)) => provider.fetch(key),
            None => {
                let why = "nobody gives credentials for such a role here; add who does to --credentials";
                Box::pin(std::future::ready(Err(CredentialError::refused(key, why))))
            }
        }
    }
}
