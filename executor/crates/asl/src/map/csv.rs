//! Rows of a text with delimiters, by Step Functions' rules.
//!
//! Why no library: a backslash escapes the delimiter, a quotation mark and itself, inside of quotation marks and outside,
//! and disappears before anything else; CSV libraries escape inside of quotation marks only, and drop empty rows. The other
//! rules: every field is text; quotation marks may hold delimiters and line ends, and a doubled one is one; a short row has
//! empty fields for the missing ones, a long row loses what is too much. Invariants: linear in the bytes; a row is bounded.

use std::sync::Arc;

use bytes::Bytes;

use super::config::{CsvFormat, CsvHeaders};
use super::{CSV_HEADER_BYTES_MAX, ITEM_BYTES_MAX, ReadError};
use crate::value::{Map, Str, Value};

/// The rows of a text, as objects.
#[derive(Debug)]
pub(super) struct Rows {
    text: Bytes,
    at: usize,
    delimiter: u8,
    headers: Arc<[Str]>,
}

impl Rows {
    /// Reads the header. `text` is UTF-8.
    pub fn new(format: &CsvFormat, text: Bytes) -> Result<Self, ReadError> {
        let delimiter = format.delimiter;
        let mut rows = Self { text, at: 0, delimiter, headers: Arc::default() };
        rows.headers = match &format.headers {
            CsvHeaders::Given(headers) => Arc::clone(headers),
            CsvHeaders::FirstRow => {
                let header = rows.row(CSV_HEADER_BYTES_MAX, "CSV header")?.unwrap_or_default();
                header.iter().map(Str::from).collect()
            }
        };
        let mut names: Vec<&Str> = rows.headers.iter().collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(ReadError::DuplicateHeaders);
        }
        Ok(rows)
    }

    pub fn next(&mut self) -> Result<Option<Value>, ReadError> {
        let Some(fields) = self.row(ITEM_BYTES_MAX, "CSV row")? else { return Ok(None) };
        let mut fields = fields.into_iter();
        let row: Map = self
            .headers
            .iter()
            .map(|name| (name.clone(), Value::from(fields.next().unwrap_or_default())))
            .collect();
        Ok(Some(Value::from(row)))
    }

    /// The fields of the next row, of at most `limit` bytes.
    fn row(&mut self, limit: usize, what: &'static str) -> Result<Option<Vec<String>>, ReadError> {
        if self.at >= self.text.len() {
            return Ok(None);
        }
        let begin = self.at;
        let mut row = RowBuilder::default();
        while let Some(&byte) = self.text.get(self.at) {
            if self.at - begin > limit {
                return Err(ReadError::TooLong { what, bytes: limit });
            }
            let next = self.text.get(self.at + 1).copied();
            self.at += 1;
            match byte {
                b'\\' => {
                    // Before anything else it is dropped, and what follows means what it means.
                    if let Some(escaped) = next.filter(|next| self.escapable(*next)) {
                        row.push(escaped);
                        self.at += 1;
                    }
                }
                b'"' if next == Some(b'"') && (row.quoted || !row.field.is_empty()) => {
                    row.push(b'"');
                    self.at += 1;
                }
                b'"' if row.quoted => row.quoted = false,
                b'"' if row.field.is_empty() && !row.begun => {
                    row.quoted = true;
                    row.begun = true;
                }
                _ if row.quoted => row.push(byte),
                b'\n' => return row.finish().map(Some),
                b'\r' if next == Some(b'\n') => {}
                _ if byte == self.delimiter => row.end_field()?,
                _ => row.push(byte),
            }
        }
        row.finish().map(Some)
    }

    fn escapable(&self, byte: u8) -> bool {
        byte == b'\\' || byte == b'"' || byte == self.delimiter
    }
}

#[derive(Default)]
struct RowBuilder {
    fields: Vec<String>,
    field: Vec<u8>,
    /// Inside of quotation marks.
    quoted: bool,
    /// The field began with a quotation mark, so another one does not begin it again.
    begun: bool,
}

impl RowBuilder {
    fn push(&mut self, byte: u8) {
        self.field.push(byte);
    }

    fn end_field(&mut self) -> Result<(), ReadError> {
        // The text is UTF-8 and only whole ASCII characters were taken out, so this does not fail.
        let field = String::from_utf8(std::mem::take(&mut self.field)).map_err(|_| ReadError::NotUtf8)?;
        self.fields.push(field);
        self.begun = false;
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<String>, ReadError> {
        self.end_field()?;
        Ok(self.fields)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(format: &CsvFormat, text: &str) -> Result<Vec<Value>, ReadError> {
        let mut rows = Rows::new(format, Bytes::from(text.to_owned()))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(row);
        }
        Ok(all)
    }

    fn json(format: &CsvFormat, text: &str) -> String {
        Value::from(rows(format, text).unwrap()).to_json_string()
    }

    fn given(names: &[&str]) -> CsvFormat {
        let headers = names.iter().map(|name| Str::from(*name)).collect();
        CsvFormat { delimiter: b',', headers: CsvHeaders::Given(headers) }
    }

    const FIRST_ROW: CsvFormat = CsvFormat { delimiter: b',', headers: CsvHeaders::FirstRow };

    #[test]
    fn quotation_marks_hold_delimiters_and_line_ends_and_a_doubled_one_is_one() {
        let text = "a,b\n\"1,\n2\",\"say \"\"yes\"\"\"\nx,{\"\"k\"\":1}\n";
        assert_eq!(json(&FIRST_ROW, text), r#"[{"a":"1,\n2","b":"say \"yes\""},{"a":"x","b":"{\"k\":1}"}]"#);
    }

    #[test]
    fn a_backslash_escapes_the_delimiter_a_quotation_mark_and_itself_and_disappears_before_anything_else() {
        assert_eq!(
            json(&given(&["a", "b"]), r#"C:\\x\\y,1\,2"#.to_owned().as_str()),
            r#"[{"a":"C:\\x\\y","b":"1,2"}]"#
        );
        assert_eq!(json(&given(&["a", "b"]), "\\n\\\"x,\"\\\"\""), r#"[{"a":"n\"x","b":"\""}]"#);
    }

    #[test]
    fn short_rows_are_padded_and_long_rows_cut() {
        let text = "1\n1,2,3,4\n,\n\n   \n";
        assert_eq!(
            json(&given(&["a", "b"]), text),
            r#"[{"a":"1","b":""},{"a":"1","b":"2"},{"a":"","b":""},{"a":"","b":""},{"a":"   ","b":""}]"#
        );
    }

    #[test]
    fn the_last_row_needs_no_line_end_and_lines_may_end_as_windows_ends_them() {
        assert_eq!(json(&FIRST_ROW, "a,b\r\n1,2\r\n3,4"), r#"[{"a":"1","b":"2"},{"a":"3","b":"4"}]"#);
        assert_eq!(json(&FIRST_ROW, ""), "[]");
        assert_eq!(json(&FIRST_ROW, "a"), "[]");
    }

    #[test]
    fn other_delimiters_leave_the_comma_alone() {
        let format = CsvFormat { delimiter: b'|', headers: CsvHeaders::FirstRow };
        assert_eq!(json(&format, "a|b\n1,2|3"), r#"[{"a":"1,2","b":"3"}]"#);
    }

    #[test]
    fn column_names_that_repeat_are_refused() {
        assert_eq!(rows(&FIRST_ROW, "a,b,a\n1,2,3"), Err(ReadError::DuplicateHeaders));
        assert_eq!(rows(&given(&["a", "a"]), "1,2"), Err(ReadError::DuplicateHeaders));
    }

    #[test]
    fn a_header_or_row_beyond_its_bound_is_refused_before_it_is_kept() {
        let header = "h".repeat(CSV_HEADER_BYTES_MAX + 2);
        assert!(matches!(rows(&FIRST_ROW, &header), Err(ReadError::TooLong { what: "CSV header", .. })));
        let row = "\"".to_owned() + &"x,\n".repeat(ITEM_BYTES_MAX / 3 + 1);
        assert!(matches!(rows(&given(&["a"]), &row), Err(ReadError::TooLong { what: "CSV row", .. })));
    }

    proptest! {
        #[test]
        fn fields_written_in_quotation_marks_come_back(
            table in prop::collection::vec(prop::collection::vec("[^\\\\\r]{0,6}", 0..5), 0..5),
        ) {
            let names = ["a", "b", "c"];
            let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let line = |row: &Vec<String>| row.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n";
            let text: String = table.iter().map(line).collect();
            let found = rows(&given(&names), &text).unwrap();
            prop_assert_eq!(found.len(), table.len());
            for (found, row) in found.iter().zip(&table) {
                for (at, name) in names.iter().enumerate() {
                    let field = row.get(at).map_or("", String::as_str);
                    prop_assert_eq!(found.get(name).and_then(Value::as_str), Some(field));
                }
            }
        }

        #[test]
        fn any_text_ends_in_rows_or_an_error(text in "\\PC{0,60}|[\"\\\\,\n\r a]{0,60}") {
            let _ = rows(&FIRST_ROW, &text);
        }
    }
}
