//! What a server knows of a signed request, and why it does not let one in.

use http::{HeaderMap, Method};
use zeroize::Zeroizing;

/// How far the clock of whoever signed may be from the server's.
pub const SKEW_SECONDS_MAX: u64 = 300;

/// A request as a server has received it.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Method.
    pub method: &'a Method,
    /// Path and query as sent.
    pub target: &'a str,
    /// Headers, `Host` among them.
    pub headers: &'a HeaderMap,
    /// Body.
    pub body: &'a [u8],
}

/// Who says to have signed a request, and for what.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim {
    /// `AccessKeyId`, `SecretId`.
    pub id: String,
    /// For which service.
    pub service: String,
    /// In which region; empty where the scheme has none.
    pub region: String,
    /// The token that came along: of temporary keys.
    pub token: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, service, region, token: _ } = self;
        f.debug_struct("Claim")
            .field("id", id)
            .field("service", service)
            .field("region", region)
            .finish_non_exhaustive()
    }
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A header is missing.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// A header is not what it should be.
    #[error("{0}")]
    Malformed(&'static str),
    /// A header that has to be signed is not.
    #[error("SignedHeaders lacks {0}, which has to be signed")]
    Unsigned(&'static str),
    /// A header stands there twice, and nobody knows which is meant.
    #[error("the header {0} stands there twice")]
    Twice(&'static str),
    /// It is signed in its query.
    #[error(
        "the signature stands in the query: sign with the header Authorization, which is the only way here"
    )]
    Query,
    /// It was signed too long ago, or will be.
    #[error("the request was signed more than {SKEW_SECONDS_MAX} seconds from now")]
    Skewed,
    /// Nobody has this key.
    #[error("there is no such key")]
    UnknownKey,
    /// The signature is not that of the request and the key.
    #[error("the signature does not match")]
    Mismatch,
}

impl VerifyError {
    /// Tencent's error code.
    #[must_use]
    pub fn tencent_code(self) -> &'static str {
        match self {
            Self::Missing(_) => "MissingParameter",
            Self::Malformed(_) | Self::Unsigned(_) | Self::Twice(_) | Self::Query => {
                "AuthFailure.InvalidAuthorization"
            }
            Self::Skewed => "AuthFailure.SignatureExpire",
            Self::UnknownKey => "AuthFailure.SecretIdNotFound",
            Self::Mismatch => "AuthFailure.SignatureFailure",
        }
    }

    /// AWS's error code.
    #[must_use]
    pub fn aws_code(self) -> &'static str {
        match self {
            Self::Missing(_) => "MissingAuthenticationToken",
            Self::Malformed(_) | Self::Unsigned(_) | Self::Twice(_) | Self::Query => "IncompleteSignature",
            Self::UnknownKey => "InvalidClientTokenId",
            // AWS says the same of both; the message tells that it has expired.
            Self::Skewed | Self::Mismatch => "SignatureDoesNotMatch",
        }
    }
}

pub(crate) fn check_time(signed_at: u64, now: u64) -> Result<(), VerifyError> {
    (signed_at.abs_diff(now) <= SKEW_SECONDS_MAX).then_some(()).ok_or(VerifyError::Skewed)
}
