//! A request that says to be signed, taken apart: whose key it names, and what that key has to have signed.
//!
//! Purpose: a server learns from the headers alone ([`Head`]) which key it needs, so that it can keep keys, and can refuse whoever
//! has none before it takes a body. Invariants: nothing of it may be believed before [`Signed::is_by`] has said yes; tokens show
//! in no debug output. What may fail: a body that comes too late or is another than its hash says, with [`VerifyError`]; heads
//! that are none are none of these (see [`crate::sigv4::read`], [`crate::tc3::read`]).

use zeroize::Zeroizing;

use crate::canonical::hash;
use crate::key::SigningKey;
use crate::verify::{Claim, VerifyError, check_time};

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// AWS's.
    SigV4,
    /// Tencent Cloud's.
    Tc3,
}

/// What line and headers of a request say of its signature.
pub struct Head<'a> {
    /// How it is signed.
    pub scheme: Scheme,
    /// `Credential` as it was sent: id, day, region, service and scheme. Whoever keeps a [`SigningKey`] finds it by this.
    pub credential: &'a str,
    /// `AccessKeyId`, `SecretId`.
    pub id: &'a str,
    /// The day of the key as the scheme writes it: the one of `signed_at`.
    pub day: &'a str,
    /// For which region; TC3 does not sign it. Empty where none was sent.
    pub region: &'a str,
    /// For which service.
    pub service: &'a str,
    /// The token that came along: of temporary keys. TC3 does not sign it.
    pub token: Option<&'a str>,
    /// When it was signed, in Unix seconds.
    pub signed_at: u64,
    /// Names of the headers that are signed, sorted, between semicolons.
    pub headers: &'a str,
    pub(crate) signature: [u8; 32],
    /// The body's hash, where the headers tell one.
    pub(crate) payload: Option<&'a str>,
    /// The canonical request up to the body's hash, which is all that it lacks.
    pub(crate) canonical: String,
    /// What is signed, up to the hash of the canonical request.
    pub(crate) to_sign: String,
}

/// A whole request that says to be signed.
pub struct Signed<'a> {
    /// What its headers say.
    pub head: Head<'a>,
    string_to_sign: String,
}

impl std::fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scheme, credential, region, signed_at, .. } = self;
        f.debug_struct("Head")
            .field("scheme", scheme)
            .field("credential", credential)
            .field("region", region)
            .field("signed_at", signed_at)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Signed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signed").field(&self.head).finish()
    }
}

impl<'a> Head<'a> {
    /// With its body, which has come until now.
    ///
    /// # Errors
    /// [`VerifyError::Skewed`]: it took too long; [`VerifyError::Mismatch`]: the headers tell the hash of another body.
    pub fn with_body(self, body: &[u8], unix_seconds: u64) -> Result<Signed<'a>, VerifyError> {
        check_time(self.signed_at, unix_seconds)?;
        let payload = hash(body);
        if self.payload.is_some_and(|said| said != payload) {
            return Err(VerifyError::Mismatch);
        }
        let canonical = hash(format!("{}{payload}", self.canonical).as_bytes());
        let string_to_sign = format!("{}{canonical}", self.to_sign);
        Ok(Signed { head: self, string_to_sign })
    }

    /// The key that follows from a secret for this request's day, region and service.
    #[must_use]
    pub fn key(&self, secret: &str) -> SigningKey {
        match self.scheme {
            Scheme::SigV4 => SigningKey::sigv4(secret, self.day, self.region, self.service),
            Scheme::Tc3 => SigningKey::tc3(secret, self.day, self.service),
        }
    }

    /// Whether a header, named in lower case, is signed.
    #[must_use]
    pub fn signs(&self, name: &str) -> bool {
        self.headers.split(';').any(|signed| signed == name)
    }

    /// The signature's bytes: the same for the same request and second, and for no other once [`Signed::is_by`] has said yes.
    #[must_use]
    pub fn signature(&self) -> &[u8; 32] {
        &self.signature
    }

    /// Who says to have signed it, and for what.
    #[must_use]
    pub fn claim(&self) -> Claim {
        Claim {
            id: self.id.to_owned(),
            service: self.service.to_owned(),
            region: self.region.to_owned(),
            token: self.token.map(|token| Zeroizing::new(token.to_owned())),
        }
    }

    /// The claim of whoever has signed it with the secret that `secret_of` tells.
    pub(crate) fn verified(
        self,
        body: &[u8],
        unix_seconds: u64,
        secret_of: impl FnOnce(&Claim) -> Option<Zeroizing<String>>,
    ) -> Result<Claim, VerifyError> {
        let signed = self.with_body(body, unix_seconds)?;
        let claim = signed.head.claim();
        let secret = secret_of(&claim).ok_or(VerifyError::UnknownKey)?;
        if signed.is_by(&signed.head.key(&secret)) { Ok(claim) } else { Err(VerifyError::Mismatch) }
    }
}

impl Signed<'_> {
    /// Whether it was signed with this key. In constant time.
    #[must_use]
    pub fn is_by(&self, key: &SigningKey) -> bool {
        key.has_signed(&self.string_to_sign, &self.head.signature)
    }
}
