//! The items of a JSON document, one by one, without a tree of the document.
//!
//! Invariants: the document is checked as a whole before the first item is taken, so what follows walks over text that is
//! known to be JSON; no recursion.

use bytes::Bytes;

use super::{ITEM_BYTES_MAX, OBJECT_BYTES_MAX, ReadError};
use crate::value::{JsonLimits, Payload, Str, Value};

const DOCUMENT: JsonLimits = JsonLimits { depth: JsonLimits::DEPTH, bytes: OBJECT_BYTES_MAX };
/// Bounds of one item.
pub(super) const ITEM: JsonLimits = JsonLimits { depth: JsonLimits::DEPTH, bytes: ITEM_BYTES_MAX };

/// The items of an array, or the members of an object.
#[derive(Debug)]
pub(super) struct Members {
    text: Bytes,
    at: usize,
    keyed: bool,
}

impl Members {
    /// Checks the document and finds where its items begin. Only behind a pointer may they be an object's members.
    pub fn new(text: Bytes, pointer: Option<&str>) -> Result<Self, ReadError> {
        Payload::check(text.clone(), DOCUMENT).map_err(ReadError::NotJson)?;
        let mut members = Self { text, at: 0, keyed: false };
        members.skip_space();
        let pointer = pointer.filter(|pointer| !pointer.is_empty());
        for token in pointer.into_iter().flat_map(|pointer| pointer.split('/').skip(1)) {
            let token = token.replace("~1", "/").replace("~0", "~");
            if !members.descend(&token)? {
                return Err(ReadError::NothingAtPointer(pointer.unwrap_or_default().into()));
            }
        }
        members.keyed = match members.text.get(members.at) {
            Some(b'[') => false,
            Some(b'{') if pointer.is_some() => true,
            _ => return Err(ReadError::NotIterable),
        };
        members.at += 1;
        Ok(members)
    }

    /// The next item, with its key where it is a member of an object.
    pub fn next(&mut self) -> Result<Option<(Option<Str>, Value)>, ReadError> {
        if !self.step() {
            return Ok(None);
        }
        let key = if self.keyed { Some(self.key()?) } else { None };
        let begin = self.at;
        self.skip_value();
        let item = Value::parse(&self.text[begin..self.at], ITEM).map_err(ReadError::NotJson)?;
        Ok(Some((key, item)))
    }

    /// To the next member or item; false behind the last.
    fn step(&mut self) -> bool {
        self.skip_space();
        if self.text.get(self.at) == Some(&b',') {
            self.at += 1;
            self.skip_space();
        }
        !matches!(self.text.get(self.at), None | Some(b']' | b'}'))
    }

    /// Into the member or item that a pointer's token names; of equal keys the last, as everywhere.
    fn descend(&mut self, token: &str) -> Result<bool, ReadError> {
        let keyed = match self.text.get(self.at) {
            Some(b'{') => true,
            Some(b'[') => false,
            _ => return Ok(false),
        };
        let wanted = index(token);
        self.at += 1;
        let mut found = None;
        let mut at = 0;
        while self.step() {
            let named = if keyed { self.key()? == token } else { wanted == Some(at) };
            if named {
                found = Some(self.at);
            }
            self.skip_value();
            at += 1;
        }
        self.at = found.unwrap_or(self.at);
        Ok(found.is_some())
    }

    fn key(&mut self) -> Result<Str, ReadError> {
        let begin = self.at;
        self.skip_string();
        let key = Value::parse(&self.text[begin..self.at], ITEM).map_err(ReadError::NotJson)?;
        self.skip_space();
        // The colon.
        self.at += 1;
        self.skip_space();
        Ok(key.as_text().cloned().unwrap_or_default())
    }

    fn skip_space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.text.get(self.at) {
            self.at += match byte {
                b'\\' => 2,
                b'"' => {
                    self.at += 1;
                    return;
                }
                _ => 1,
            };
        }
    }

    fn skip_value(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b'"' => self.skip_string(),
                b'[' | b'{' => {
                    depth += 1;
                    self.at += 1;
                }
                b']' | b'}' if depth == 0 => return,
                b']' | b'}' => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' if depth == 0 => return,
                _ => self.at += 1,
            }
        }
    }
}

/// The index that a pointer's token spells: digits alone, and no zero before others.
fn index(token: &str) -> Option<usize> {
    let plain = token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    token.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn items(text: &str, pointer: Option<&str>) -> Result<Vec<(Option<Str>, Value)>, ReadError> {
        let mut members = Members::new(Bytes::from(text.to_owned()), pointer)?;
        let mut all = Vec::new();
        while let Some(item) = members.next()? {
            all.push(item);
        }
        Ok(all)
    }

    fn texts(text: &str, pointer: Option<&str>) -> Vec<String> {
        let told = |(key, item): (Option<Str>, Value)| match key {
            Some(key) => format!("{key}={item}"),
            None => item.to_json_string(),
        };
        items(text, pointer).unwrap().into_iter().map(told).collect()
    }

    #[test]
    fn an_array_gives_its_items_in_order() {
        assert_eq!(
            texts(r#" [1, "a,]\"", {"b": [2, {}]} , [], null] "#, None),
            ["1", r#""a,]\"""#, r#"{"b":[2,{}]}"#, "[]", "null"]
        );
        assert_eq!(texts("[]", None), [""; 0]);
    }

    #[test]
    fn a_pointer_leads_to_an_array_or_an_object_inside() {
        let text = r#"{"a/b": [0, {"c": [7, 8]}], "m~n": {"x": 1, "y": [2]}, "d": {"no": [9]}}"#;
        assert_eq!(texts(text, Some("/a~1b/1/c")), ["7", "8"]);
        assert_eq!(texts(text, Some("/m~0n")), ["x=1", "y=[2]"]);
        assert_eq!(items(text, Some("/a~1b/9")), Err(ReadError::NothingAtPointer("/a~1b/9".into())));
        assert_eq!(items(text, Some("/d/no/0/x")), Err(ReadError::NothingAtPointer("/d/no/0/x".into())));
        assert_eq!(items(text, Some("/a~1b/0")), Err(ReadError::NotIterable));
        for spelt in ["/a~1b/01/c", "/a~1b/+1/c", "/a~1b//c", "/a~1b/-/c"] {
            assert_eq!(items(text, Some(spelt)), Err(ReadError::NothingAtPointer(spelt.into())), "{spelt}");
        }
    }

    #[test]
    fn a_document_that_is_no_array_cannot_be_mapped_over() {
        for text in [r#"{"a": 1}"#, "1", r#""x""#, "null"] {
            assert_eq!(items(text, None), Err(ReadError::NotIterable), "{text}");
        }
    }

    #[test]
    fn a_document_that_is_no_json_or_nested_too_deeply_is_refused_before_its_first_item() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for text in ["", "[1, 2", "[1, 2] 3", "[1, tru]", &deep] {
            assert!(
                matches!(items(text, None), Err(ReadError::NotJson(_))),
                "{}",
                &text[..text.len().min(9)]
            );
        }
    }

    proptest! {
        #[test]
        fn the_items_are_those_of_the_parsed_document(
            numbers in prop::collection::vec(prop_oneof![
                any::<i64>().prop_map(Value::from),
                "\\PC{0,8}".prop_map(Value::from),
                prop::collection::vec("[\"\\\\,\\]}{a]{0,4}", 0..3)
                    .prop_map(|texts| Value::array(texts.into_iter().map(Value::from))),
            ], 0..8),
        ) {
            let document = Value::from(numbers.clone()).to_json_string();
            let found: Vec<Value> = items(&document, None).unwrap().into_iter().map(|(_, item)| item).collect();
            prop_assert_eq!(found, numbers);
        }
    }
}
