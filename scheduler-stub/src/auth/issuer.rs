//! Keys that expire. Whoever has the same secret can tell, from id and token alone, what the secret key is and how long it is
//! good: a server that stands in for a cloud verifies signatures without asking anybody.

use proto::auth::v1::Credentials;
use trust::Secret;

/// What tokens and ids are sealed for.
const TOKEN: &str = "auth.token";
const KEY: &str = "auth.key";

/// Makes and knows keys.
#[derive(Debug, Clone)]
pub struct Issuer(Secret);

/// What keys were issued for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The role.
    pub role: String,
    /// The session's name.
    pub session: String,
    /// When they expire, in Unix milliseconds of the issuer's clock.
    pub expires_at_ms: u64,
}

impl Issuer {
    /// Issues under a secret.
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// Keys for a role's session; `number` makes them differ from others of the same.
    #[must_use]
    pub fn issue(&self, issued: &Issued, number: u64, now_ms: u64) -> Credentials {
        let Issued { role, session, expires_at_ms } = issued;
        // Tencent Cloud's and AWS's ids look so.
        let kind = if role.starts_with("arn:") { "ASIA" } else { "AKID" };
        let id = format!("{kind}{number:016X}");
        let token = self.0.seal_text(TOKEN, &format!("{id}\n{expires_at_ms}\n{session}\n{role}"));
        Credentials {
            secret: self.secret(&id, &token),
            id,
            token,
            lifetime_ms: expires_at_ms.saturating_sub(now_ms),
            expires_at_ms: *expires_at_ms,
        }
    }

    /// What keys were issued for, and their secret key; `None` if the id or the token is not of ours, or both are not of the same
    /// keys, or they have expired.
    #[must_use]
    pub fn open(&self, id: &str, token: &str, now_ms: u64) -> Option<(Issued, String)> {
        let text = self.0.open_text(TOKEN, token)?;
        let mut lines = text.splitn(4, '\n');
        let (of, expires, session, role) = (lines.next()?, lines.next()?, lines.next()?, lines.next()?);
        let expires_at_ms = expires.parse().ok()?;
        let issued = Issued { role: role.to_owned(), session: session.to_owned(), expires_at_ms };
        (of == id && now_ms < expires_at_ms).then(|| (issued, self.secret(id, token)))
    }

    fn secret(&self, id: &str, token: &str) -> String {
        let sealed = self.0.seal_text(KEY, &format!("{id}\n{token}"));
        // The tag alone: it cannot be made without the secret.
        sealed[sealed.len() - 32..].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_whoever_has_the_secret_until_they_expire() {
        let issuer = Issuer::new(Secret::from_key(&[7; 32]));
        let issued =
            Issued { role: "arn:aws:iam::1:role/a".into(), session: "s1".into(), expires_at_ms: 5_000 };
        let keys = issuer.issue(&issued, 1, 1_000);
        assert_eq!(
            (keys.id.as_str(), keys.lifetime_ms, keys.expires_at_ms),
            ("ASIA0000000000000001", 4_000, 5_000)
        );
        let same = Issuer::new(Secret::from_key(&[7; 32]));
        assert_eq!(same.open(&keys.id, &keys.token, 4_999), Some((issued.clone(), keys.secret.clone())));
        assert_eq!(same.open(&keys.id, &keys.token, 5_000), None, "they have expired");
        let other = issuer.issue(&issued, 2, 1_000);
        assert_ne!((&other.secret, &other.token), (&keys.secret, &keys.token));
        assert_eq!(same.open(&other.id, &keys.token, 1_000), None, "an id and a token of different keys");
        let stranger = Issuer::new(Secret::from_key(&[8; 32]));
        assert_eq!(stranger.open(&keys.id, &keys.token, 1_000), None);
        assert!(!keys.token.contains(&keys.secret), "the token does not tell the secret");
    }
}
