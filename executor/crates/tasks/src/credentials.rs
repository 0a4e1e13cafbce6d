//! Where integrations get credentials from, and how they sign with them.

use std::rc::Rc;
use std::sync::Arc;

use asl::Value;
use asl::value::JsonLimits;
use futures_util::future::LocalBoxFuture;
use sign::Unsigned;
use token_cache::{CredentialError, CredentialKey, Credentials};

use crate::errors;
use crate::http::{Client, Inbound, Outbound};
use crate::request::{Failure, Origin};

/// The longest name of a session, at AWS and at Tencent Cloud.
const SESSION_MAX: usize = 64;
const SESSION_PREFIX: &str = "myriad-";
/// What services answer when keys are none of theirs any more. Not among them: signatures that do not match, and rights.
const AWS_REFUSALS: [&str; 4] =
    ["ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"];
const TENCENT_REFUSALS: [&str; 3] =
    ["AuthFailure.InvalidSecretId", "AuthFailure.SecretIdNotFound", "AuthFailure.TokenFailure"];
/// An envelope with an error is shorter.
const TENCENT_REFUSAL_BYTES_MAX: usize = 4_096;

/// Gives credentials, usually from memory.
pub trait CredentialSource {
    /// Credentials that have not expired.
    fn get<'a>(
        &'a self,
        key: &'a CredentialKey,
    ) -> LocalBoxFuture<'a, Result<Arc<Credentials>, CredentialError>>;

    /// Others, if others can be had, in the place of credentials that whoever they are meant for does not take; else the same.
    fn replace<'a>(
        &'a self,
        key: &'a CredentialKey,
        refused: &'a Arc<Credentials>,
    ) -> LocalBoxFuture<'a, Arc<Credentials>>;

    /// What signatures say of the time: Unix time in milliseconds.
    fn now_ms(&self) -> u64;
}

/// How a request is signed.
#[derive(Debug, Clone, Copy)]
pub enum Scheme<'a> {
    /// As AWS has it.
    SigV4 {
        /// Which service.
        service: &'a str,
        /// In which region.
        region: &'a str,
    },
    /// As Tencent Cloud has it.
    Tc3 {
        /// Which service.
        service: &'a str,
    },
}

/// Sends requests that are signed as the role of whoever asks.
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

    /// Signs a request and sends it; once more, with other keys, where these are not taken any more. `unanswered` is the name of
    /// the error when no answer comes, of the service or of whoever gives the keys: it may be tried again, as the vendor's
    /// clients say of both.
    ///
    /// # Errors
    /// `States.Permissions` where the role may not be assumed, `States.Runtime` for what cannot be signed or may not be called,
    /// `States.DataLimitExceeded`, `unanswered`.
    pub async fn send(
        &self,
        client: &Client,
        request: &Outbound,
        origin: &Origin,
        scheme: Scheme<'_>,
        unanswered: &str,
    ) -> Result<Inbound, Failure> {
        let key = self.key(origin)?;
        let credentials = self.credentials(&key, unanswered).await?;
        let send = async |credentials: &Credentials| {
            let now = self.source.now_ms() / 1_000;
            let mut request = signed(request, credentials, scheme, now)?;
            // Not signed: whoever stands between may hang spans of its own below ours.
            origin.trace(&mut request.headers);
            let answer = client.send(request).await;
            answer.map_err(|error| Failure::of_call(&error, unanswered))
        };
        let answer = send(&credentials).await?;
        if !scheme.refuses_keys(&answer) {
            return Ok(answer);
        }
        let others = self.source.replace(&key, &credentials).await;
        if Arc::ptr_eq(&credentials, &others) { Ok(answer) } else { send(&others).await }
    }

    /// All executions of a machine share a session, which is named after it.
    fn key(&self, origin: &Origin) -> Result<CredentialKey, Failure> {
        let role = if origin.role_arn.is_empty() {
            Arc::clone(&self.default_role)
        } else {
            // It may come from an execution's data, and the cache knows more by their names: clients of connections, our own keys.
            ids::check_role(&origin.role_arn).map_err(|error| {
                Failure::new(errors::PERMISSIONS, format!("The task has no credentials: {error}."))
            })?;
            (*origin.role_arn).into()
        };
        if role.is_empty() {
            let cause = "The state machine has no role, and this node gives none to such machines: give it a role, or start \
                         the node with --default-role ROLE.";
            return Err(Failure::new(errors::PERMISSIONS, cause.to_owned()));
        }
        Ok(CredentialKey::new(role, session(&origin.machine_arn)))
    }

    async fn credentials(&self, key: &CredentialKey, unanswered: &str) -> Result<Arc<Credentials>, Failure> {
        self.source.get(key).await.map_err(|error| {
            let name = match &error {
                CredentialError::Refused { .. } => errors::PERMISSIONS,
                CredentialError::Unavailable { .. } => unanswered,
            };
            // What a peer has said may be a sentence.
            Failure::new(name, format!("Nothing was sent: {}.", error.to_string().trim_end_matches('.')))
        })
    }
}

/// A machine's name in the characters that a session may have.
fn session(machine_arn: &str) -> String {
    let name = machine_arn.rsplit(':').next().unwrap_or_default();
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "_=,.@-".contains(c) { c } else { '-' };
    let name = name.chars().map(allowed).take(SESSION_MAX - SESSION_PREFIX.len());
    SESSION_PREFIX.chars().chain(name).collect()
}

fn signed(
    request: &Outbound,
    credentials: &Credentials,
    scheme: Scheme<'_>,
    now: u64,
) -> Result<Outbound, Failure> {
    let mut request = request.clone();
    let Outbound { method, url, headers, body, .. } = &mut request;
    let mut unsigned = Unsigned { method, url: url.as_str(), headers, body };
    let keys = credentials.keys();
    let signed = match scheme {
        Scheme::SigV4 { service, region } => sign::sigv4::sign(&mut unsigned, &keys, service, region, now),
        Scheme::Tc3 { service } => sign::tc3::sign(&mut unsigned, &keys, service, now),
    };
    signed.map_err(|error| Failure::runtime(format!("{error}.")))?;
    Ok(request)
}

impl Scheme<'_> {
    /// Whether an answer says that the keys are unknown or have expired; other keys may then be taken.
    fn refuses_keys(self, answer: &Inbound) -> bool {
        match self {
            Self::SigV4 { .. } => {
                let kind = answer.headers.get("x-amzn-errortype").and_then(|kind| kind.to_str().ok());
                let kind = kind.and_then(|kind| kind.split(':').next());
                kind.is_some_and(|kind| AWS_REFUSALS.contains(&kind))
            }
            Self::Tc3 { .. } => {
                answer.body.len() <= TENCENT_REFUSAL_BYTES_MAX
                    && std::str::from_utf8(&answer.body).is_ok_and(|body| body.contains("AuthFailure"))
                    && Value::parse(&answer.body, JsonLimits::default()).is_ok_and(|answer| {
                        let code = answer.pointer("/Response/Error/Code").and_then(Value::as_str);
                        code.is_some_and(|code| TENCENT_REFUSALS.contains(&code))
                    })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_after_the_machine_in_characters_that_a_session_may_have() {
        for (machine, expected) in [
            ("arn:aws:states:eu-west-1:123456789012:stateMachine:orders", "myriad-orders"),
            ("qrn:qcs:asw:ap-guangzhou:1300000000:stateMachine:fs-1/caption", "myriad-fs-1-caption"),
            ("arn:aws:states:eu-west-1:123456789012:stateMachine:ü ber", "myriad---ber"),
            ("", "myriad-"),
        ] {
            assert_eq!(session(machine), expected);
        }
        assert_eq!(session(&"m".repeat(80)).len(), SESSION_MAX);
    }
}
