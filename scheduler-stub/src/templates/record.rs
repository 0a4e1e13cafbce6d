//! How templates are kept in the store.
//!
//! `scheduler/machine/ARN` is the newest version; replacing it is a compare-and-put, so that of two writers
//! one wins. Before another revision takes its place, its copy is kept under `scheduler/version/ARN/NUMBER`, without
//! what belongs to the machine as a whole (what is published, tags). Descriptions of published versions are under
//! `scheduler/published/ARN/NUMBER`, for a machine may have a thousand. Definitions are
//! kept by content under `scheduler/definition/HASH`, and never change.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use asl::Dialect;
use bytes::Bytes;
use ids::{DefinitionHash, Logging, Mode};
use journal::StoreError;
use serde::{Deserialize, Serialize};

use super::about::About;
use super::published::Published;
use super::template;

/// What is kept of one version of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) arn: String,
    pub(super) name: String,
    pub(super) express: bool,
    pub(super) tcsl: bool,
    pub(super) version: u32,
    pub(super) definition_hash: String,
    pub(super) created_ms: u64,
    pub(super) updated_ms: u64,
    pub(super) role_arn: String,
    pub(super) comment: String,
    /// Absent in records of before there was an archive.
    #[serde(default)]
    pub(super) retention_s: u32,
    /// As blocks have it. Absent in records of before histories were exported.
    #[serde(default)]
    pub(super) logging: u8,
    /// The newest record's alone, as are tags.
    #[serde(default, skip_serializing_if = "Published::is_empty")]
    pub(super) published: Published,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "About::is_empty")]
    pub(super) about: About,
}

impl Record {
    pub(super) fn mode(&self) -> Mode {
        if self.express { Mode::Express } else { Mode::Standard }
    }

    pub(super) fn dialect(&self) -> Dialect {
        if self.tcsl { Dialect::Tcsl } else { Dialect::Asl }
    }

    pub(super) fn encode(&self) -> Result<Bytes, StoreError> {
        let json = serde_json::to_vec(self).map_err(|error| StoreError::Refused(error.to_string()))?;
        Ok(json.into())
    }

    pub(super) fn decode(bytes: &Bytes) -> Result<Self, StoreError> {
        serde_json::from_slice(bytes)
            .map_err(|error| StoreError::Corrupt(format!("a template's record is unreadable: {error}")))
    }

    /// What is kept of it once another revision has taken its place.
    pub(super) fn revision(&self) -> Self {
        Self { published: Published::default(), tags: BTreeMap::new(), ..self.clone() }
    }

    pub(super) fn revision_id(&self) -> Option<String> {
        template::revision_id(&self.arn, self.version, self.updated_ms)
    }

    pub(super) fn logging(&self) -> Result<Logging, StoreError> {
        Logging::from_u8(self.logging)
            .ok_or_else(|| StoreError::Corrupt(format!("{}: no known log level", self.arn)))
    }

    pub(super) fn hash(&self) -> Result<DefinitionHash, StoreError> {
        unhex(&self.definition_hash).ok_or_else(|| {
            StoreError::Corrupt(format!("{}: definition hash {:?}", self.arn, self.definition_hash))
        })
    }
}

pub(super) const HEADS: &str = "scheduler/machine/";

pub(super) fn head_key(arn: &str) -> Bytes {
    format!("{HEADS}{arn}").into()
}

pub(super) fn versions_prefix(arn: &str) -> Bytes {
    format!("scheduler/version/{arn}/").into()
}

pub(super) fn version_key(arn: &str, version: u32) -> Bytes {
    format!("scheduler/version/{arn}/{version:010}").into()
}

pub(super) fn description_key(arn: &str, number: u32) -> Bytes {
    format!("scheduler/published/{arn}/{number}").into()
}

pub(super) fn definition_key(hash: &str) -> Bytes {
    format!("scheduler/definition/{hash}").into()
}

pub(super) fn hex(hash: &DefinitionHash) -> String {
    hash.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<DefinitionHash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_survives_its_text() {
        let hash = std::array::from_fn(|place| u8::try_from(place * 7).expect("small"));
        assert_eq!(unhex(&hex(&hash)), Some(hash));
        assert_eq!(unhex("abc"), None);
        assert_eq!(unhex(&"zz".repeat(32)), None);
    }

    #[test]
    fn a_record_of_before_anything_was_published_is_read_and_written_as_it_was() {
        let old = r#"{"arn":"a","name":"n","express":false,"tcsl":false,"version":3,"definition_hash":"h","created_ms":1,"updated_ms":2,"role_arn":"","comment":"","retention_s":0,"logging":0}"#;
        let record = Record::decode(&Bytes::from_static(old.as_bytes())).expect("read");
        assert_eq!(record.encode().expect("written"), old.as_bytes());
    }

    #[test]
    fn keys_of_the_longest_machine_are_as_long_as_stores_allow() {
        let arn = "x".repeat(super::super::MACHINE_ARN_BYTES_MAX);
        for key in [head_key(&arn), version_key(&arn, u32::MAX), description_key(&arn, u32::MAX)] {
            journal::store::check_key(&key).expect("short enough");
        }
    }

    #[test]
    fn an_unreadable_record_is_reported_as_corrupt() {
        let decoded = Record::decode(&Bytes::from_static(b"{}"));
        assert!(matches!(decoded, Err(StoreError::Corrupt(_))), "{decoded:?}");
    }
}
