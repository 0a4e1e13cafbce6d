//! Signatures that cloud APIs ask for.
//!
//! Purpose: [`tc3`] signs requests to Tencent Cloud's API 3.0, [`cls`] those to its log service, [`sigv4`] those to AWS; each
//! also verifies, as the vendor's servers do, for front doors and for servers that stand in for a vendor's. Invariants:
//! nothing here waits or reads a clock, the caller gives the time; keys reach no message; signatures are compared in constant
//! time; what is verified is code of its own, which shares with AWS's signer no line. A server that verifies much takes heads
//! of requests apart first ([`sigv4::read`], [`tc3::read`]) and keeps the [`SigningKey`]s that follow. What may fail: a URL or header that
//! cannot be signed, with [`SignError`]; a request that is not whose it says it is, with [`VerifyError`].

mod authorization;
mod canonical;
pub mod cls;
mod key;
mod signed;
pub mod sigv4;
pub mod tc3;
mod verify;

use http::{HeaderMap, HeaderValue, Method};
use zeroize::Zeroizing;

pub use key::SigningKey;
pub use signed::{Head, Scheme, Signed};
pub use verify::{Claim, Received, SKEW_SECONDS_MAX, VerifyError};

/// What requests are signed with.
#[derive(Clone)]
pub struct Keys {
    /// `AccessKeyId`, `SecretId`.
    pub id: String,
    /// `SecretAccessKey`, `SecretKey`.
    pub secret: Zeroizing<String>,
    /// `SessionToken`, `Token`: of temporary keys.
    pub token: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A request as it will be sent; signing adds headers to it.
#[derive(Debug)]
pub struct Unsigned<'a> {
    /// Method.
    pub method: &'a Method,
    /// Absolute URL with an encoded path, as it will be on the wire. Its authority is what the client sends as `Host`.
    pub url: &'a str,
    /// Headers; `Host` is taken from the URL.
    pub headers: &'a mut HeaderMap,
    /// Body.
    pub body: &'a [u8],
}

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// It is not what the scheme can sign.
    #[error("the request cannot be signed: {0}")]
    Request(String),
}

impl SignError {
    fn of(why: impl std::fmt::Display) -> Self {
        Self::Request(why.to_string())
    }
}

/// A header's value that no debug output shows.
fn secret_value(value: &str) -> Result<HeaderValue, SignError> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| SignError::of("a key or token holds characters that a header cannot"))?;
    value.set_sensitive(true);
    Ok(value)
}
