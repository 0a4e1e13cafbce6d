//! Templates: state machines with their versions, kept in the store.
//!
//! Invariants: a definition that does not compile is never stored; of two writers who change a machine at the
//! same time one wins and the other is told so, or tries again where both can be had; a machine that starts look up is at most
//! [`FRESH_FOR`] old when another scheduler changed it, and never old when this one did. What may fail: the definition (with
//! all its diagnostics), the name, the store.
//!
//! Words: each update makes a *revision* (gRPC calls it a version); a *published version* is a revision with a number that it
//! keeps; an *alias* leads to published versions.
//!
//! Rooms: `template` (a revision), `about` (what machines are made of), `qualified` (ARNs with what stands behind them),
//! `published` (versions and aliases), `record` (how all of it is kept), `cache` (what starts look up), `list`, `lookup`, `versions`,
//! `tags` (the calls), and here the machines themselves.

mod about;
mod cache;
mod list;
mod lookup;
mod published;
mod qualified;
mod record;
pub(crate) mod tags;
mod template;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use asl::definition::MachineType;
use asl::{Diagnostic, Dialect, Program, Severity};
use bytes::Bytes;
use executor::clock::Clock;
use executor::secret::ClusterSecret;
use ids::{DefinitionHash, Logging, Mode};
use journal::{Store, StoreError};

use crate::error::Error;
use crate::names::{self, Naming};
use cache::{Cache, Entry};
use published::Published;
use qualified::plain;
use record::Record;

pub use about::{About, AboutChange, Change, DEFAULT_INPUT_BYTES_MAX, NewTemplate};
pub use list::Summary;
pub use lookup::Described;
pub use published::{ALIASES_MAX, Alias, PublishedVersion, ROUTES_MAX, Route, VERSIONS_MAX};
pub use qualified::{Qualified, Qualifier, is_alias_name, parse};
pub use tags::TAGS_MAX;
pub use template::Template;

/// How long a looked-up machine serves starts before the store is asked again.
pub const FRESH_FOR: Duration = Duration::from_secs(2);

/// Machines, versions and aliases that stay looked up. Beyond, all are forgotten and looked up anew.
pub const CACHED_MAX: usize = 10_000;

/// A definition, in bytes (Step Functions).
pub const DEFINITION_BYTES_MAX: usize = 1 << 20;

/// An ARN or QRN, in bytes (Step Functions).
pub const ARN_BYTES_MAX: usize = 256;

/// The ARN or QRN of a machine that is made, in bytes: keys of the store hold it, and more.
pub const MACHINE_ARN_BYTES_MAX: usize = 220;

/// A comment, in bytes.
pub const COMMENT_BYTES_MAX: usize = 4_096;

/// The description of a version or an alias, in characters (Step Functions).
pub const DESCRIPTION_CHARS_MAX: usize = 256;

/// Machines, versions or aliases of one page of a listing.
pub const PAGE_MAX: u32 = 1_000;

/// How often a change is tried while others change the machine.
const TRIES_MAX: usize = 16;

/// What a create or an update gives.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The revision as stored.
    pub template: Arc<Template>,
    /// What is odd in its definition.
    pub warnings: Vec<String>,
    /// As which version it was published, where that was asked for.
    pub published: Option<u32>,
}

/// The template store.
pub struct Templates {
    store: Arc<dyn Store>,
    clock: Clock,
    naming: Naming,
    secret: Arc<ClusterSecret>,
    cache: Cache,
}

impl Templates {
    /// Templates kept in `store`; the secret seals the tokens of pages.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock, naming: Naming, secret: Arc<ClusterSecret>) -> Self {
        Self { store, clock, naming, secret, cache: Cache::default() }
    }

    /// Creates a machine. Creating the same again (name, definition, mode, role, logging, what else is said of it but a comment,
    /// tags and retention; published too, with the same description, where that is asked for) gives the one that exists, as in
    /// Step Functions.
    ///
    /// # Errors
    /// [`Error::Invalid`] (`InvalidName`, `InvalidDefinition`, …), [`Error::Conflict`] with the code
    /// `StateMachineAlreadyExists` when the name is taken by another one, [`Error::Limit`] (`TooManyTags`), [`Error::Store`].
    pub async fn create(&self, new: NewTemplate) -> Result<Stored, Error> {
        names::check_name("state machine", &new.name)?;
        check_text("comment", &new.comment, COMMENT_BYTES_MAX)?;
        check_role(&new.role_arn)?;
        new.about.check()?;
        tags::check(&new.tags)?;
        let (hash, warnings) = compile(&new.definition, new.dialect, new.mode)?;
        let arn = self.naming.machine(&new.name, new.dialect);
        if arn.len() > MACHINE_ARN_BYTES_MAX {
            let length = arn.len();
            let message = format!(
                "the machine's ARN would have {length} bytes: at most {MACHINE_ARN_BYTES_MAX} are allowed, a shorter name helps"
            );
            return Err(Error::invalid("InvalidName", message));
        }
        let begun = self.cache.begin();
        let NewTemplate { definition, publish, role_may_differ, .. } = new.clone();
        let mut record = first(new, arn, &hash, self.clock.now_ms());
        let published = match &publish {
            Some(description) => Some(self.publish_in(&mut record, description.as_deref()).await?),
            None => None,
        };
        self.store.put(record::definition_key(&record.definition_hash), definition.clone()).await?;
        let head = record::head_key(&record.arn);
        if !self.store.compare_and_put(head, None, Some(record.encode()?)).await? {
            self.take_back(&record, published).await?;
            let (template, published) = self.same(record, publish.as_ref(), role_may_differ).await?;
            return Ok(Stored { template, warnings, published });
        }
        let template = self.remember(record, definition, begun)?;
        Ok(Stored { template, warnings, published })
    }

    /// The machine that exists under the name of a new one, if it is the same, and as which version it is published where that
    /// was asked for, with a description or without one.
    async fn same(
        &self,
        new: Record,
        asked: Option<&Option<String>>,
        role_may_differ: bool,
    ) -> Result<(Arc<Template>, Option<u32>), Error> {
        let (_, head) = self.head(&new.arn).await?;
        let said = |record: &Record| {
            (record.definition_hash.clone(), record.express, record.logging, record.about.clone())
        };
        let published = match (asked, head.published.of_revision(head.version)) {
            (None, _) => Some(None),
            (Some(asked), Some((number, version))) => {
                let described = self.description(&head.arn, version.description).await?;
                (described == asked.clone().filter(|text| !text.is_empty())).then_some(Some(number))
            }
            (Some(_), None) => None,
        };
        let same = said(&head) == said(&new) && (role_may_differ || head.role_arn == new.role_arn);
        if let Some(published) = published.filter(|_| same) {
            return Ok((self.describe(&new.arn, 0).await?, published));
        }
        let message = format!(
            "{} exists with another definition, type, role, configuration or published version: update it, or delete it first",
            new.arn
        );
        Err(Error::conflict("StateMachineAlreadyExists", message))
    }

    /// Gives a machine a new definition, or changes what else is said of it. What it was stays as a revision.
    ///
    /// # Errors
    /// As [`Templates::create`]; [`Error::Invalid`] with `MissingRequiredParameter` for a change of nothing; [`Error::NotFound`]
    /// for an unknown machine; [`Error::Conflict`] with the code `ConflictException` when another writer was quicker.
    pub async fn update(&self, arn: &str, change: Change) -> Result<Stored, Error> {
        plain(arn)?;
        check_text("comment", change.comment.as_deref().unwrap_or_default(), COMMENT_BYTES_MAX)?;
        change.role_arn.as_deref().map_or(Ok(()), check_role)?;
        if !change.is_any() {
            let message = "give a definition, or something else that is to change";
            return Err(Error::invalid("MissingRequiredParameter", message));
        }
        let mut seen = None;
        for _ in 0..TRIES_MAX {
            let begun = self.cache.begin();
            let (old_bytes, old) = self.head(arn).await?;
            // A machine that was made anew begins again with version 1.
            if *seen.get_or_insert((old.created_ms, old.version)) != (old.created_ms, old.version) {
                break;
            }
            let definition = match &change.definition {
                definition if definition.is_empty() => self.definition(&old).await?,
                definition => definition.clone(),
            };
            let (hash, warnings) = compile(&definition, old.dialect(), old.mode())?;
            let mut new = changed(&old, &change, &hash, self.clock.now_ms());
            new.about.check()?;
            let published = match &change.publish {
                Some(description) => Some(self.publish_in(&mut new, description.as_deref()).await?),
                None => None,
            };
            self.store.put(record::definition_key(&new.definition_hash), definition.clone()).await?;
            let head = record::head_key(arn);
            if self.keep_revision(&old, &old_bytes).await?
                && self.store.compare_and_put(head, Some(old_bytes), Some(new.encode()?)).await?
            {
                return Ok(Stored { template: self.remember(new, definition, begun)?, warnings, published });
            }
            self.take_back(&new, published).await?;
            self.drop_orphan(&old).await?;
        }
        self.cache.forget(arn, "");
        let message = format!("{arn} was changed by someone else just now: describe it, then update again");
        Err(Error::conflict("ConflictException", message))
    }

    /// Keeps a copy of the revision that is to be replaced; `false` when others were quicker. What is kept already is written over
    /// only while the revision is still the machine's newest: else it is that of a machine that was made anew under this name,
    /// which may have published it.
    async fn keep_revision(&self, old: &Record, old_bytes: &Bytes) -> Result<bool, Error> {
        let (key, copy) = (record::version_key(&old.arn, old.version), old.revision().encode()?);
        let kept = self.store.get(key.clone()).await?;
        // Whoever else replaces this revision keeps the same of it.
        if kept.as_ref() == Some(&copy) {
            return Ok(true);
        }
        if kept.is_some() && self.store.get(record::head_key(&old.arn)).await?.as_ref() != Some(old_bytes) {
            return Ok(false);
        }
        Ok(self.store.compare_and_put(key, kept, Some(copy)).await?)
    }

    /// Removes the copy that was kept of a revision, where its machine is gone: who deleted it may have looked for copies before
    /// this one was there. While the machine is there its deletion is yet to look, and others may have replaced the revision.
    async fn drop_orphan(&self, old: &Record) -> Result<(), Error> {
        let head = self.store.get(record::head_key(&old.arn)).await?;
        let head = head.as_ref().map(Record::decode).transpose()?;
        if head.is_none_or(|head| head.created_ms != old.created_ms) {
            let (key, copy) = (record::version_key(&old.arn, old.version), old.revision().encode()?);
            self.store.compare_and_put(key, Some(copy), None).await?;
        }
        Ok(())
    }

    /// Deletes a machine with its revisions, versions and aliases. Executions under way go on.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown machine, [`Error::Unavailable`] while others change it without a pause,
    /// [`Error::Store`].
    pub async fn delete(&self, arn: &str) -> Result<(), Error> {
        plain(arn)?;
        for _ in 0..TRIES_MAX {
            let begun = self.cache.begin();
            let (bytes, record) = self.head(arn).await?;
            if self.store.compare_and_put(record::head_key(arn), Some(bytes), None).await? {
                self.cache.changed(arn, None, begun);
                return self.clear(&record).await;
            }
        }
        Err(busy(arn))
    }

    /// Removes what was kept beside a machine that is deleted. One that was created under its name since keeps what it has.
    async fn clear(&self, gone: &Record) -> Result<(), Error> {
        for kept in gone.published.live.values().filter_map(|version| version.description) {
            self.remove(record::description_key(&gone.arn, kept)).await?;
        }
        let mut after = None;
        loop {
            let kept = self.store.scan(record::versions_prefix(&gone.arn), after, 256).await?;
            let Some((last, _)) = kept.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, value) in kept {
                if Record::decode(&value)?.created_ms == gone.created_ms {
                    self.store.compare_and_put(key, Some(value), None).await?;
                }
            }
        }
    }

    /// Removes what nobody points at any more.
    async fn remove(&self, key: Bytes) -> Result<(), Error> {
        if let Some(value) = self.store.get(key.clone()).await? {
            self.store.compare_and_put(key, Some(value), None).await?;
        }
        Ok(())
    }

    /// Changes what belongs to a machine as a whole; tried again while others change it.
    async fn amend<T>(
        &self,
        arn: &str,
        change: impl Fn(&mut Record) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for _ in 0..TRIES_MAX {
            let begun = self.cache.begin();
            let (bytes, old) = self.head(arn).await?;
            let mut new = old.clone();
            let given = change(&mut new)?;
            if new == old {
                return Ok(given);
            }
            if self.store.compare_and_put(record::head_key(arn), Some(bytes), Some(new.encode()?)).await? {
                self.cache.changed(arn, None, begun);
                return Ok(given);
            }
        }
        Err(busy(arn))
    }

    /// What a machine is now that it was changed here.
    fn remember(&self, record: Record, definition: Bytes, begun: u64) -> Result<Arc<Template>, Error> {
        let template = Arc::new(template_of(record, definition, String::new())?);
        let entry = Entry::of(Arc::clone(&template), self.clock.now_us());
        self.cache.changed(&template.arn, Some(entry), begun);
        Ok(template)
    }

    /// The place that a page's token says; `None` without one.
    fn open(&self, purpose: &str, token: &str) -> Result<Option<String>, Error> {
        if token.is_empty() {
            return Ok(None);
        }
        let secret = self.secret.get().map_err(|error| Error::unavailable(error.to_string()))?;
        let message = "next_token was not given by this call: begin again without one";
        let place =
            secret.open_text(purpose, token).ok_or_else(|| Error::invalid("InvalidToken", message))?;
        Ok(Some(place))
    }

    fn seal(&self, purpose: &str, place: &str) -> Result<String, Error> {
        let secret = self.secret.get().map_err(|error| Error::unavailable(error.to_string()))?;
        Ok(secret.seal_text(purpose, place))
    }
}

/// Others change the machine all the time.
fn busy(arn: &str) -> Error {
    Error::unavailable(format!("{arn} is being changed by others at the same time: try again"))
}

fn page_limit(max_results: u32) -> usize {
    let limit = if max_results == 0 { 100 } else { max_results.min(PAGE_MAX) };
    limit as usize
}

/// The record of a machine's first revision.
fn first(new: NewTemplate, arn: String, hash: &DefinitionHash, now: u64) -> Record {
    Record {
        arn,
        name: new.name,
        express: new.mode == Mode::Express,
        tcsl: new.dialect == Dialect::Tcsl,
        version: 1,
        definition_hash: record::hex(hash),
        created_ms: now,
        updated_ms: now,
        role_arn: new.role_arn,
        comment: new.comment,
        retention_s: new.retention_s,
        logging: new.logging.to_u8(),
        published: Published::default(),
        tags: new.tags,
        about: new.about,
    }
}

/// The record of the revision that follows.
fn changed(old: &Record, change: &Change, hash: &DefinitionHash, now: u64) -> Record {
    Record {
        version: old.version.saturating_add(1),
        definition_hash: record::hex(hash),
        updated_ms: now,
        comment: change.comment.clone().unwrap_or_else(|| old.comment.clone()),
        retention_s: change.retention_s.unwrap_or(old.retention_s),
        role_arn: change.role_arn.clone().unwrap_or_else(|| old.role_arn.clone()),
        logging: change.logging.map_or(old.logging, Logging::to_u8),
        about: change.about.clone().of(&old.about),
        ..old.clone()
    }
}

fn template_of(record: Record, definition: Bytes, origin: String) -> Result<Template, StoreError> {
    let (mode, dialect, hash) = (record.mode(), record.dialect(), record.hash()?);
    let logging = record.logging()?;
    let Record { arn, name, version, created_ms, updated_ms, role_arn, comment, retention_s, about, .. } =
        record;
    Ok(Template {
        arn,
        name,
        mode,
        dialect,
        definition,
        hash,
        version,
        created_ms,
        updated_ms,
        role_arn,
        comment,
        retention_s,
        logging,
        origin,
        about,
    })
}

fn check_text(what: &str, text: &str, bytes_max: usize) -> Result<(), Error> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    let message = format!("the {what} has {} bytes: at most {bytes_max} are allowed", text.len());
    Err(Error::invalid("ValidationException", message))
}

/// A role's ARN or QRN; empty is none.
fn check_role(arn: &str) -> Result<(), Error> {
    check_text("role ARN", arn, ARN_BYTES_MAX)?;
    if arn.is_empty() {
        return Ok(());
    }
    ids::check_role(arn).map_err(|error| Error::invalid("InvalidArn", error.to_string()))
}

/// Compiles a definition: its hash and warnings, or all its problems in one error.
fn compile(definition: &[u8], dialect: Dialect, mode: Mode) -> Result<(DefinitionHash, Vec<String>), Error> {
    if definition.len() > DEFINITION_BYTES_MAX {
        let length = definition.len();
        let message =
            format!("the definition has {length} bytes: at most {DEFINITION_BYTES_MAX} are allowed");
        return Err(Error::invalid("InvalidDefinition", message));
    }
    let machine = match mode {
        Mode::Standard => MachineType::Standard,
        Mode::Express | Mode::SyncExpress => MachineType::Express,
    };
    match Program::compile_for(definition, dialect, machine) {
        Ok(compiled) => Ok((compiled.program.hash, compiled.warnings.iter().map(describe).collect())),
        Err(findings) => {
            let lines: Vec<String> =
                findings.iter().filter(|finding| finding.severity == Severity::Error).map(describe).collect();
            Err(Error::invalid("InvalidDefinition", lines.join("\n")))
        }
    }
}

/// One line for a diagnostic: place first, as compilers write it.
fn describe(finding: &Diagnostic) -> String {
    let Diagnostic { code, message, location, line, column, .. } = finding;
    let location = if location.is_empty() { "the definition" } else { location };
    format!("{line}:{column}: {code}: {message} at {location}")
}
