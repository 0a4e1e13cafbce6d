//! What the STS of both vendors have in common: a signed POST, and its answer.
//!
//! Invariant: a request that is refused for its time is made once more, by the server's clock, and never twice.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use sign::{Keys, SignError, Unsigned};
use zeroize::Zeroizing;

use super::times::Times;
use super::transport::{Post, Reply, Transport};
use crate::{CredentialError, CredentialKey, Credentials, Now};

/// How a vendor wants to be asked, and what its answers mean.
pub(super) trait Dialect: Send + Sync {
    /// Headers and body that ask for a role's keys.
    fn request(&self, key: &CredentialKey) -> Result<(HeaderMap, Vec<u8>), CredentialError>;

    /// Signs the request.
    fn sign(&self, request: &mut Unsigned<'_>, keys: &Keys, unix_seconds: u64) -> Result<(), SignError>;

    /// Reads the answer; `None` where it is none of an STS.
    fn read(&self, key: &CredentialKey, reply: &Reply) -> Option<Result<Given, Told>>;
}

/// Keys as an STS gives them.
pub(super) struct Given {
    pub id: String,
    pub secret: String,
    pub token: String,
    /// When they expire, in Unix seconds of the server's clock.
    pub expiry: u64,
}

/// What an error of an STS says.
pub(super) enum Told {
    /// The signature's time is too far from the server's.
    Time(CredentialError),
    /// Anything else.
    Error(CredentialError),
}

impl From<CredentialError> for Told {
    fn from(error: CredentialError) -> Self {
        Self::Error(error)
    }
}

/// An STS, and the keys that may assume roles there.
pub(super) struct Sts {
    transport: Arc<dyn Transport>,
    url: String,
    keys: Keys,
    times: Times,
}

impl Sts {
    pub fn new(transport: Arc<dyn Transport>, url: String, keys: Keys, now: Now) -> Self {
        Self { transport, url, keys, times: Times::new(now) }
    }

    /// Keys for a role.
    pub async fn assume(
        &self,
        dialect: &impl Dialect,
        key: &CredentialKey,
    ) -> Result<Credentials, CredentialError> {
        let told = match self.ask(dialect, key).await {
            // Our clock is wrong, or theirs: the next request is signed with theirs.
            Err(Told::Time(_)) => self.ask(dialect, key).await,
            told => told,
        };
        told.map_err(|(Told::Time(error) | Told::Error(error))| error)
    }

    /// Asks once. An error is one of time only where something was learnt from it.
    async fn ask(&self, dialect: &impl Dialect, key: &CredentialKey) -> Result<Credentials, Told> {
        let unavailable = |why: &dyn std::fmt::Display| CredentialError::unavailable(key, why);
        let (mut headers, body) = dialect.request(key)?;
        let mut unsigned =
            Unsigned { method: &Method::POST, url: &self.url, headers: &mut headers, body: &body };
        let signed = dialect.sign(&mut unsigned, &self.keys, self.times.theirs());
        signed.map_err(|error| unavailable(&error))?;
        let sent_ms = self.times.now_ms();
        let post = Post { url: self.url.clone(), headers, body: Bytes::from(body) };
        let reply = self.transport.post(post).await.map_err(|why| unavailable(&why))?;
        match dialect.read(key, &reply) {
            Some(Ok(Given { id, secret, token, expiry })) => Ok(Credentials {
                id,
                secret: Zeroizing::new(secret),
                token: Some(Zeroizing::new(token)),
                expires_at: Some(self.times.ours(expiry, &reply, sent_ms)),
            }),
            Some(Err(Told::Time(error))) if !self.times.learn(&reply) => Err(Told::Error(error)),
            Some(Err(told)) => Err(told),
            None => {
                let (url, status) = (&self.url, reply.status);
                let why =
                    format!("{url} has answered with status {status} and something else than an STS does");
                Err(Told::Error(unavailable(&why)))
            }
        }
    }
}
