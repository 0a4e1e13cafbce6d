//! From an object's bytes to its items, one by one.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use super::config::Format;
use super::csv::Rows;
use super::json::{self, Members};
use super::{ITEM_BYTES_MAX, OBJECT_BYTES_MAX};
use crate::value::{JsonError, Str, Value};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Items cannot be read. The text is the cause of `States.ItemReaderFailed`, in AWS's words where they are recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Two columns of a CSV file have the same name.
    #[error("CSV headers cannot contain duplicates.")]
    DuplicateHeaders,
    /// The document, or the part that the pointer names, has no items.
    #[error("Attempting to map over non-iterable node.")]
    NotIterable,
    /// The pointer of `ItemsPointer` names nothing.
    #[error("The ItemsPointer '{0}' names nothing in the document.")]
    NothingAtPointer(String),
    /// The bytes are no JSON.
    #[error("The object is not valid JSON: {0}.")]
    NotJson(JsonError),
    /// The bytes are no text.
    #[error("The object is not valid UTF-8.")]
    NotUtf8,
    /// A part of the object is longer than it may be.
    #[error("The {what} is longer than {bytes} bytes.")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// Its bound.
        bytes: usize,
    },
    /// A listing's page or a manifest names more than it may.
    #[error("There are more than {most} {what}.")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        most: usize,
    },
    /// A compressed object is damaged.
    #[error("The object cannot be decompressed as gzip.")]
    NotGzip,
    /// A kind of object that this version does not read.
    #[error("This version does not read objects of this kind: {0}.")]
    Unsupported(&'static str),
    /// A listing or a manifest is not as S3 or Athena write it.
    #[error("The {what} is not as expected: {problem}.")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// The items of one object, or of one page of a listing.
#[derive(Debug)]
pub(super) enum Decoder {
    Csv(Rows),
    Json(Members),
    Lines(Lines),
    Entries(std::vec::IntoIter<Value>),
}

impl Decoder {
    /// Looks at the beginning of an object.
    pub fn new(format: &Format, body: Bytes) -> Result<Self, ReadError> {
        if matches!(format, Format::Parquet) {
            return Err(ReadError::Unsupported("Parquet"));
        }
        let text = text(body)?;
        Ok(match format {
            Format::Csv(format) => Self::Csv(Rows::new(format, text)?),
            Format::Json { pointer } => Self::Json(Members::new(text, pointer.as_deref())?),
            Format::JsonLines | Format::Parquet => Self::Lines(Lines { text, at: 0 }),
        })
    }

    /// The next item, with its key where it is a member of an object.
    pub fn next(&mut self) -> Result<Option<(Option<Str>, Value)>, ReadError> {
        let plain = |item: Option<Value>| item.map(|item| (None, item));
        match self {
            Self::Csv(rows) => rows.next().map(plain),
            Self::Json(members) => members.next(),
            Self::Lines(lines) => lines.next().map(plain),
            Self::Entries(entries) => Ok(plain(entries.next())),
        }
    }
}

/// Decompressed where its first bytes say that it has to be, without a byte order mark, and UTF-8.
pub(super) fn text(body: Bytes) -> Result<Bytes, ReadError> {
    let too_long = ReadError::TooLong { what: "object", bytes: OBJECT_BYTES_MAX };
    let mut text = if body.starts_with(&GZIP) {
        let mut text = Vec::new();
        let bound = OBJECT_BYTES_MAX as u64 + 1;
        MultiGzDecoder::new(&*body).take(bound).read_to_end(&mut text).map_err(|_| ReadError::NotGzip)?;
        Bytes::from(text)
    } else if body.starts_with(&ZSTD) {
        return Err(ReadError::Unsupported("zstd"));
    } else {
        body
    };
    if text.len() > OBJECT_BYTES_MAX {
        return Err(too_long);
    }
    if text.starts_with(BYTE_ORDER_MARK) {
        text = text.slice(BYTE_ORDER_MARK.len()..);
    }
    std::str::from_utf8(&text).map_err(|_| ReadError::NotUtf8)?;
    Ok(text)
}

/// JSON Lines: a value on each line; empty lines are none.
#[derive(Debug)]
pub(super) struct Lines {
    text: Bytes,
    at: usize,
}

impl Lines {
    fn next(&mut self) -> Result<Option<Value>, ReadError> {
        while self.at < self.text.len() {
            let rest = &self.text[self.at..];
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            let line = rest[..end].trim_ascii();
            self.at += end + 1;
            if line.len() > ITEM_BYTES_MAX {
                return Err(ReadError::TooLong { what: "line", bytes: ITEM_BYTES_MAX });
            }
            if !line.is_empty() {
                return Value::parse(line, json::ITEM).map(Some).map_err(ReadError::NotJson);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn items(format: &Format, body: impl Into<Bytes>) -> Result<String, ReadError> {
        let mut decoder = Decoder::new(format, body.into())?;
        let mut all = Vec::new();
        while let Some((_, item)) = decoder.next()? {
            all.push(item);
        }
        Ok(Value::from(all).to_json_string())
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    const JSON: Format = Format::Json { pointer: None };

    #[test]
    fn each_line_of_json_lines_is_an_item() {
        assert_eq!(
            items(&Format::JsonLines, "{\"a\":1}\r\n\n  [2]  \nnull").unwrap(),
            r#"[{"a":1},[2],null]"#
        );
        assert!(matches!(items(&Format::JsonLines, "1\n{\n"), Err(ReadError::NotJson(_))));
    }

    #[test]
    fn an_object_in_gzip_is_read_as_what_it_was() {
        assert_eq!(items(&JSON, gzip(b"[1,2]")).unwrap(), "[1,2]");
        let mut twice = gzip(b"1\n");
        twice.extend(gzip(b"2\n"));
        assert_eq!(items(&Format::JsonLines, twice).unwrap(), "[1,2]");
        assert_eq!(items(&JSON, gzip(b"[1,2]")[..12].to_vec()), Err(ReadError::NotGzip));
    }

    #[test]
    fn a_small_object_that_grows_beyond_the_bound_is_refused() {
        let body = gzip(&vec![b' '; OBJECT_BYTES_MAX + 1]);
        assert!(body.len() < OBJECT_BYTES_MAX / 100);
        assert_eq!(items(&JSON, body), Err(ReadError::TooLong { what: "object", bytes: OBJECT_BYTES_MAX }));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        assert_eq!(items(&JSON, "\u{feff}[1]").unwrap(), "[1]");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert_eq!(items(&Format::Parquet, "PAR1"), Err(ReadError::Unsupported("Parquet")));
        assert_eq!(items(&JSON, ZSTD.to_vec()), Err(ReadError::Unsupported("zstd")));
        assert_eq!(items(&JSON, vec![b'[', 0xff, b']']), Err(ReadError::NotUtf8));
    }
}
