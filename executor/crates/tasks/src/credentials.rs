//! Where integrations get credentials from, and how they sign with them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::LocalBoxFuture;
use sign::{SignError, Unsigned};
use token_cache::{CredentialError, CredentialKey, Credentials};

use crate::http::Outbound;
use crate::request::{Failure, Origin};

/// Gives credentials, usually from memory.
pub trait CredentialSource {
    /// Credentials that have not expired.
    fn get<'a>(
        &'a self,
        key: &'a CredentialKey,
    ) -> LocalBoxFuture<'a, Result<Arc<Credentials>, CredentialError>>;
}

/// Signs requests as the role of whoever asks.
pub struct Signer {
    source: Rc<dyn CredentialSource>,
    /// In the place of a role, for machines without one.
    default_role: Arc<str>,
}

impl Signer {
    /// With these credentials.
    #[must_use]
    pub fn new(source: Rc<dyn CredentialSource>, default_role: Arc<str>) -> Self {
        Self { source, default_role }
    }

    /// The credentials of a machine's role. All executions of a machine share a session, which is named after it.
    ///
    /// # Errors
    /// `States.Permissions` where the role may not be assumed, else `States.TaskFailed`.
    pub async fn credentials(&self, origin: &Origin) -> Result<Arc<Credentials>, Failure> {
        let role = if origin.role_arn.is_empty() {
            Arc::clone(&self.default_role)
        } else {
            (*origin.role_arn).into()
        };
        if role.is_empty() {
            let cause = "The state machine has no role, and this node gives none to such machines: give it a role, or start \
                         the node with --default-role ROLE.";
            return Err(Failure::new("States.Permissions", cause.to_owned()));
        }
        let key = CredentialKey::new(role, &*origin.machine_arn);
        self.source.get(&key).await.map_err(|error| {
            let name = match &error {
                CredentialError::Refused { .. } => "States.Permissions",
                CredentialError::Unavailable { .. } => "States.TaskFailed",
            };
            Failure::new(name, format!("The task has no credentials: {error}."))
        })
    }

    /// Signs a request to an AWS service in a region.
    ///
    /// # Errors
    /// As [`Signer::credentials`]; `States.Runtime` for what cannot be signed.
    pub async fn sigv4(
        &self,
        request: &mut Outbound,
        origin: &Origin,
        (service, region): (&str, &str),
    ) -> Result<(), Failure> {
        let keys = self.credentials(origin).await?.keys();
        let Outbound { method, url, headers, body, .. } = request;
        let mut unsigned = Unsigned { method, url: url.as_str(), headers, body };
        sign::sigv4::sign(&mut unsigned, &keys, service, region, unix_seconds())
            .map_err(|error| unsigned_failure(&error))
    }

    /// Signs a request to a service of Tencent Cloud.
    ///
    /// # Errors
    /// As [`Signer::sigv4`].
    pub async fn tc3(&self, request: &mut Outbound, origin: &Origin, service: &str) -> Result<(), Failure> {
        let keys = self.credentials(origin).await?.keys();
        let Outbound { method, url, headers, body, .. } = request;
        let mut unsigned = Unsigned { method, url: url.as_str(), headers, body };
        sign::tc3::sign(&mut unsigned, &keys, service, unix_seconds())
            .map_err(|error| unsigned_failure(&error))
    }
}

fn unsigned_failure(error: &SignError) -> Failure {
    Failure::runtime(format!("{error}."))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
