//! The keys that signatures are made with: they follow from a secret, a day and a service, and serve many requests.
//!
//! Invariants: a key is wiped when it is dropped and shows in no debug output; signatures are compared in constant time.
//! Nothing here fails.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::canonical::mac;

/// Signs for one secret, day, region and service alone: what may be kept between requests, instead of four hashes for each.
/// It does not tell the secret.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Of AWS's SigV4; `day` is `YYYYMMDD`.
    #[must_use]
    pub fn sigv4(secret: &str, day: &str, region: &str, service: &str) -> Self {
        Self::derived("AWS4", secret, &[day, region, service, "aws4_request"])
    }

    /// Of Tencent's TC3; `day` is `YYYY-MM-DD`.
    #[must_use]
    pub fn tc3(secret: &str, day: &str, service: &str) -> Self {
        Self::derived("TC3", secret, &[day, service, "tc3_request"])
    }

    fn derived(prefix: &str, secret: &str, scope: &[&str]) -> Self {
        // Room for all of it, so that no copy is left behind.
        let mut first = Zeroizing::new(Vec::with_capacity(prefix.len() + secret.len()));
        first.extend_from_slice(prefix.as_bytes());
        first.extend_from_slice(secret.as_bytes());
        Self(mac(&first, scope))
    }

    /// The signature of a text.
    pub(crate) fn sign(&self, text: &str) -> [u8; 32] {
        self.0.clone().chain_update(text).finalize().into_bytes().into()
    }

    /// Whether the signature is of this text.
    pub(crate) fn has_signed(&self, text: &str, signature: &[u8; 32]) -> bool {
        self.0.clone().chain_update(text).verify_slice(signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_signs_for_its_own_secret_day_region_and_service_alone() {
        let key = SigningKey::sigv4("secret", "20261127", "eu-central-1", "states");
        let signature = key.sign("text");
        assert!(key.has_signed("text", &signature) && !key.has_signed("other", &signature));
        for other in [
            SigningKey::sigv4("Secret", "20261127", "eu-central-1", "states"),
            SigningKey::sigv4("secret", "20261128", "eu-central-1", "states"),
            SigningKey::sigv4("secret", "20261127", "eu-central-2", "states"),
            SigningKey::sigv4("secret", "20261127", "eu-central-1", "lambda"),
            SigningKey::tc3("secret", "20261127", "states"),
        ] {
            assert!(!other.has_signed("text", &signature));
        }
        assert_eq!(format!("{key:?}"), "SigningKey { .. }");
    }
}
