//! Tencent Cloud's STS: AssumeRole of API 3.0, signed with TC3.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use sign::{Keys, SignError, Unsigned};

use super::sts::{Dialect, Given, Sts, Told};
use super::transport::{Reply, Transport};
use super::{Fetch, Provider};
use crate::{CredentialError, CredentialKey, Now};

const VERSION: &str = "2018-08-13";
/// The most that Tencent Cloud gives, in seconds.
const DURATION_MAX: u64 = 43_200;

/// See the module.
pub struct TencentSts {
    sts: Sts,
    api: Api,
}

/// How Tencent Cloud is asked.
struct Api {
    region: HeaderValue,
    /// In seconds.
    duration: u64,
}

impl TencentSts {
    /// Asks at a URL (`https://sts.tencentcloudapi.com/`) with keys that may assume roles, for keys that are good for
    /// `duration`, 12 hours at most.
    ///
    /// # Errors
    /// The region is no text.
    pub fn new(
        transport: Arc<dyn Transport>,
        url: String,
        region: &str,
        keys: Keys,
        duration: Duration,
        now: Now,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        let region = HeaderValue::from_str(region)?;
        let duration = duration.as_secs().clamp(1, DURATION_MAX);
        Ok(Self { sts: Sts::new(transport, url, keys, now), api: Api { region, duration } })
    }
}

impl Provider for TencentSts {
    fn fetch<'a>(&'a self, key: &'a CredentialKey) -> Fetch<'a> {
        Box::pin(self.sts.assume(&self.api, key))
    }
}

impl Dialect for Api {
    fn request(&self, key: &CredentialKey) -> Result<(HeaderMap, Vec<u8>), CredentialError> {
        let request = Request { role: &key.role, session: &key.session, duration: self.duration };
        let body = serde_json::to_vec(&request).map_err(|error| CredentialError::refused(key, error))?;
        let headers = [
            ("content-type", HeaderValue::from_static("application/json")),
            ("x-tc-action", HeaderValue::from_static("AssumeRole")),
            ("x-tc-version", HeaderValue::from_static(VERSION)),
            ("x-tc-region", self.region.clone()),
        ];
        Ok((headers.map(|(name, value)| (HeaderName::from_static(name), value)).into_iter().collect(), body))
    }

    fn sign(&self, request: &mut Unsigned<'_>, keys: &Keys, unix_seconds: u64) -> Result<(), SignError> {
        sign::tc3::sign(request, keys, "sts", unix_seconds)
    }

    fn read(&self, key: &CredentialKey, reply: &Reply) -> Option<Result<Given, Told>> {
        let answer: Envelope = serde_json::from_slice(&reply.body).ok()?;
        let Response { error, credentials, expired_time } = answer.response;
        if let Some(error) = error {
            return Some(Err(classify(key, &error)));
        }
        let TemporaryKeys { id, secret, token } = credentials?;
        Some(Ok(Given { id, secret, token, expiry: expired_time? }))
    }
}

fn classify(key: &CredentialKey, error: &Failure) -> Told {
    let Failure { code, message } = error;
    let why = format!("Tencent Cloud's STS says {code}: {message}");
    let class = code.split('.').next().unwrap_or_default();
    match class {
        "AuthFailure" if code == "AuthFailure.SignatureExpire" => {
            Told::Time(CredentialError::unavailable(key, why))
        }
        "InvalidParameter"
        | "InvalidParameterValue"
        | "MissingParameter"
        | "ResourceNotFound"
        | "UnauthorizedOperation" => Told::Error(CredentialError::refused(key, why)),
        // Also keys of the node that are no longer good: somebody may be about to replace them.
        _ => Told::Error(CredentialError::unavailable(key, why)),
    }
}

#[derive(Serialize)]
struct Request<'a> {
    #[serde(rename = "RoleArn")]
    role: &'a str,
    #[serde(rename = "RoleSessionName")]
    session: &'a str,
    #[serde(rename = "DurationSeconds")]
    duration: u64,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Response")]
    response: Response,
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "Error")]
    error: Option<Failure>,
    #[serde(rename = "Credentials")]
    credentials: Option<TemporaryKeys>,
    #[serde(rename = "ExpiredTime")]
    expired_time: Option<u64>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(rename = "Code")]
    code: String,
    #[serde(rename = "Message", default)]
    message: String,
}

#[derive(Deserialize)]
struct TemporaryKeys {
    #[serde(rename = "TmpSecretId")]
    id: String,
    #[serde(rename = "TmpSecretKey")]
    secret: String,
    #[serde(rename = "Token")]
    token: String,
}
