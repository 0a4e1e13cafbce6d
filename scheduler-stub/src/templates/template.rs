//! A revision of a state machine, as starts and describes see it.

use std::sync::Arc;

use asl::Dialect;
use bytes::Bytes;
use ids::{DefinitionHash, Logging, Mode};
use sha2::{Digest, Sha256};

use super::about::About;

/// One version of a state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// ARN or QRN.
    pub arn: String,
    /// Its own name.
    pub name: String,
    /// How its executions are kept.
    pub mode: Mode,
    /// The language of its definition.
    pub dialect: Dialect,
    /// The text of its definition.
    pub definition: Bytes,
    /// SHA-256 of the text.
    pub hash: DefinitionHash,
    /// From 1: which revision it is. Published versions have numbers of their own.
    pub version: u32,
    /// Unix time in milliseconds.
    pub created_ms: u64,
    /// Unix time in milliseconds of this version.
    pub updated_ms: u64,
    /// Whose permissions its tasks have.
    pub role_arn: String,
    /// For people.
    pub comment: String,
    /// How long closed executions are kept, in seconds; 0: as long as the nodes say.
    pub retention_s: u32,
    /// What of its executions' histories is exported.
    pub logging: Logging,
    /// By what it was found: nothing for the newest revision, `3` for a published version, `3:PROD` for one that an alias
    /// led to.
    pub origin: String,
    /// What else is said of it.
    pub about: About,
}

impl Template {
    /// Whether executions of the two run alike, so that they may share what a batch says of their machine.
    #[must_use]
    pub fn runs_as(&self, other: &Self) -> bool {
        (self.hash, self.mode, self.retention_s, self.logging)
            == (other.hash, other.mode, other.retention_s, other.logging)
            && (&self.arn, &self.role_arn, &self.origin) == (&other.arn, &other.role_arn, &other.origin)
    }

    /// As executions see it of which something else is exported; `None`: as the machine says.
    #[must_use]
    pub fn logged(self: Arc<Self>, logging: Option<Logging>) -> Arc<Self> {
        match logging {
            Some(logging) if logging != self.logging => Arc::new(Self { logging, ..(*self).clone() }),
            _ => self,
        }
    }

    /// Which revision of its machine it is, from 1.
    #[must_use]
    pub fn revision(&self) -> u32 {
        self.version
    }

    /// The published version as which it was found, if it was.
    #[must_use]
    pub fn published(&self) -> Option<&str> {
        self.origin.split(':').next().filter(|number| !number.is_empty())
    }

    /// What tells its revision from others, in the form of a UUID; the first one has none (Step Functions).
    #[must_use]
    pub fn revision_id(&self) -> Option<String> {
        revision_id(&self.arn, self.version, self.updated_ms)
    }
}

/// As [`Template::revision_id`].
pub(super) fn revision_id(arn: &str, revision: u32, updated_ms: u64) -> Option<String> {
    if revision <= 1 {
        return None;
    }
    let mut hasher = Sha256::new();
    hasher.update(arn.as_bytes());
    hasher.update(revision.to_be_bytes());
    hasher.update(updated_ms.to_be_bytes());
    let digest = hasher.finalize();
    let mut id = String::with_capacity(36);
    for (at, byte) in digest.iter().take(16).enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            id.push('-');
        }
        // UUID version 8 is for ids of one's own making (RFC 9562); the variant is the RFC's.
        let byte = match at {
            6 => byte & 0x0f | 0x80,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        id.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_revision_but_the_first_has_an_id_of_its_own() {
        assert_eq!(revision_id("a", 1, 5), None);
        let id = revision_id("a", 2, 5).expect("an id");
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!((lengths, &id[14..15]), (vec![8, 4, 4, 4, 12], "8"));
        assert_eq!(revision_id("a", 2, 5), Some(id.clone()));
        for other in [revision_id("b", 2, 5), revision_id("a", 3, 5), revision_id("a", 2, 6)] {
            assert_ne!(other.as_ref(), Some(&id));
        }
    }
}
