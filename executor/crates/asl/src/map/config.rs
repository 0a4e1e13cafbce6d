//! What `ItemReader`, `ItemBatcher` and `ResultWriter` compile to.

use std::sync::Arc;

use crate::program::Dynamic;
use crate::template::Template;
use crate::value::Str;

/// `ItemReader`: where the items come from.
#[derive(Debug, Clone)]
pub struct ItemReader {
    /// `Resource`, as written: `...:s3:getObject` or `...:s3:listObjectsV2`.
    pub resource: Str,
    /// `Parameters`
    pub parameters: Option<Template>,
    /// What the resource gives, and what is made of it.
    pub dataset: Dataset,
    /// `ReaderConfig.MaxItems` or `MaxItemsPath`; 0 is no limit.
    pub max_items: Option<Dynamic<i64>>,
}

/// What is read.
#[derive(Debug, Clone, PartialEq)]
pub enum Dataset {
    /// The items of one object.
    Object(Format),
    /// The entries of a listing.
    Listing,
    /// The items of all objects of a listing: `Transformation: LOAD_AND_FLATTEN`.
    Listed(Format),
    /// The rows of the files that an S3 inventory's manifest names.
    Inventory,
    /// The items of the files that an Athena manifest names.
    Athena(Format),
}

/// What an object's bytes are: `ReaderConfig.InputType` with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// `CSV`
    Csv(CsvFormat),
    /// `JSON`, and `ItemsPointer`: which part of the document holds the items.
    Json {
        /// A JSON pointer (RFC 6901); `None` is the whole document.
        pointer: Option<Str>,
    },
    /// `JSONL`
    JsonLines,
    /// `PARQUET`, which this version does not decode.
    Parquet,
}

/// The fields of `ReaderConfig` whose names begin with `CSV`.
#[derive(Debug, Clone, PartialEq)]
pub struct CsvFormat {
    /// `CSVDelimiter`
    pub delimiter: u8,
    /// `CSVHeaderLocation` and `CSVHeaders`
    pub headers: CsvHeaders,
}

/// Where the names of a CSV file's columns are.
#[derive(Debug, Clone, PartialEq)]
pub enum CsvHeaders {
    /// In its first row.
    FirstRow,
    /// In the definition.
    Given(Arc<[Str]>),
}

/// `ItemBatcher`
#[derive(Debug, Clone)]
pub struct ItemBatcher {
    /// `MaxItemsPerBatch` or `MaxItemsPerBatchPath`
    pub max_items: Option<Dynamic<i64>>,
    /// `MaxInputBytesPerBatch` or `MaxInputBytesPerBatchPath`
    pub max_bytes: Option<Dynamic<i64>>,
    /// `BatchInput`
    pub input: Option<Template>,
}

/// `ResultWriter`: what becomes of the results.
#[derive(Debug, Clone)]
pub struct ResultWriter {
    /// `Resource` and `Parameters`; `None` where the results are the state's.
    pub writing: Option<Writing>,
    /// `WriterConfig.Transformation`
    pub transformation: Transformation,
    /// `WriterConfig.OutputType`
    pub output_type: OutputType,
}

/// Where results are written.
#[derive(Debug, Clone)]
pub struct Writing {
    /// `Resource`, as written: `...:s3:putObject`.
    pub resource: Str,
    /// `Parameters`
    pub parameters: Template,
}

/// `WriterConfig.Transformation`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transformation {
    /// `NONE`: outputs with what is known about their executions.
    None,
    /// `COMPACT`: outputs alone.
    Compact,
    /// `FLATTEN`: outputs alone, the items of arrays one by one.
    Flatten,
}

/// `WriterConfig.OutputType`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputType {
    /// `JSON`: an array.
    Json,
    /// `JSONL`: a line each.
    JsonLines,
}
