//! Keys and tokens by the node's own cache, from a provider that counts, and peers that know what it gave.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tasks::{CredentialSource, Signer};
use token_cache::providers::Fetch;
use token_cache::{CredentialError, CredentialKey, Credentials, Provider, Settings, TokenCache};
use tokio::runtime::Handle;

/// The time of signatures; it stands still.
pub const NOW_MS: u64 = 1_700_000_000_000;

/// The cache, and its clock.
pub struct Cached {
    cache: Arc<TokenCache>,
    clock: Arc<AtomicU64>,
}

impl Cached {
    pub fn new(provider: impl FnOnce(token_cache::Now) -> Arc<dyn Provider>) -> Rc<Self> {
        let clock = Arc::new(AtomicU64::new(NOW_MS));
        let read = Arc::clone(&clock);
        let now: token_cache::Now = Arc::new(move || read.load(Ordering::SeqCst));
        let provider = provider(Arc::clone(&now));
        let cache = TokenCache::new(provider, Settings::default(), now, Handle::current(), Arc::default());
        Rc::new(Self { cache, clock })
    }

    /// So that what was fetched is no longer so young that a refusal would change nothing.
    pub fn advance(&self, by: Duration) {
        self.clock.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }
}

impl CredentialSource for Cached {
    fn get<'a>(
        &'a self,
        key: &'a CredentialKey,
    ) -> LocalBoxFuture<'a, Result<Arc<Credentials>, CredentialError>> {
        Box::pin(self.cache.get(key))
    }

    fn replace<'a>(
        &'a self,
        key: &'a CredentialKey,
        refused: &'a Arc<Credentials>,
    ) -> LocalBoxFuture<'a, Arc<Credentials>> {
        Box::pin(self.cache.replace(key, refused))
    }

    fn now_ms(&self) -> u64 {
        NOW_MS
    }
}

/// Issues numbered keys, which expire when a test says so.
#[derive(Debug, Default)]
pub struct Issuer {
    issued: AtomicU64,
    expired: AtomicU64,
}

impl Issuer {
    pub fn issued(&self) -> u64 {
        self.issued.load(Ordering::SeqCst)
    }

    /// Keys that were issued so far are no longer taken.
    pub fn expire(&self) {
        self.expired.store(self.issued(), Ordering::SeqCst);
    }

    /// The secret of whoever makes this claim, if it is of a key that was issued and has not expired.
    pub fn secret_of(&self, claim: &sign::Claim) -> Option<zeroize::Zeroizing<String>> {
        let number: u64 = claim.id.strip_prefix("ID")?.parse().ok()?;
        let token = claim.token.as_deref().map(String::as_str) == Some(&*format!("veiled-{number}"));
        let known = token && number > self.expired.load(Ordering::SeqCst) && number <= self.issued();
        known.then(|| format!("hidden-{number}").into())
    }
}

/// A provider that asks the issuer.
pub struct Source(pub Arc<Issuer>);

impl Provider for Source {
    fn fetch<'a>(&'a self, key: &'a CredentialKey) -> Fetch<'a> {
        let number = self.0.issued.fetch_add(1, Ordering::SeqCst) + 1;
        let given = match &*key.role {
            "arn:aws:iam::123456789012:role/orders" => Ok(Credentials {
                id: format!("ID{number}"),
                secret: format!("hidden-{number}").into(),
                token: Some(format!("veiled-{number}").into()),
                expires_at: None,
            }),
            _ => Err(CredentialError::refused(key, "it trusts somebody else")),
        };
        Box::pin(std::future::ready(given))
    }
}

/// A signer whose keys the issuer has given, and the cache between both.
pub fn signer(issuer: &Arc<Issuer>) -> (Rc<Signer>, Rc<Cached>) {
    let cached = Cached::new(|_| Arc::new(Source(Arc::clone(issuer))));
    let source = Rc::clone(&cached) as Rc<dyn CredentialSource>;
    (Rc::new(Signer::new(source, "".into())), cached)
}
