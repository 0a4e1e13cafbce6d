//! What is particular to a distributed Map: reading items from objects, batching them, tolerating failures, writing
//! results.
//!
//! Purpose: the pure half of reading and writing. An execution asks for bytes with an effect and gets them with an event;
//! everything between the bytes and the input of a child execution happens here. Invariants: items are decoded one by one
//! from the bytes they came in, so what is alive is one object and one item; every length that comes from outside has a
//! bound below; the same bytes give the same items. What may fail: reading ([`ReadError`]), batching ([`BatchError`]).
//!
//! Rooms: `config` (what the fields compile to), `source` (which reads give which items), `decode` (bytes to items), `csv`,
//! `json`, `batch`, `tolerance`, `results`.

mod batch;
mod config;
mod csv;
mod decode;
mod json;
mod results;
mod source;
mod tolerance;

pub use batch::{BatchError, Batcher};
pub use config::{
    CsvFormat, CsvHeaders, Dataset, Format, ItemBatcher, ItemReader, OutputType, ResultWriter,
    Transformation, Writing,
};
pub use decode::ReadError;
pub(crate) use results::manifest_key;
pub use results::{Child, Ending, ResultObject, Results};
pub(crate) use source::STATE_DATA;
pub use source::{Item, Next, Read, Source};
pub use tolerance::Tolerance;

/// A version 4 UUID from 128 bits.
pub(crate) fn uuid(high: u64, low: u64) -> crate::value::Str {
    ecow::eco_format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

/// The most items of a Map: Step Functions' bound, whatever `MaxItems` says.
pub const ITEMS_MAX: u64 = 100_000_000;
/// The longest object that items are read from, in bytes, and the longest that a compressed one may grow to. Step Functions
/// reads 10 GB; here an object is in memory while its items are read.
pub const OBJECT_BYTES_MAX: usize = 64 << 20;
/// The most objects that a manifest or a page of a listing names.
pub const OBJECTS_MAX: usize = 100_000;
/// The most pages of a listing: those of [`ITEMS_MAX`] objects in S3, which puts a thousand on one.
pub const PAGES_MAX: usize = 100_000;
/// The longest page of a listing, in bytes: a thousand objects take less than half of it.
pub const PAGE_BYTES_MAX: usize = 4 << 20;
/// The longest manifest of an S3 inventory, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 16 << 20;
/// The longest item, in bytes, before an item selector has made less of it: as in Step Functions.
pub const ITEM_BYTES_MAX: usize = 8 << 20;
/// The longest CSV header, in bytes: as in Step Functions.
pub const CSV_HEADER_BYTES_MAX: usize = 10 << 10;
/// The largest `MaxInputBytesPerBatch`: a payload.
pub const BATCH_BYTES_MAX: u64 = 262_144;
/// What the inputs and outputs of a Map Run's child executions may take until the run ends, in bytes.
pub const RESULTS_BYTES_MAX: usize = 64 << 20;
/// What a result takes beside its text, in bytes, at least: without it millions of small ones would take gigabytes.
pub(crate) const RESULT_BYTES: usize = 128;
/// The longest `Label`, in characters.
pub const LABEL_CHARS_MAX: usize = 40;
