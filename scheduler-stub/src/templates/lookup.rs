//! Machines, as they are looked up: whole for people, from memory for starts.
//!
//! Invariants: a start sees a machine at most [`FRESH_FOR`] old; while the store is away, what is known goes on serving, for
//! the content of a revision never changes. What may fail: ARNs that name nothing, the store.

use std::sync::Arc;

use bytes::Bytes;
use ids::{DefinitionHash, MachineName, Mode};
use journal::StoreError;

use super::cache::Entry;
use super::published::{Alias, PublishedVersion};
use super::qualified::{Qualified, Qualifier, parse};
use super::record::{self, Record};
use super::{ARN_BYTES_MAX, FRESH_FOR, Template, Templates, check_text};
use crate::error::Error;

/// Revisions that are looked through for a definition.
const REVISIONS_BACK: u32 = 64;

/// A machine, or a version of it, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The revision that was meant; its origin says as what it was found.
    pub template: Arc<Template>,
    /// What was said of the version when it was published.
    pub description: Option<String>,
    /// What tells the revision from others; the first one has none.
    pub revision_id: Option<String>,
    /// The label of a Map that stood behind the name.
    pub label: Option<String>,
}

impl Templates {
    /// One version of a machine; 0 is the newest.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown machine or version, [`Error::Invalid`] for a malformed ARN,
    /// [`Error::Store`].
    pub async fn describe(&self, arn: &str, version: u32) -> Result<Arc<Template>, Error> {
        let (_, head) = self.head(arn).await?;
        let newest = head.version;
        let record = match version {
            0 => Some(head),
            version if version > newest => None,
            version => self.revision(head, version).await?,
        };
        let record = record.ok_or_else(|| {
            let message = format!("{arn} has no version {version}: its newest is {newest}");
            Error::not_found("ResourceNotFound", message)
        })?;
        self.template(record, String::new()).await
    }

    /// What an ARN or QRN names, whatever stands behind it: a version, an alias (then the version to which most starts go),
    /// or the label of a Map (then the machine itself).
    ///
    /// # Errors
    /// As [`Templates::target`].
    pub async fn describe_as(&self, arn: &str) -> Result<Described, Error> {
        let Qualified { machine, qualifier, .. } = parse(arn)?;
        let (_, head) = self.head(machine).await?;
        let (number, label, template) = match qualifier {
            None => (None, None, self.template(head.clone(), String::new()).await?),
            Some(Qualifier::Label(label)) => {
                (None, Some(label.to_owned()), self.template(head.clone(), String::new()).await?)
            }
            Some(Qualifier::Version(number)) => {
                (Some(number), None, self.published(&head, number, number.to_string()).await?)
            }
            Some(Qualifier::Alias(name)) => {
                let routes = &alias(&head, name)?.routes;
                // The first of two that are as heavy.
                let heaviest = routes.iter().rev().max_by_key(|route| route.weight);
                let number = heaviest.map(|route| route.version).unwrap_or_default();
                (Some(number), None, self.published(&head, number, format!("{number}:{name}")).await?)
            }
        };
        let kept = number.and_then(|number| head.published.live.get(&number)?.description);
        let description = self.description(machine, kept).await?;
        Ok(Described { revision_id: template.revision_id(), template, description, label })
    }

    /// What was said of a version when it was published, which is kept under this number.
    pub(super) async fn description(
        &self,
        machine: &str,
        kept: Option<u32>,
    ) -> Result<Option<String>, Error> {
        let Some(kept) = kept else { return Ok(None) };
        let text = self.store.get(record::description_key(machine, kept)).await?;
        Ok(text.map(|text| String::from_utf8_lossy(&text).into_owned()))
    }

    /// What an ARN or QRN of a machine, a version or an alias names, for starts: from memory when it is fresh enough. An alias
    /// leads to one of its versions, as its weights say.
    ///
    /// # Errors
    /// [`Error::NotFound`] (`StateMachineDoesNotExist`) for what is unknown, [`Error::Invalid`] for a malformed ARN and for a
    /// label, [`Error::Store`].
    pub async fn target(&self, arn: &str) -> Result<Arc<Template>, Error> {
        let cached = self.cached(arn);
        if let Some((template, looked_up_us)) = &cached
            && self.is_fresh(*looked_up_us)
        {
            return Ok(Arc::clone(template));
        }
        let qualified = parse(arn)?;
        let begun = self.cache.begin();
        match self.entry(&qualified).await {
            Ok(entry) => {
                let template = entry.draw().ok_or_else(|| no_route(arn))?;
                self.cache.keep(qualified.machine, qualified.text, entry, begun);
                Ok(template)
            }
            // While the store is away, what is known goes on serving: its content is immutable.
            Err(Error::Store(store)) if store.is_retryable() => {
                cached.map(|(template, _)| template).ok_or(Error::Store(store))
            }
            Err(error) => {
                self.cache.forget(qualified.machine, qualified.text);
                Err(error)
            }
        }
    }

    /// What lists of a machine's executions ask of it: how they are kept, and whether it has published versions. `arn` may name a
    /// version or an alias, which has to be there.
    ///
    /// # Errors
    /// As [`Templates::target`].
    pub async fn listed(&self, arn: &str) -> Result<(Mode, bool), Error> {
        let Qualified { machine, qualifier, .. } = parse(arn)?;
        let (_, head) = self.head(machine).await?;
        match qualifier {
            None => {}
            Some(Qualifier::Version(number)) => drop(version(&head, number)?),
            Some(Qualifier::Alias(name)) => drop(alias(&head, name)?),
            Some(Qualifier::Label(_)) => return Err(no_label()),
        }
        Ok((head.mode(), !head.published.live.is_empty()))
    }

    /// As [`Templates::target`], where it is known and fresh; asks nobody.
    #[must_use]
    pub fn known(&self, arn: &str) -> Option<Arc<Template>> {
        let (template, looked_up_us) = self.cached(arn)?;
        self.is_fresh(looked_up_us).then_some(template)
    }

    /// The revision of a machine that has this definition: the newest one, or one of the 64 before it.
    ///
    /// # Errors
    /// As [`Templates::describe`].
    pub async fn of_definition(
        &self,
        arn: &str,
        hash: &DefinitionHash,
    ) -> Result<Option<Arc<Template>>, Error> {
        let (_, head) = self.head(arn).await?;
        let wanted = record::hex(hash);
        if head.definition_hash == wanted {
            return Ok(Some(self.template(head, String::new()).await?));
        }
        for revision in (1..head.version).rev().take(REVISIONS_BACK as usize) {
            let kept = self.store.get(record::version_key(arn, revision)).await?;
            if let Some(record) = kept.as_ref().map(Record::decode).transpose()?
                && record.definition_hash == wanted
            {
                return Ok(Some(self.template(record, String::new()).await?));
            }
        }
        Ok(None)
    }

    /// The text of a definition, whichever machine has it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn definition_text(&self, hash: &DefinitionHash) -> Result<Option<Bytes>, Error> {
        Ok(self.store.get(record::definition_key(&record::hex(hash))).await?)
    }

    fn is_fresh(&self, looked_up_us: u64) -> bool {
        let fresh = u64::try_from(FRESH_FOR.as_micros()).unwrap_or(u64::MAX);
        self.clock.now_us().saturating_sub(looked_up_us) < fresh
    }

    fn cached(&self, arn: &str) -> Option<(Arc<Template>, u64)> {
        // The usual case: a machine's own ARN is a key as it is.
        self.cache.get(arn, "").or_else(|| {
            let Qualified { machine, qualifier, text } = parse(arn).ok()?;
            qualifier.and_then(|_| self.cache.get(machine, text))
        })
    }

    async fn entry(&self, qualified: &Qualified<'_>) -> Result<Entry, Error> {
        let looked_up_us = self.clock.now_us();
        let (_, head) = self.head(qualified.machine).await?;
        let one = |template| Entry::of(template, looked_up_us);
        match qualified.qualifier {
            None => Ok(one(self.template(head, String::new()).await?)),
            Some(Qualifier::Version(number)) => {
                Ok(one(self.published(&head, number, number.to_string()).await?))
            }
            Some(Qualifier::Alias(name)) => {
                let mut routes = Vec::with_capacity(2);
                for route in &alias(&head, name)?.routes {
                    let origin = format!("{}:{name}", route.version);
                    routes.push((self.published(&head, route.version, origin).await?, route.weight));
                }
                Ok(Entry { routes, looked_up_us })
            }
            Some(Qualifier::Label(_)) => Err(no_label()),
        }
    }

    /// A published version of a machine.
    async fn published(&self, head: &Record, number: u32, origin: String) -> Result<Arc<Template>, Error> {
        let version = version(head, number)?;
        let record = self.revision(head.clone(), version.revision).await?;
        let record = record.ok_or_else(|| {
            let what =
                format!("revision {} of {} is missing, which is published", version.revision, head.arn);
            Error::Store(StoreError::Corrupt(what))
        })?;
        self.template(record, origin).await
    }

    /// One revision of a machine.
    async fn revision(&self, head: Record, revision: u32) -> Result<Option<Record>, Error> {
        if revision == head.version {
            return Ok(Some(head));
        }
        let kept = self.store.get(record::version_key(&head.arn, revision)).await?;
        Ok(kept.as_ref().map(Record::decode).transpose()?)
    }

    async fn template(&self, record: Record, origin: String) -> Result<Arc<Template>, Error> {
        let definition = self.definition(&record).await?;
        Ok(Arc::new(super::template_of(record, definition, origin)?))
    }

    pub(super) async fn head(&self, arn: &str) -> Result<(Bytes, Record), Error> {
        check_text("state machine ARN", arn, ARN_BYTES_MAX)?;
        if let Err(error) = MachineName::parse(arn) {
            return Err(Error::invalid("InvalidArn", error.to_string()));
        }
        let Some(bytes) = self.store.get(record::head_key(arn)).await? else {
            let message = format!("{arn} does not exist: create it, or list the machines that do");
            return Err(Error::not_found("StateMachineDoesNotExist", message));
        };
        let record = Record::decode(&bytes)?;
        Ok((bytes, record))
    }

    /// The text of a record's definition; from memory where another entry of the machine has it.
    pub(super) async fn definition(&self, record: &Record) -> Result<Bytes, Error> {
        if let Some(known) = self.cache.definition(&record.arn, &record.hash()?) {
            return Ok(known);
        }
        let key = record::definition_key(&record.definition_hash);
        self.store.get(key).await?.ok_or_else(|| {
            let what = format!("the definition {} of {} is missing", record.definition_hash, record.arn);
            Error::Store(StoreError::Corrupt(what))
        })
    }
}

fn no_label() -> Error {
    let message = "the label of a Map names nothing that can be started or listed: name its state machine";
    Error::invalid("ValidationException", message)
}

/// A published version of a machine, for starts, describes and lists.
fn version(head: &Record, number: u32) -> Result<PublishedVersion, Error> {
    head.published.live.get(&number).copied().ok_or_else(|| {
        let message = format!("{} has no version {number}: list its versions, or publish one", head.arn);
        Error::not_found("StateMachineDoesNotExist", message)
    })
}

/// An alias of a machine, for starts, describes and lists.
fn alias<'a>(head: &'a Record, name: &str) -> Result<&'a Alias, Error> {
    head.published.aliases.get(name).ok_or_else(|| {
        let message = format!("{} has no alias {name}: list its aliases, or create it", head.arn);
        Error::not_found("StateMachineDoesNotExist", message)
    })
}

fn no_route(arn: &str) -> Error {
    Error::Store(StoreError::Corrupt(format!("{arn} leads nowhere")))
}
