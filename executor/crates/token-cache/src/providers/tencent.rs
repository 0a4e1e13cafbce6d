//! Tencent Cloud's STS: AssumeRole of API 3.0, signed with TC3.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use sign::{Keys, Unsigned};
use zeroize::Zeroizing;

use super::times::{Times, Told};
use super::transport::{Post, Reply, Transport};
use super::{Fetch, Provider};
use crate::{CredentialError, CredentialKey, Credentials, Now};

const VERSION: &str = "2018-08-13";
/// The most that Tencent Cloud gives.
const DURATION_MAX: u64 = 43_200;

/// See the module.
pub struct TencentSts {
    transport: Arc<dyn Transport>,
    url: String,
    region: HeaderValue,
    keys: Keys,
    duration: Duration,
    times: Times,
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
        Ok(Self { transport, url, region, keys, duration, times: Times::new(now) })
    }

    async fn ask(&self, key: &CredentialKey) -> Result<(Reply, u64), CredentialError> {
        let request = Request {
            role: &key.role,
            session: &key.session,
            duration: self.duration.as_secs().clamp(1, DURATION_MAX),
        };
        let body = serde_json::to_vec(&request).map_err(|error| CredentialError::refused(key, error))?;
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("x-tc-action", HeaderValue::from_static("AssumeRole"));
        headers.insert("x-tc-version", HeaderValue::from_static(VERSION));
        headers.insert("x-tc-region", self.region.clone());
        let mut unsigned =
            Unsigned { method: &Method::POST, url: &self.url, headers: &mut headers, body: &body };
        let signed = sign::tc3::sign(&mut unsigned, &self.keys, "sts", self.times.theirs());
        signed.map_err(|error| CredentialError::unavailable(key, error))?;
        let sent_ms = self.times.now_ms();
        let post = Post { url: self.url.clone(), headers, body: Bytes::from(body) };
        let reply = self.transport.post(post).await.map_err(|why| CredentialError::unavailable(key, why))?;
        Ok((reply, sent_ms))
    }

    fn read(&self, key: &CredentialKey, reply: &Reply, sent_ms: u64) -> Result<Credentials, Told> {
        let answer: Result<Envelope, _> = serde_json::from_slice(&reply.body);
        let wrong = || {
            let why = format!(
                "{} has answered with status {} and something else than STS's JSON",
                self.url, reply.status
            );
            Told::Error(CredentialError::unavailable(key, why))
        };
        let response = answer.map_err(|_| wrong())?.response;
        if let Some(error) = response.error {
            return Err(classify(key, &error));
        }
        let (Some(keys), Some(expiry)) = (response.credentials, response.expired_time) else {
            return Err(wrong());
        };
        Ok(Credentials {
            id: keys.id,
            secret: Zeroizing::new(keys.secret),
            token: Some(Zeroizing::new(keys.token)),
            expires_at: Some(self.times.ours(expiry, reply, sent_ms)),
        })
    }
}

impl Provider for TencentSts {
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
