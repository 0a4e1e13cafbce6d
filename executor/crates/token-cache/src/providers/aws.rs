//! AWS's STS: AssumeRole of the query protocol, signed with SigV4; answers are XML.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sign::{Keys, Unsigned};
use zeroize::Zeroizing;

use super::times::{Times, Told, iso};
use super::transport::{Post, Reply, Transport};
use super::{Fetch, Provider};
use crate::{CredentialError, CredentialKey, Credentials, Now};

/// The least and the most that AWS gives, in seconds.
const DURATION: std::ops::RangeInclusive<u64> = 900..=43_200;

/// See the module.
pub struct AwsSts {
    transport: Arc<dyn Transport>,
    url: String,
    region: String,
    keys: Keys,
    duration: Duration,
    times: Times,
}

impl AwsSts {
    /// Asks at a URL (`https://sts.us-east-1.amazonaws.com/`) with keys that may assume roles, for keys that are good for
    /// `duration`, from 15 minutes to 12 hours.
    #[must_use]
    pub fn new(
        transport: Arc<dyn Transport>,
        url: String,
        region: String,
        keys: Keys,
        duration: Duration,
        now: Now,
    ) -> Self {
        Self { transport, url, region, keys, duration, times: Times::new(now) }
    }

    async fn ask(&self, key: &CredentialKey) -> Result<(Reply, u64), CredentialError> {
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let body = format!(
            "Action=AssumeRole&Version=2011-06-15&RoleArn={}&RoleSessionName={}&DurationSeconds={}",
            encode(&key.role),
            encode(&key.session),
            self.duration.as_secs().clamp(*DURATION.start(), *DURATION.end()),
        );
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        headers.insert("content-type", form);
        let mut unsigned =
            Unsigned { method: &Method::POST, url: &self.url, headers: &mut headers, body: body.as_bytes() };
        let signed = sign::sigv4::sign(&mut unsigned, &self.keys, "sts", &self.region, self.times.theirs());
        signed.map_err(|error| CredentialError::unavailable(key, error))?;
        let sent_ms = self.times.now_ms();
        let post = Post { url: self.url.clone(), headers, body: Bytes::from(body) };
        let reply = self.transport.post(post).await.map_err(|why| CredentialError::unavailable(key, why))?;
        Ok((reply, sent_ms))
    }

    fn read(&self, key: &CredentialKey, reply: &Reply, sent_ms: u64) -> Result<Credentials, Told> {
        let wrong = || {
            let why = format!(
                "{} has answered with status {} and something else than STS's XML",
                self.url, reply.status
            );
            Told::Error(CredentialError::unavailable(key, why))
        };
        let text = std::str::from_utf8(&reply.body).map_err(|_| wrong())?;
        if !reply.status.is_success() {
            let answer: ErrorAnswer = quick_xml::de::from_str(text).map_err(|_| wrong())?;
            return Err(classify(key, &answer.error));
        }
        let answer: Answer = quick_xml::de::from_str(text).map_err(|_| wrong())?;
        let keys = answer.result.credentials;
        let expiry = iso(&keys.expiration).ok_or_else(wrong)?;
        Ok(Credentials {
            id: keys.id,
            secret: Zeroizing::new(keys.secret),
            token: Some(Zeroizing::new(keys.token)),
            expires_at: Some(self.times.ours(expiry, reply, sent_ms)),
        })
    }
}

impl Provider for AwsSts {
    fn fetch<'a>(&'a self, key: &'a CredentialKey) -> Fetch<'a> {
        Box::pin(async move {
            let (reply, sent_ms) = self.ask(key).await?;
            match self.read(key, &reply, sent_ms) {
                // Our clock is wrong, or theirs: the next request is signed with theirs.
                Err(Told::Time(_)) if self.times.learn(&reply) => {
                    let (reply, sent_ms) = self.ask(key).await?;
                    self.read(key, &reply, sent_ms).map_err(Told::error)
                }
                read => read.map_err(Told::error),
            }
        })
    }
}

fn classify(key: &CredentialKey, error: &Failure) -> Told {
    let Failure { code, message } = error;
    let why = format!("AWS's STS says {code}: {message}");
    match code.as_str() {
        // Of a signature that has expired STS says that it does not match; whether it is the time, its clock tells.
        "SignatureDoesNotMatch" | "RequestExpired" | "RequestTimeTooSkewed" => {
            Told::Time(CredentialError::unavailable(key, why))
        }
        "AccessDenied"
        | "ValidationError"
        | "MalformedPolicyDocument"
        | "PackedPolicyTooLarge"
        | "RegionDisabledException"
        | "InvalidParameterValue"
        | "MissingParameter" => Told::Error(CredentialError::refused(key, why)),
        // Also keys of the node that are no longer good: somebody may be about to replace them.
        _ => Told::Error(CredentialError::unavailable(key, why)),
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "AssumeRoleResult")]
    result: AssumeRoleResult,
}

#[derive(Deserialize)]
struct AssumeRoleResult {
    #[serde(rename = "Credentials")]
    credentials: TemporaryKeys,
}

#[derive(Deserialize)]
struct TemporaryKeys {
    #[serde(rename = "AccessKeyId")]
    id: String,
    #[serde(rename = "SecretAccessKey")]
    secret: String,
    #[serde(rename = "SessionToken")]
    token: String,
    #[serde(rename = "Expiration")]
    expiration: String,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    #[serde(rename = "Error")]
    error: Failure,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(rename = "Code")]
    code: String,
    #[serde(rename = "Message", default)]
    message: String,
}
