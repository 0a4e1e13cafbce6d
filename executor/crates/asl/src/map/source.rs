//! Which reads give which items: one object, the pages of a listing, the files of a manifest.
//!
//! A [`Source`] says what it wants to read and is told what was read; between the two it gives items. Invariants: one read
//! is asked for at a time; items come in the order of the objects and of the texts in them; no more than wanted.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::config::{CsvFormat, CsvHeaders, Dataset, Format, ItemReader};
use super::decode::{Decoder, ReadError, text};
use super::{ITEMS_MAX, MANIFEST_BYTES_MAX, OBJECT_BYTES_MAX, OBJECTS_MAX, PAGE_BYTES_MAX, PAGES_MAX};
use crate::value::{JsonLimits, Map, Str, Value};

const GET_OBJECT: &str = "s3:getObject";
const LIST_OBJECTS: &str = "s3:listObjectsV2";
/// What `$$.Map.Item.Source` says of items from the state's input.
pub(crate) const STATE_DATA: &str = "STATE_DATA";

/// An item.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// `$$.Map.Item.Key`, where it is a member of an object.
    pub key: Option<Str>,
    /// `$$.Map.Item.Value`
    pub value: Value,
    /// `$$.Map.Item.Source`
    pub source: Str,
}

/// What to read.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// `...:s3:getObject`, to be answered with the object's bytes, or `...:s3:listObjectsV2`, to be answered with a page of
    /// the listing as JSON, its members named as in S3's API.
    pub resource: Str,
    /// The parameters of the call, named as in S3's API.
    pub parameters: Value,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// An item.
    Item(Item),
    /// Something has to be read first: answer it with [`Source::answer`].
    Read(Read),
    /// The answer to a read has not come.
    Waiting,
    /// There are no more items.
    End,
}

/// What a read is for.
#[derive(Debug, Clone)]
enum Purpose {
    Items(Format),
    Entries,
    Objects(Format),
    Inventory,
    Athena(Format),
}

#[derive(Debug)]
enum Stage {
    Data {
        items: Arc<Vec<Value>>,
        at: usize,
    },
    Members(std::vec::IntoIter<(Str, Value)>),
    Decoding(Decoder),
    Awaiting(Purpose, Value),
    /// Takes the next read from the queue.
    Between,
    End,
}

/// The items of a Map.
#[derive(Debug)]
pub struct Source {
    stage: Stage,
    /// Reads to come: no more than a page or a manifest names, and the page after it.
    queue: VecDeque<(Purpose, Value)>,
    /// The resource without its last two parts: `arn:aws:states:::`.
    prefix: Str,
    /// Where the present items come from.
    origin: Str,
    taken: u64,
    most: u64,
    /// How many pages of listings were read.
    pages: usize,
    /// How many items there are in all, once that is known.
    total: Option<u64>,
}

impl Source {
    /// The items of an array, or the members of an object; `None` for anything else.
    pub fn of_data(data: Value) -> Option<Self> {
        let (length, stage) = match data {
            Value::Array(items) => (items.len(), Stage::Data { items, at: 0 }),
            Value::Object(members) => {
                let members: Vec<(Str, Value)> =
                    members.iter().map(|(key, member)| (key.clone(), member.clone())).collect();
                (members.len(), Stage::Members(members.into_iter()))
            }
            _ => return None,
        };
        Some(Self {
            stage,
            queue: VecDeque::new(),
            prefix: Str::new(),
            origin: Str::from(STATE_DATA),
            taken: 0,
            pages: 0,
            most: ITEMS_MAX,
            total: u64::try_from(length).ok(),
        })
    }

    /// No items.
    pub(crate) fn empty() -> Self {
        Self {
            stage: Stage::End,
            queue: VecDeque::new(),
            prefix: Str::new(),
            origin: Str::new(),
            taken: 0,
            pages: 0,
            most: 0,
            total: Some(0),
        }
    }

    /// The items that a reader gives with these parameters; at most `most` of them, where that is not 0.
    pub fn of_reader(reader: &ItemReader, parameters: Value, most: u64) -> Self {
        let purpose = match &reader.dataset {
            Dataset::Object(format) => Purpose::Items(format.clone()),
            Dataset::Listing => Purpose::Entries,
            Dataset::Listed(format) => Purpose::Objects(format.clone()),
            Dataset::Inventory => Purpose::Inventory,
            Dataset::Athena(format) => Purpose::Athena(format.clone()),
        };
        let prefix = reader.resource.rfind("s3:").map_or("", |at| &reader.resource[..at]);
        Self {
            stage: Stage::Between,
            queue: VecDeque::from([(purpose, parameters)]),
            prefix: prefix.into(),
            origin: Str::new(),
            taken: 0,
            pages: 0,
            most: if most == 0 { ITEMS_MAX } else { most.min(ITEMS_MAX) },
            total: None,
        }
    }

    /// How many items there are in all, once that is known.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// What comes next.
    ///
    /// # Errors
    /// When the bytes that were read do not go on as they should.
    pub fn advance(&mut self) -> Result<Next, ReadError> {
        loop {
            if self.taken >= self.most {
                self.stage = Stage::End;
            }
            match &mut self.stage {
                Stage::Data { items, at } => match items.get(*at).cloned() {
                    Some(item) => {
                        *at += 1;
                        return Ok(self.take(None, item));
                    }
                    None => self.stage = Stage::End,
                },
                Stage::Members(members) => match members.next() {
                    Some((key, member)) => return Ok(self.take(Some(key), member)),
                    None => self.stage = Stage::End,
                },
                Stage::Decoding(decoder) => match decoder.next()? {
                    Some((key, value)) => return Ok(self.take(key, value)),
                    None => self.stage = Stage::Between,
                },
                Stage::Awaiting(..) => return Ok(Next::Waiting),
                Stage::Between => match self.queue.pop_front() {
                    Some((purpose, parameters)) => return Ok(Next::Read(self.ask(purpose, parameters))),
                    None => self.stage = Stage::End,
                },
                Stage::End => {
                    self.total = Some(self.taken);
                    return Ok(Next::End);
                }
            }
        }
    }

    fn take(&mut self, key: Option<Str>, value: Value) -> Next {
        self.taken += 1;
        Next::Item(Item { key, value, source: self.origin.clone() })
    }

    fn ask(&mut self, purpose: Purpose, parameters: Value) -> Read {
        let call = match &purpose {
            Purpose::Entries | Purpose::Objects(_) => LIST_OBJECTS,
            Purpose::Items(_) | Purpose::Inventory | Purpose::Athena(_) => GET_OBJECT,
        };
        self.stage = Stage::Awaiting(purpose, parameters.clone());
        Read { resource: ecow::eco_format!("{}{call}", self.prefix), parameters }
    }

    /// Takes in what was read. Without a read under way it changes nothing.
    ///
    /// # Errors
    /// When it is not what the reader's configuration says.
    pub fn answer(&mut self, body: Bytes) -> Result<(), ReadError> {
        if body.len() > OBJECT_BYTES_MAX {
            return Err(ReadError::TooLong { what: "object", bytes: OBJECT_BYTES_MAX });
        }
        let (purpose, parameters) = match std::mem::replace(&mut self.stage, Stage::Between) {
            Stage::Awaiting(purpose, parameters) => (purpose, parameters),
            other => {
                self.stage = other;
                return Ok(());
            }
        };
        match purpose {
            Purpose::Items(format) => {
                self.origin = origin(&parameters);
                self.stage = Stage::Decoding(Decoder::new(&format, body)?);
            }
            Purpose::Entries => {
                self.origin = origin(&parameters);
                let (entries, rest) = self.page(&body, parameters)?;
                self.queue.extend(rest.map(|rest| (Purpose::Entries, rest)));
                let entries: Vec<Value> = entries.iter().map(listed).collect();
                self.stage = Stage::Decoding(Decoder::Entries(entries.into_iter()));
            }
            Purpose::Objects(format) => {
                let bucket = parameters.get("Bucket").cloned().unwrap_or_default();
                let (entries, rest) = self.page(&body, parameters)?;
                for key in entries.iter().filter_map(|entry| entry.get("Key")) {
                    // A key that ends so stands for a folder and has no bytes.
                    if !key.as_str().is_some_and(|key| key.ends_with('/')) {
                        self.queue
                            .push_back((Purpose::Items(format.clone()), object(bucket.clone(), key.clone())));
                    }
                }
                self.queue.extend(rest.map(|rest| (Purpose::Objects(format), rest)));
            }
            Purpose::Inventory => self.queue.extend(inventory(body)?),
            Purpose::Athena(format) => {
                let files = athena(body)?;
                self.queue.extend(files.into_iter().map(|file| (Purpose::Items(format.clone()), file)));
            }
        }
        Ok(())
    }

    /// A listing may go on for ever, with pages that are empty too.
    fn page(&mut self, body: &Bytes, parameters: Value) -> Result<(Vec<Value>, Option<Value>), ReadError> {
        self.pages += 1;
        if self.pages > PAGES_MAX {
            return Err(ReadError::TooMany { what: "pages of a listing", most: PAGES_MAX });
        }
        page(body, parameters)
    }
}

/// A document that is in memory as a whole.
fn document(
    what: &'static str,
    body: &[u8],
    bytes: usize,
    malformed: impl Fn(&'static str) -> ReadError,
) -> Result<Value, ReadError> {
    if body.len() > bytes {
        return Err(ReadError::TooLong { what, bytes });
    }
    Value::parse(body, JsonLimits { depth: JsonLimits::DEPTH, bytes }).map_err(|_| malformed("it is no JSON"))
}

/// `S3://bucket/key`, or `S3://bucket` of a listing.
fn origin(parameters: &Value) -> Str {
    let part = |name| parameters.get(name).and_then(Value::as_str);
    let bucket = part("Bucket").unwrap_or_default();
    match part("Key") {
        Some(key) => ecow::eco_format!("S3://{bucket}/{key}"),
        None => ecow::eco_format!("S3://{bucket}"),
    }
}

fn object(bucket: Value, key: Value) -> Value {
    Value::object([("Bucket", bucket), ("Key", key)])
}

/// The entries of a listing's page, and the parameters that ask for the next one.
fn page(body: &Bytes, parameters: Value) -> Result<(Vec<Value>, Option<Value>), ReadError> {
    let malformed = |problem| ReadError::Malformed { what: "listing", problem };
    let page = document("listing's page", body, PAGE_BYTES_MAX, malformed)?;
    let entries = match page.get("Contents") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(entries)) => few("entries of a listing's page", entries)?.to_vec(),
        Some(_) => return Err(malformed("'Contents' is no array")),
    };
    let token = page.get("NextContinuationToken").filter(|token| !token.is_null()).cloned();
    let rest = token.map(|token| {
        let mut rest: Map = parameters.as_object().cloned().unwrap_or_default();
        rest.insert("ContinuationToken", token);
        Value::from(rest)
    });
    Ok((entries, rest))
}

/// An entry of a listing as an item: Step Functions spells `ETag` in its own way.
fn listed(entry: &Value) -> Value {
    let members = ["Etag", "Key", "LastModified", "Size", "StorageClass"].into_iter().filter_map(|name| {
        let written = if name == "Etag" { "ETag" } else { name };
        entry.get(written).map(|member| (name, member.clone()))
    });
    Value::object(members)
}

/// The files of an S3 inventory: CSV without a header row, whose columns the manifest names.
fn inventory(body: Bytes) -> Result<Vec<(Purpose, Value)>, ReadError> {
    let malformed = |problem| ReadError::Malformed { what: "S3 inventory's manifest", problem };
    let manifest = document("manifest", &text(body)?, MANIFEST_BYTES_MAX, malformed)?;
    let member = |name| manifest.get(name).and_then(Value::as_str);
    if member("fileFormat").is_some_and(|format| format != "CSV") {
        return Err(ReadError::Unsupported("S3 inventories in other formats than CSV"));
    }
    let schema = member("fileSchema").ok_or_else(|| malformed("'fileSchema' is missing"))?;
    let bucket = member("destinationBucket").ok_or_else(|| malformed("'destinationBucket' is missing"))?;
    let bucket = Value::from(bucket.rsplit(':').next().unwrap_or_default());
    let headers = CsvHeaders::Given(schema.split(',').map(|name| Str::from(name.trim())).collect());
    let format = Format::Csv(CsvFormat { delimiter: b',', headers });
    let files =
        manifest.get("files").and_then(Value::as_array).ok_or_else(|| malformed("'files' is no array"))?;
    let file = |file: &Value| {
        let key = file.get("key").filter(|key| key.as_str().is_some());
        let key = key.ok_or_else(|| malformed("a file has no 'key'"))?;
        Ok((Purpose::Items(format.clone()), object(bucket.clone(), key.clone())))
    };
    few("files of a manifest", files)?.iter().map(file).collect()
}

/// Refuses more than one read may bring.
fn few<'v>(what: &'static str, list: &'v [Value]) -> Result<&'v [Value], ReadError> {
    if list.len() > OBJECTS_MAX {
        return Err(ReadError::TooMany { what, most: OBJECTS_MAX });
    }
    Ok(list)
}

/// The files of an Athena manifest: a line each, `s3://bucket/key`.
fn athena(body: Bytes) -> Result<Vec<Value>, ReadError> {
    let malformed = |problem| ReadError::Malformed { what: "Athena manifest", problem };
    let text = text(body)?;
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    if lines.clone().count() > OBJECTS_MAX {
        return Err(ReadError::TooMany { what: "files of a manifest", most: OBJECTS_MAX });
    }
    let file = |line: &[u8]| {
        let uri = std::str::from_utf8(line).map_err(|_| ReadError::NotUtf8)?.trim_matches('"');
        let (bucket, key) = uri
            .strip_prefix("s3://")
            .and_then(|path| path.split_once('/'))
            .ok_or_else(|| malformed("a line is no s3:// address"))?;
        Ok(object(Value::from(bucket), Value::from(key)))
    };
    lines.map(file).collect()
}

#[cfg(test)]
mod tests;
