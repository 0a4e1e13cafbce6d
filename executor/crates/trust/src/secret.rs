//! The cluster's secret: tokens that go out and come back unchanged, or not at all.
//!
//! A secret is a short list of keys, each with an id; the first one seals, all of them open, so that a key can be replaced
//! without refusing what is under way: put the new one second on every process, then first, then remove the old one.
//! Invariants: a token says which key sealed it and what it is for, so that a token of one purpose is none of another; the tag
//! is HMAC-SHA-256 over all of it, cut to 16 bytes, and is compared in constant time; keys reach no message. What may fail:
//! reading a file of keys.
//!
//! A sealed token is: key id (1 byte), content, tag (16 bytes).

use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::TrustError;

/// Keys of one secret.
const KEYS_MAX: usize = 8;
/// A key is at least this long, in bytes.
const KEY_BYTES_MIN: usize = 32;
const TAG_BYTES: usize = 16;

/// See the module.
#[derive(Clone)]
pub struct Secret {
    /// The first one seals.
    keys: Vec<(u8, Hmac<Sha256>)>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("ids", &self.ids()).finish_non_exhaustive()
    }
}

impl Secret {
    /// One key with id 0.
    #[must_use]
    pub fn from_key(key: &[u8; 32]) -> Self {
        Self { keys: vec![(0, mac(key))] }
    }

    /// The ids of the keys, the one that seals first.
    #[must_use]
    pub fn ids(&self) -> Vec<u8> {
        self.keys.iter().map(|(id, _)| *id).collect()
    }

    /// From a file with a line `ID KEY` for each key: an id from 0 to 255, and at least 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`TrustError::File`]; the message does not repeat what the file holds.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let wrong = |why: String| TrustError::File { path: path.display().to_string(), why };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(crate::explain::file(&error)))?;
        Self::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut keys: Vec<(u8, Hmac<Sha256>)> = Vec::new();
        let lines =
            text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        for (at, line) in lines {
            let wrong = |what: &str| {
                let line = at + 1;
                format!(
                    "line {line}: {what}; a line is `ID KEY`, an id from 0 to 255 and 64 or more hexadecimal digits"
                )
            };
            let (id, key) = line.trim().split_once(char::is_whitespace).ok_or_else(|| wrong("no key"))?;
            let id: u8 = id.parse().map_err(|_| wrong("the id is none"))?;
            let key = unhex(key.trim()).ok_or_else(|| wrong("the key is not hexadecimal"))?;
            if key.len() < KEY_BYTES_MIN {
                return Err(wrong("the key is too short"));
            }
            if keys.iter().any(|(other, _)| *other == id) {
                return Err(wrong("the id stands there twice"));
            }
            keys.push((id, mac(&key)));
        }
        match keys.len() {
            0 => Err("holds no key".to_owned()),
            1..=KEYS_MAX => Ok(Self { keys }),
            more => Err(format!("holds {more} keys, at most {KEYS_MAX} are possible")),
        }
    }

    /// Seals a content for a purpose.
    #[must_use]
    pub fn seal(&self, purpose: &str, content: &[u8]) -> Vec<u8> {
        let mut token = Vec::with_capacity(1 + content.len() + TAG_BYTES);
        if let Some((id, key)) = self.keys.first() {
            token.push(*id);
            token.extend_from_slice(content);
            let tag = tag(key, purpose, &token).finalize().into_bytes();
            token.extend_from_slice(&tag[..TAG_BYTES]);
        }
        token
    }

    /// The content of a token that was sealed for this purpose, by one of our keys.
    #[must_use]
    pub fn open<'a>(&self, purpose: &str, token: &'a [u8]) -> Option<&'a [u8]> {
        let (signed, signature) = token.split_at_checked(token.len().checked_sub(TAG_BYTES)?)?;
        let (id, content) = signed.split_first()?;
        let (_, key) = self.keys.iter().find(|(other, _)| other == id)?;
        tag(key, purpose, signed).verify_truncated_left(signature).ok()?;
        Some(content)
    }

    /// As [`Secret::seal`], as text that fits into a URL.
    #[must_use]
    pub fn seal_text(&self, purpose: &str, content: &str) -> String {
        self.seal(purpose, content.as_bytes()).iter().fold(String::new(), |mut text, byte| {
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
            text
        })
    }

    /// As [`Secret::open`], of what [`Secret::seal_text`] made.
    #[must_use]
    pub fn open_text(&self, purpose: &str, token: &str) -> Option<String> {
        let token = unhex(token)?;
        String::from_utf8(self.open(purpose, &token)?.to_vec()).ok()
    }
}

/// A new key.
///
/// # Panics
/// The operating system gives no randomness, and then nothing can be sealed.
#[must_use]
#[allow(clippy::expect_used, reason = "a secret without randomness would be none")]
pub fn draw_key() -> [u8; 32] {
    let mut key = [0; 32];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut key).expect("the operating system gives randomness");
    key
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("any length is right")
}

fn tag(key: &Hmac<Sha256>, purpose: &str, signed: &[u8]) -> Hmac<Sha256> {
    let mut mac = key.clone();
    mac.update(purpose.as_bytes());
    // A purpose is one of ours and holds no zero: what is signed cannot be taken for a part of it.
    mac.update(&[0]);
    mac.update(signed);
    mac
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(lines: &str) -> Secret {
        Secret::parse(lines).expect("keys")
    }

    fn key(byte: char) -> String {
        byte.to_string().repeat(64)
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_opened_and_any_change_of_it_is_not(content: Vec<u8>, at: prop::sample::Index, bit in 0..8u8) {
            let secret = secret(&format!("1 {}", key('a')));
            let token = secret.seal("task", &content);
            prop_assert_eq!(secret.open("task", &token), Some(content.as_slice()));
            prop_assert_eq!(secret.open("page", &token), None, "another purpose");
            let mut changed = token.clone();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            prop_assert_eq!(secret.open("task", &changed), None);
            prop_assert_eq!(secret.open("task", &token[..at]), None);
        }

        #[test]
        fn any_text_is_a_token_or_none_and_never_a_panic(text: String) {
            prop_assert_eq!(secret(&format!("1 {}", key('a'))).open_text("page", &text), None);
        }
    }

    #[test]
    fn a_key_is_replaced_without_refusing_what_is_under_way() {
        let (old, new) = (format!("1 {}", key('a')), format!("2 {}", key('b')));
        let before = secret(&old);
        let both = secret(&format!("{new}\n{old}\n"));
        let after = secret(&new);
        let token = before.seal_text("page", "17");
        assert_eq!(both.open_text("page", &token).as_deref(), Some("17"));
        assert_eq!(after.open_text("page", &token), None);
        assert_eq!(after.open_text("page", &both.seal_text("page", "18")).as_deref(), Some("18"));
        let same_id = secret(&format!("1 {}", key('b')));
        assert_eq!(same_id.open_text("page", &token), None, "the id alone opens nothing");
    }

    #[test]
    fn a_file_that_holds_no_keys_is_refused_without_showing_what_it_holds() {
        for (text, part) in [
            ("", "holds no key"),
            ("1", "no key"),
            ("x 00", "the id is none"),
            ("1 zz", "not hexadecimal"),
            ("1 abc", "not hexadecimal"),
            ("1 deadbeef", "too short"),
        ] {
            let message = Secret::parse(text).expect_err("no keys");
            assert!(message.contains(part) && !message.contains("deadbeef"), "{text}: {message}");
        }
        let twice = format!("1 {}\n1 {}", key('a'), key('b'));
        assert!(Secret::parse(&twice).expect_err("twice").contains("line 2"));
        assert!(!format!("{:?}", secret(&format!("1 {}", key('a')))).contains("aaaa"));
    }
}
