//! Signatures that cloud APIs ask for.
//!
//! Purpose: [`tc3`] signs requests to Tencent Cloud's API 3.0, [`sigv4`] those to AWS. Invariants: nothing here waits or reads a
//! clock, the caller gives the time; keys reach no message. What may fail: a URL or header that cannot be signed, with
//! [`SignError`].

use zeroize::Zeroizing;

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

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// It is not what the scheme can sign.
    #[error("the request cannot be signed: {0}")]
    Request(String),
}
