//! Labels that operators give to machines and activities.
//!
//! Invariant: a resource has at most [`TAGS_MAX`]. What may fail: a tag too many.
//! Source: docs.aws.amazon.com/step-functions/latest/dg/sfn-best-practices.html and API_TagResource (quota, lengths).

use std::collections::BTreeMap;

use super::Templates;
use super::qualified::plain;
use super::record::Record;
use crate::error::Error;

/// Tags of one resource (Step Functions).
pub const TAGS_MAX: usize = 50;

/// A key, in characters (Step Functions).
const KEY_CHARS_MAX: usize = 128;

/// A value, in characters (Step Functions).
const VALUE_CHARS_MAX: usize = 256;

/// Whether a resource may have these.
///
/// # Errors
/// [`Error::Limit`] (`TooManyTags`), [`Error::Invalid`] for a text that is too long.
pub(crate) fn check(tags: &BTreeMap<String, String>) -> Result<(), Error> {
    if tags.len() > TAGS_MAX {
        let message = format!("the resource would have {} tags: at most {TAGS_MAX} are allowed", tags.len());
        return Err(Error::Limit { code: "TooManyTags".to_owned(), message });
    }
    let long = |text: &str, most| text.chars().count() > most;
    match tags
        .iter()
        .find(|(key, value)| key.is_empty() || long(key, KEY_CHARS_MAX) || long(value, VALUE_CHARS_MAX))
    {
        None => Ok(()),
        Some(_) => {
            let message = format!(
                "a tag's key has 1 to {KEY_CHARS_MAX} characters, its value at most {VALUE_CHARS_MAX}: one has other lengths"
            );
            Err(Error::invalid("ValidationException", message))
        }
    }
}

impl Templates {
    /// The tags of a machine.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown machine, [`Error::Invalid`] for what is no machine's ARN, [`Error::Store`].
    pub async fn tags(&self, arn: &str) -> Result<BTreeMap<String, String>, Error> {
        plain(arn)?;
        Ok(self.head(arn).await?.1.tags)
    }

    /// Gives a machine tags; one that is there has a new value then.
    ///
    /// # Errors
    /// As [`Templates::tags`], and as [`TAGS_MAX`] says.
    pub async fn tag(&self, arn: &str, tags: &BTreeMap<String, String>) -> Result<(), Error> {
        plain(arn)?;
        let add = |record: &mut Record| {
            record.tags.extend(tags.iter().map(|(key, value)| (key.clone(), value.clone())));
            check(&record.tags)
        };
        self.amend(arn, add).await
    }

    /// Takes tags of a machine away, those of them that are there.
    ///
    /// # Errors
    /// As [`Templates::tags`].
    pub async fn untag(&self, arn: &str, keys: &[String]) -> Result<(), Error> {
        plain(arn)?;
        let remove = |record: &mut Record| {
            record.tags.retain(|key, _| !keys.contains(key));
            Ok(())
        };
        self.amend(arn, remove).await
    }
}
