//! A request that says to be signed, taken apart: whose key it names, and what that key has to have signed.
//!
//! Purpose: a server learns here which key it needs before it needs one, so that it can keep keys, and can take as long for
//! a key that nobody has as for a wrong secret. Invariants: nothing of it may be believed before [`Signed::is_by`] has said
//! yes; tokens show in no debug output. Nothing here fails: what is no signed request is none of these (see
//! [`crate::sigv4::read`], [`crate::tc3::read`]).

use zeroize::Zeroizing;

use crate::key::SigningKey;
use crate::verify::Claim;

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// AWS's.
    SigV4,
    /// Tencent Cloud's.
    Tc3,
}

/// See the module.
pub struct Signed<'a> {
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
    pub(crate) string_to_sign: String,
}

impl std::fmt::Debug for Signed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scheme, credential, region, signed_at, .. } = self;
        f.debug_struct("Signed")
            .field("scheme", scheme)
            .field("credential", credential)
            .field("region", region)
            .field("signed_at", signed_at)
            .finish_non_exhaustive()
    }
}

impl Signed<'_> {
    /// The key that follows from a secret for this request's day, region and service.
    #[must_use]
    pub fn key(&self, secret: &str) -> SigningKey {
        match self.scheme {
            Scheme::SigV4 => SigningKey::sigv4(secret, self.day, self.region, self.service),
            Scheme::Tc3 => SigningKey::tc3(secret, self.day, self.service),
        }
    }

    /// Whether it was signed with this key. In constant time.
    #[must_use]
    pub fn is_by(&self, key: &SigningKey) -> bool {
        key.has_signed(&self.string_to_sign, &self.signature)
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
        &self,
        secret_of: impl FnOnce(&Claim) -> Option<Zeroizing<String>>,
    ) -> Result<Claim, crate::VerifyError> {
        let claim = self.claim();
        let secret = secret_of(&claim).ok_or(crate::VerifyError::UnknownKey)?;
        if self.is_by(&self.key(&secret)) { Ok(claim) } else { Err(crate::VerifyError::Mismatch) }
    }
}
