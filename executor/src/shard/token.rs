//! The token under which a task goes out and its outcome comes back.
//!
//! A token names its task by what every owner of the partition knows (execution, effect, run) and is sealed by the cluster's
//! secret, so that it outlives the process that gave it and the move of its partition, and nobody makes one up. Invariants: a
//! token of another secret, another purpose or with any byte changed is none; a token of an EXPRESS run that a recovery has
//! begun anew is not taken for a task of the run that followed, since the effects of the two need not be the same. STANDARD
//! executions go on from their journal and have one run. Nothing here fails: what is no token of ours is `None`.
//!
//! The token of a callback (`$$.Task.Token`) is the same, of run 0 and without a hint, as text: base64url without padding.
//! Sealing draws nothing, so a replay spells the token that went out, and an activity's worker is given the text that the
//! context would show. After a change of keys it spells another one of the same length: the one that went out is opened as long
//! as its key is in the secret, and so is the new one; only a definition that compares the text itself could tell. An operator
//! who removes a key from the secret ends the callbacks whose tokens it sealed.
//!
//! Format, sealed for the purpose `task`, numbers big-endian: partition (2 bytes), incarnation (4), sequence (5), index (1),
//! effect (8), run (4), hint (8). Nothing of it is secret: the partition may be read without the key, to find the shard.

use asl::{EffectId, Str};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ids::{BatchId, ExecutionId, PartitionId};
use trust::Secret;

use super::slab::Address;
use crate::limits;

const PURPOSE: &str = "task";
const CONTENT_BYTES: usize = 32;
/// A sealed token begins with the id of its key.
const KEY_ID_BYTES: usize = 1;

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskToken {
    /// Whose task it is.
    pub execution: ExecutionId,
    /// Which of its effects; a retry is another one.
    pub effect: EffectId,
    /// Of an EXPRESS execution the generation in which its run began, cut to 32 bits; 0 for a STANDARD one.
    pub run: u32,
    /// Where the task was in the shard that sent it: the first place to look at, and never more than that.
    pub hint: Address,
}

impl TaskToken {
    /// That of a callback.
    #[must_use]
    pub fn of_callback(execution: ExecutionId, effect: EffectId) -> Self {
        Self { execution, effect, run: 0, hint: Address::default() }
    }

    /// As text, for people and other programs.
    #[must_use]
    pub fn seal_text(&self, secret: &Secret) -> Str {
        URL_SAFE_NO_PAD.encode(self.seal(secret)).into()
    }

    /// From text that has come back.
    #[must_use]
    pub fn open_text(secret: &Secret, text: &str) -> Option<Self> {
        Self::open(secret, &decode(text)?)
    }

    /// As it goes out.
    #[must_use]
    pub fn seal(&self, secret: &Secret) -> Bytes {
        let mut content = [0; CONTENT_BYTES];
        content[..11].copy_from_slice(&self.execution.batch.to_bytes());
        content[11] = self.execution.index;
        content[12..20].copy_from_slice(&self.effect.0.to_be_bytes());
        content[20..24].copy_from_slice(&self.run.to_be_bytes());
        content[24..28].copy_from_slice(&self.hint.slot.to_be_bytes());
        content[28..].copy_from_slice(&self.hint.generation.to_be_bytes());
        secret.seal(PURPOSE, &content).into()
    }

    /// Whether it names the same task for the next owner of the partition.
    #[must_use]
    pub fn outlives_its_owner(&self) -> bool {
        self.run == 0
    }

    /// From what has come back.
    #[must_use]
    pub fn open(secret: &Secret, token: &[u8]) -> Option<Self> {
        let content: &[u8; CONTENT_BYTES] = secret.open(PURPOSE, token)?.try_into().ok()?;
        let (batch, rest) = content.split_first_chunk::<11>()?;
        let (index, rest) = rest.split_first()?;
        let (effect, rest) = rest.split_first_chunk::<8>()?;
        let (run, rest) = rest.split_first_chunk::<4>()?;
        let (slot, rest) = rest.split_first_chunk::<4>()?;
        let generation = rest.first_chunk::<4>()?;
        let hint = Address { slot: u32::from_be_bytes(*slot), generation: u32::from_be_bytes(*generation) };
        Some(Self {
            execution: BatchId::from_bytes(*batch).ok()?.execution(*index),
            effect: EffectId(u64::from_be_bytes(*effect)),
            run: u32::from_be_bytes(*run),
            hint,
        })
    }
}

/// The partition that a token speaks of, whoever has made it: the shard that has the partition judges.
#[must_use]
pub fn partition_of(token: &[u8]) -> Option<PartitionId> {
    let partition = token.get(KEY_ID_BYTES..)?.first_chunk::<2>()?;
    PartitionId::new(u32::from(u16::from_be_bytes(*partition))).ok()
}

/// The same of a token as text.
#[must_use]
pub fn partition_of_text(text: &str) -> Option<PartitionId> {
    partition_of(&decode(text)?)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len() > limits::TASK_TOKEN_BYTES_MAX { None } else { URL_SAFE_NO_PAD.decode(text).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> TaskToken {
        let partition = PartitionId::new(0x0203).expect("in range");
        let batch = BatchId::new(partition, 7, (1 << 40) - 1).expect("in range");
        let hint = Address { slot: 5, generation: 6 };
        TaskToken { execution: batch.execution(255), effect: EffectId(1 << 40 | 3), run: 9, hint }
    }

    #[test]
    fn a_token_is_read_by_whoever_has_the_secret_and_by_nobody_once_it_is_changed() {
        let (secret, other) = (Secret::from_key(&[1; 32]), Secret::from_key(&[2; 32]));
        let sealed = token().seal(&secret);
        assert_eq!(sealed.len(), 49);
        assert_eq!(TaskToken::open(&secret, &sealed), Some(token()));
        assert_eq!(TaskToken::open(&other, &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert_eq!(TaskToken::open(&secret, &changed), None, "byte {at}");
        }
        for cut in [0, 1, 16, 17, sealed.len() - 1] {
            assert_eq!(TaskToken::open(&secret, &sealed[..cut]), None, "{cut} bytes");
        }
        let of_a_page = secret.seal("list", &sealed[1..33]);
        assert_eq!(TaskToken::open(&secret, &of_a_page), None, "a seal of another purpose");
    }

    #[test]
    fn the_partition_of_a_token_is_read_without_the_secret() {
        let sealed = token().seal(&Secret::from_key(&[1; 32]));
        assert_eq!(partition_of(&sealed).map(PartitionId::get), Some(0x0203));
        assert_eq!(partition_of(b"x"), None);
        assert_eq!(partition_of(&[0xff; 49]), None, "no such partition");
    }

    #[test]
    fn a_callbacks_token_is_text_that_fits_into_a_url_and_is_opened_in_one_spelling_only() {
        let secret = Secret::from_key(&[1; 32]);
        let callback = TaskToken::of_callback(token().execution, token().effect);
        let text = callback.seal_text(&secret);
        assert_eq!(text, callback.seal_text(&secret), "a replay spells it alike");
        assert!(
            text.len() == 66
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        assert_eq!(TaskToken::open_text(&secret, &text), Some(callback));
        assert_eq!(partition_of_text(&text).map(PartitionId::get), Some(0x0203));
        assert_eq!(TaskToken::open_text(&Secret::from_key(&[2; 32]), &text), None);
        let long = text.repeat(40);
        for other in ["", "?", &text[1..], &text[..65], &format!("{text}="), &format!(" {text}"), &long] {
            assert_eq!(TaskToken::open_text(&secret, other), None, "{other}");
        }
        let last = &text[65..];
        for spelling in ('a'..='z').chain('A'..='Z').filter(|letter| !last.starts_with(*letter)) {
            assert_eq!(TaskToken::open_text(&secret, &format!("{}{spelling}", &text[..65])), None);
        }
    }
}
