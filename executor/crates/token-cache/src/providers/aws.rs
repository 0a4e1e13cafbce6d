//! AWS's STS: AssumeRole of the query protocol, signed with SigV4; answers are XML.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sign::{Keys, SignError, Unsigned};

use super::sts::{Dialect, Given, Sts, Told};
use super::times::iso;
use super::transport::{Reply, Transport};
use super::{Fetch, Provider};
use crate::{CredentialError, CredentialKey, Now};

/// The least and the most that AWS gives, in seconds.
const DURATION: std::ops::RangeInclusive<u64> = 900..=43_200;

/// See the module.
pub struct AwsSts {
    sts: Sts,
    query: Query,
}

/// How AWS is asked.
struct Query {
    region: String,
    /// In seconds.
    duration: u64,
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
        let duration = duration.as_secs().clamp(*DURATION.start(), *DURATION.end());
        Self { sts: Sts::new(transport, url, keys, now), query: Query { region, duration } }
    }
}

impl Provider for AwsSts {
    fn fetch<'a>(&'a self, key: &'a CredentialKey) -> Fetch<'a> {
        Box::pin(self.sts.assume(&self.query, key))
    }
}

impl Dialect for Query {
    fn request(&self, key: &CredentialKey) -> Result<(HeaderMap, Vec<u8>), CredentialError> {
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let (role, session, duration) = (encode(&key.role), encode(&key.session), self.duration);
        let body = format!(
            "Action=AssumeRole&Version=2011-06-15&RoleArn={role}&RoleSessionName={session}&DurationSeconds={duration}"
        );
        let form = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        Ok(([(http::header::CONTENT_TYPE, form)].into_iter().collect(), body.into_bytes()))
    }

    fn sign(&self, request: &mut Unsigned<'_>, keys: &Keys, unix_seconds: u64) -> Result<(), SignError> {
        sign::sigv4::sign(request, keys, "sts", &self.region, unix_seconds)
    }

    fn read(&self, key: &CredentialKey, reply: &Reply) -> Option<Result<Given, Told>> {
        let text = std::str::from_utf8(&reply.body).ok()?;
        if !reply.status.is_success() {
            let answer: ErrorAnswer = quick_xml::de::from_str(text).ok()?;
            return Some(Err(classify(key, &answer.error)));
        }
        let answer: Answer = quick_xml::de::from_str(text).ok()?;
        let TemporaryKeys { id, secret, token, expiration } = answer.result.credentials;
        Some(Ok(Given { id, secret, token, expiry: iso(&expiration)? }))
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
