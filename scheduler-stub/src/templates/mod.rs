//! Templates: state machines with their versions, kept in the store.
//!
//! Invariants: a definition that does not compile is never stored; of two writers who change a machine at the
//! same time one wins and the other is told so; a machine that starts look up is at most [`FRESH_FOR`] old
//! when another scheduler changed it, and never old when this one did. What may fail: the definition (with
//! all its diagnostics), the name, the store.

mod record;

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use asl::definition::MachineType;
use asl::{Diagnostic, Dialect, Program, Severity};
use bytes::Bytes;
use executor::clock::Clock;
use ids::{DefinitionHash, Logging, MachineName, Mode};
use journal::{Store, StoreError};

use crate::error::Error;
use crate::names::{self, Naming};
use record::Record;

/// How long a looked-up machine serves starts before the store is asked again.
pub const FRESH_FOR: Duration = Duration::from_secs(2);

/// Machines that stay looked up. Beyond, all are forgotten and looked up anew.
pub const CACHED_MAX: usize = 10_000;

/// A definition, in bytes (Step Functions).
pub const DEFINITION_BYTES_MAX: usize = 1 << 20;

/// An ARN or QRN, in bytes (Step Functions).
pub const ARN_BYTES_MAX: usize = 256;

/// A comment, in bytes.
pub const COMMENT_BYTES_MAX: usize = 4_096;

/// Machines of one page of a listing.
pub const PAGE_MAX: u32 = 1_000;

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
    /// From 1.
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
}

impl Template {
    /// Whether executions of the two run alike, so that they may share what a batch says of their machine.
    #[must_use]
    pub fn runs_as(&self, other: &Self) -> bool {
        (&self.arn, self.hash, self.mode, self.retention_s, &self.role_arn, self.logging)
            == (&other.arn, other.hash, other.mode, other.retention_s, &other.role_arn, other.logging)
    }

    /// As executions see it of which something else is exported; `None`: as the machine says.
    #[must_use]
    pub fn logged(self: Arc<Self>, logging: Option<Logging>) -> Arc<Self> {
        match logging {
            Some(logging) if logging != self.logging => Arc::new(Self { logging, ..(*self).clone() }),
            _ => self,
        }
    }
}

/// What a machine is created of.
#[derive(Debug, Clone)]
pub struct NewTemplate {
    /// Its own name.
    pub name: String,
    /// The text of its definition.
    pub definition: Bytes,
    /// How its executions are kept.
    pub mode: Mode,
    /// The language of its definition.
    pub dialect: Dialect,
    /// Whose permissions its tasks have.
    pub role_arn: String,
    /// For people.
    pub comment: String,
    /// How long closed executions are kept, in seconds; 0: as long as the nodes say.
    pub retention_s: u32,
    /// What of its executions' histories is exported.
    pub logging: Logging,
}

/// What is changed of a machine.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The text of its new definition; empty: as before.
    pub definition: Bytes,
    /// Empty: as before.
    pub comment: String,
    /// Of executions that start from now on; `None`: as before.
    pub retention_s: Option<u32>,
    /// The same.
    pub role_arn: Option<String>,
    /// The same.
    pub logging: Option<Logging>,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// ARN or QRN.
    pub arn: String,
    /// Its own name.
    pub name: String,
    /// How its executions are kept.
    pub mode: Mode,
    /// The newest version.
    pub version: u32,
    /// Unix time in milliseconds.
    pub created_ms: u64,
    /// Whose permissions its tasks have.
    pub role_arn: String,
}

/// What a create or an update gives: the version as stored, and the warnings of its definition.
pub type Stored = (Arc<Template>, Vec<String>);

struct Cached {
    template: Arc<Template>,
    looked_up_us: u64,
}

/// The template store.
pub struct Templates {
    store: Arc<dyn Store>,
    clock: Clock,
    naming: Naming,
    cache: RwLock<HashMap<String, Cached>>,
}

impl Templates {
    /// Templates kept in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock, naming: Naming) -> Self {
        Self { store, clock, naming, cache: RwLock::default() }
    }

    /// Creates a machine. Creating the same again (name, definition, mode, role) gives the one that exists,
    /// as in Step Functions.
    ///
    /// # Errors
    /// [`Error::Invalid`] (`InvalidName`, `InvalidDefinition`, …), [`Error::Conflict`] with the code
    /// `StateMachineAlreadyExists` when the name is taken by another definition, [`Error::Store`].
    pub async fn create(&self, new: NewTemplate) -> Result<Stored, Error> {
        names::check_name("state machine", &new.name)?;
        check_text("comment", &new.comment, COMMENT_BYTES_MAX)?;
        check_role(&new.role_arn)?;
        let (hash, warnings) = compile(&new.definition, new.dialect, new.mode)?;
        let arn = self.naming.machine(&new.name, new.dialect);
        check_text("machine's ARN (a shorter name helps)", &arn, ARN_BYTES_MAX)?;
        let now = self.clock.now_ms();
        let record = Record {
            arn: arn.clone(),
            name: new.name,
            express: new.mode == Mode::Express,
            tcsl: new.dialect == Dialect::Tcsl,
            version: 1,
            definition_hash: record::hex(&hash),
            created_ms: now,
            updated_ms: now,
            role_arn: new.role_arn,
            comment: new.comment,
            retention_s: new.retention_s,
            logging: new.logging.to_u8(),
        };
        self.store.put(record::definition_key(&record.definition_hash), new.definition.clone()).await?;
        let head = record::head_key(&arn);
        if self.store.compare_and_put(head, None, Some(record.encode()?)).await? {
            return Ok((self.remember(template(record, new.definition)?), warnings));
        }
        let existing = self.describe(&arn, 0).await?;
        let same = existing.hash == hash && existing.mode == new.mode && existing.role_arn == record.role_arn;
        if same {
            return Ok((existing, warnings));
        }
        let message =
            format!("{arn} exists with another definition, type or role: update it, or delete it first");
        Err(Error::conflict("StateMachineAlreadyExists", message))
    }

    /// Gives a machine a new definition, or changes what else is said of it. What it was stays as a version.
    ///
    /// # Errors
    /// As [`Templates::create`]; [`Error::Invalid`] with `MissingRequiredParameter` for a change of nothing; [`Error::NotFound`] for an unknown machine; [`Error::Conflict`] with the
    /// code `ConflictException` when another writer was quicker.
    pub async fn update(&self, arn: &str, change: Change) -> Result<Stored, Error> {
        let Change { definition, comment, retention_s, role_arn, logging } = change;
        check_text("comment", &comment, COMMENT_BYTES_MAX)?;
        role_arn.as_deref().map_or(Ok(()), check_role)?;
        let says_more =
            !comment.is_empty() || retention_s.is_some() || role_arn.is_some() || logging.is_some();
        if definition.is_empty() && !says_more {
            let message = "give a definition, or something else that is to change";
            return Err(Error::invalid("MissingRequiredParameter", message));
        }
        let (old_bytes, old) = self.head(arn).await?;
        let definition = if definition.is_empty() { self.definition(&old).await? } else { definition };
        let (hash, warnings) = compile(&definition, old.dialect(), old.mode())?;
        let new = Record {
            version: old.version.saturating_add(1),
            definition_hash: record::hex(&hash),
            updated_ms: self.clock.now_ms(),
            comment: if comment.is_empty() { old.comment.clone() } else { comment },
            retention_s: retention_s.unwrap_or(old.retention_s),
            role_arn: role_arn.unwrap_or_else(|| old.role_arn.clone()),
            logging: logging.map_or(old.logging, Logging::to_u8),
            ..old.clone()
        };
        self.store.put(record::definition_key(&new.definition_hash), definition.clone()).await?;
        self.store.put(record::version_key(arn, old.version), old_bytes.clone()).await?;
        let head = record::head_key(arn);
        if !self.store.compare_and_put(head, Some(old_bytes), Some(new.encode()?)).await? {
            self.forget(arn);
            let message =
                format!("{arn} was changed by someone else just now: describe it, then update again");
            return Err(Error::conflict("ConflictException", message));
        }
        Ok((self.remember(template(new, definition)?), warnings))
    }

    /// One version of a machine; 0 is the newest.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown machine or version, [`Error::Invalid`] for a malformed ARN,
    /// [`Error::Store`].
    pub async fn describe(&self, arn: &str, version: u32) -> Result<Arc<Template>, Error> {
        let (_, head) = self.head(arn).await?;
        let record = if version == 0 || version == head.version {
            head
        } else {
            let newest = head.version;
            let unknown = || {
                let message = format!("{arn} has no version {version}: its newest is {newest}");
                Error::not_found("ResourceNotFound", message)
            };
            if version > newest {
                return Err(unknown());
            }
            let kept = self.store.get(record::version_key(arn, version)).await?.ok_or_else(unknown)?;
            Record::decode(&kept)?
        };
        let definition = self.definition(&record).await?;
        Ok(Arc::new(template(record, definition)?))
    }

    /// One page of machines in the order of their ARNs. The token of the last page is empty.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a foreign token, [`Error::Store`].
    pub async fn list(&self, max_results: u32, token: &str) -> Result<(Vec<Summary>, String), Error> {
        let limit = if max_results == 0 { 100 } else { max_results.min(PAGE_MAX) } as usize;
        let after = match token {
            "" => None,
            arn if MachineName::parse(arn).is_ok() => Some(record::head_key(arn)),
            _ => return Err(Error::invalid("InvalidToken", "next_token is not one that a listing returned")),
        };
        let mut entries =
            self.store.scan(Bytes::from_static(record::HEADS.as_bytes()), after, limit + 1).await?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        let mut page = Vec::with_capacity(entries.len());
        for (_, value) in &entries {
            let record = Record::decode(value)?;
            let mode = record.mode();
            let Record { arn, name, version, created_ms, role_arn, .. } = record;
            page.push(Summary { arn, name, mode, version, created_ms, role_arn });
        }
        let next =
            if more { page.last().map(|last| last.arn.clone()).unwrap_or_default() } else { String::new() };
        Ok((page, next))
    }

    /// Deletes a machine and its versions. Executions under way go on.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown machine, [`Error::Conflict`] when someone else changed it just now,
    /// [`Error::Store`].
    pub async fn delete(&self, arn: &str) -> Result<(), Error> {
        let (bytes, _) = self.head(arn).await?;
        self.forget(arn);
        if !self.store.compare_and_put(record::head_key(arn), Some(bytes), None).await? {
            let message =
                format!("{arn} was changed by someone else just now: describe it, then delete again");
            return Err(Error::conflict("ConflictException", message));
        }
        self.forget(arn);
        loop {
            let versions = self.store.scan(record::versions_prefix(arn), None, 256).await?;
            if versions.is_empty() {
                return Ok(());
            }
            for (key, value) in versions {
                self.store.compare_and_put(key, Some(value), None).await?;
            }
        }
    }

    /// The newest version of a machine, for starts: from memory when it is fresh enough.
    ///
    /// # Errors
    /// As [`Templates::describe`].
    pub async fn resolve(&self, arn: &str) -> Result<Arc<Template>, Error> {
        let now = self.clock.now_us();
        let fresh = u64::try_from(FRESH_FOR.as_micros()).unwrap_or(u64::MAX);
        let cached = self.cached(arn);
        if let Some((template, looked_up_us)) = &cached
            && now.saturating_sub(*looked_up_us) < fresh
        {
            return Ok(Arc::clone(template));
        }
        let (_, record) = match self.head(arn).await {
            Ok(head) => head,
            Err(error) => {
                // While the store is away, what is known goes on serving: its content is immutable.
                return match (cached, &error) {
                    (Some((template, _)), Error::Store(store)) if store.is_retryable() => Ok(template),
                    _ => {
                        self.forget(arn);
                        Err(error)
                    }
                };
            }
        };
        let definition = match &cached {
            Some((template, _)) if template.hash == record.hash()? => template.definition.clone(),
            _ => self.definition(&record).await?,
        };
        Ok(self.remember(template(record, definition)?))
    }

    async fn head(&self, arn: &str) -> Result<(Bytes, Record), Error> {
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

    async fn definition(&self, record: &Record) -> Result<Bytes, Error> {
        let key = record::definition_key(&record.definition_hash);
        self.store.get(key).await?.ok_or_else(|| {
            let what = format!("the definition {} of {} is missing", record.definition_hash, record.arn);
            Error::Store(StoreError::Corrupt(what))
        })
    }

    fn cached(&self, arn: &str) -> Option<(Arc<Template>, u64)> {
        let cache = self.cache.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        cache.get(arn).map(|cached| (Arc::clone(&cached.template), cached.looked_up_us))
    }

    fn remember(&self, template: Template) -> Arc<Template> {
        let template = Arc::new(template);
        let cached = Cached { template: Arc::clone(&template), looked_up_us: self.clock.now_us() };
        let mut cache = self.cache.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if cache.len() >= CACHED_MAX && !cache.contains_key(&template.arn) {
            cache.clear();
        }
        cache.insert(template.arn.clone(), cached);
        template
    }

    fn forget(&self, arn: &str) {
        self.cache.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(arn);
    }
}

fn template(record: Record, definition: Bytes) -> Result<Template, StoreError> {
    let (mode, dialect, hash) = (record.mode(), record.dialect(), record.hash()?);
    let logging = record.logging()?;
    let Record { arn, name, version, created_ms, updated_ms, role_arn, comment, retention_s, .. } = record;
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
