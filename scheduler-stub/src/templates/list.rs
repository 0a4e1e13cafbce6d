//! Machines, page by page.
//!
//! Invariant: while a page is read, what is held of a machine is its line and not what else is kept of it. What may fail: tokens,
//! the store.

use asl::Dialect;
use bytes::Bytes;
use ids::Mode;

use super::record::{self, Record};
use super::{Templates, page_limit};
use crate::error::Error;

/// What the tokens of pages of machines are sealed for.
const PURPOSE: &str = "state machines";

/// Records that are read at once: each may have a default input, and as many versions as there may be.
const HEADS_AT_ONCE: usize = 64;

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// ARN or QRN.
    pub arn: String,
    /// Its own name.
    pub name: String,
    /// How its executions are kept.
    pub mode: Mode,
    /// The language of its definition.
    pub dialect: Dialect,
    /// The newest revision.
    pub version: u32,
    /// Unix time in milliseconds.
    pub created_ms: u64,
    /// Unix time in milliseconds of the newest revision.
    pub updated_ms: u64,
    /// Whose permissions its tasks have.
    pub role_arn: String,
    /// For people.
    pub comment: String,
    /// See [`super::About::chinese_name`].
    pub chinese_name: String,
}

impl From<Record> for Summary {
    fn from(record: Record) -> Self {
        let (mode, dialect) = (record.mode(), record.dialect());
        let Record { arn, name, version, created_ms, updated_ms, role_arn, comment, about, .. } = record;
        let chinese_name = about.chinese_name;
        Self { arn, name, mode, dialect, version, created_ms, updated_ms, role_arn, comment, chinese_name }
    }
}

impl Templates {
    /// One page of machines in the order of their ARNs. The token of the last page is empty.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a foreign token, [`Error::Store`].
    pub async fn list(&self, max_results: u32, token: &str) -> Result<(Vec<Summary>, String), Error> {
        let limit = page_limit(max_results);
        let mut after = self.open(PURPOSE, token)?.map(|arn| record::head_key(&arn));
        let mut page: Vec<Summary> = Vec::new();
        while page.len() <= limit {
            let wanted = (limit + 1 - page.len()).min(HEADS_AT_ONCE);
            let heads = Bytes::from_static(record::HEADS.as_bytes());
            let entries = self.store.scan(heads, after.take(), wanted).await?;
            let is_last = entries.len() < wanted;
            for (key, value) in entries {
                page.push(Record::decode(&value)?.into());
                after = Some(key);
            }
            if is_last {
                break;
            }
        }
        let more = page.len() > limit;
        page.truncate(limit);
        let last = page.last().filter(|_| more);
        let next = last.map(|last| self.seal(PURPOSE, &last.arn)).transpose()?;
        Ok((page, next.unwrap_or_default()))
    }
}
