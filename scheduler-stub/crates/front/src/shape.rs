//! Whether an input has the shape that its operation's model asks for, and what is said where it has not.
//!
//! Invariants: what leaves here is an object of the operation's members, each of its shape; members that are `null` are not
//! there, and neither are, for Step Functions, members that nobody knows. Depth is bounded by the JSON parser (128 levels) and by the tables; at most
//! [`PROBLEMS_MAX`] problems are told. What may fail: everything, with a [`Fault`] that names the member and the constraint. Sensitive members are not
//! shown. Sources: the messages of AWS's services; Tencent's common error codes of API 3.0.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::fault::{Fault, Kind};
use crate::operations::{Api, Member, Operation, Shape};

/// What is told of one input.
const PROBLEMS_MAX: usize = 16;
/// Characters of a value that a message shows.
const SHOWN_MAX: usize = 128;

/// Reads an input.
///
/// # Errors
/// [`Kind::Serialization`] for what is no JSON object, or of other types; else what the API calls it.
pub(crate) fn read(api: Api, operation: &Operation, body: &[u8]) -> Result<Value, Fault> {
    let wrong = |why: String| Fault::new(Kind::Serialization, why);
    if body.is_empty() {
        return Err(wrong(format!(
            "{}: the body is empty; an input without members is {{}}",
            operation.name
        )));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        wrong(format!("{}: the body is not in UTF-8 from byte {} on", operation.name, error.valid_up_to()))
    })?;
    let Object(members) = serde_json::from_str(text)
        .map_err(|error| wrong(format!("{}: the body is no JSON object: {error}", operation.name)))?;
    let mut input = Value::Object(members);
    let mut check = Check { api, path: String::new(), problems: Vec::new() };
    check.structure(&mut input, operation.members)?;
    check.verdict()?;
    Ok(input)
}

/// A JSON object that has no member twice: readers differ in which of two they take.
struct Object(Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Object, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a member is there twice"));
                    }
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// One look through an input.
struct Check {
    api: Api,
    /// Where it is, as AWS spells it: `tags.1.member.key`; as Tencent does: `Filters.0.Name`.
    path: String,
    problems: Vec<(Kind, String)>,
}

impl Check {
    /// What was found: the first problem in ASW's words, all of them in AWS's.
    fn verdict(mut self) -> Result<(), Fault> {
        if self.problems.is_empty() {
            return Ok(());
        }
        if self.api == Api::Asw {
            let (kind, message) = self.problems.swap_remove(0);
            return Err(Fault::new(kind, message));
        }
        let count = self.problems.len();
        let plural = if count == 1 { "" } else { "s" };
        let messages: Vec<String> = self.problems.into_iter().map(|(_, message)| message).collect();
        let message = format!("{count} validation error{plural} detected: {}", messages.join("; "));
        Err(Fault::new(Kind::Validation, message))
    }

    fn full(&self) -> bool {
        self.problems.len() >= PROBLEMS_MAX
    }

    /// Says what is wrong at the place where the look is. `shown` is the value, where it may be shown.
    fn problem(&mut self, kind: Kind, shown: Option<&str>, constraint: &str) {
        if self.full() {
            return;
        }
        let (api, path) = (self.api, &self.path);
        let message = match (api, shown) {
            (Api::Sfn, Some(value)) => {
                format!("Value {value} at '{path}' failed to satisfy constraint: {constraint}")
            }
            (Api::Sfn, None) => format!("Value at '{path}' failed to satisfy constraint: {constraint}"),
            (Api::Asw, Some(value)) => format!("Parameter `{path}` is {value}: {constraint}"),
            (Api::Asw, None) => format!("Parameter `{path}`: {constraint}"),
        };
        self.problems.push((kind, message));
    }

    /// Looks at something below the place where the look is.
    fn below<T>(&mut self, name: &str, look: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        let looked = look(self);
        self.path.truncate(length);
        looked
    }

    fn structure(&mut self, value: &mut Value, members: &[Member]) -> Result<(), Fault> {
        let found = std::mem::take(value);
        let Value::Object(mut object) = found else { return Err(self.mistyped(&found, "an object")) };
        object.retain(|_, value| !value.is_null());
        let known = |name: &str| members.iter().any(|member| member.name == name);
        match self.api {
            Api::Sfn => object.retain(|name, _| known(name)),
            Api::Asw => {
                if let Some(name) = object.keys().find(|name| !known(name)) {
                    self.unknown(name, members);
                }
            }
        }
        for member in members {
            match object.get_mut(member.name) {
                Some(value) => self.below(member.name, |check| check.value(value, member.shape))?,
                None if member.required => self.below(member.name, |check| {
                    let said = match check.api {
                        Api::Sfn => (Kind::Validation, Some("null"), "Member must not be null"),
                        Api::Asw => (Kind::MissingParameter, None, "it is missing"),
                    };
                    check.problem(said.0, said.1, said.2);
                }),
                None => {}
            }
        }
        *value = Value::Object(object);
        Ok(())
    }

    /// A member that nobody knows. Actions spell the same thing in more than one way, so that those that there are help.
    fn unknown(&mut self, name: &str, members: &[Member]) {
        let known: Vec<&str> = members.iter().map(|member| member.name).collect();
        let constraint = format!("there is no such member here; there are {}", known.join(", "));
        let name: String = name.chars().take(SHOWN_MAX).collect();
        self.below(&name, |check| check.problem(Kind::UnknownParameter, None, &constraint));
    }

    fn value(&mut self, value: &mut Value, shape: &Shape) -> Result<(), Fault> {
        match (shape, &mut *value) {
            (Shape::Structure(members), _) => return self.structure(value, members),
            (Shape::Boolean, Value::Bool(_)) => {}
            (Shape::Text { .. }, Value::String(text)) => self.text(text, shape),
            (Shape::OneOf(allowed), Value::String(text)) => {
                if !allowed.contains(&text.as_str()) {
                    let constraint = format!("Member must satisfy enum value set: [{}]", allowed.join(", "));
                    self.problem(Kind::Validation, Some(&shown(text)), &constraint);
                }
            }
            (Shape::Integer { min, max }, Value::Number(number)) => match number.as_i64() {
                Some(whole) => self.range(whole, *min, *max),
                None => return Err(self.mistyped(value, "a whole number")),
            },
            (Shape::Number { min, max }, Value::Number(number)) => {
                // Each number of JSON has a nearest double: numbers are not kept as texts.
                self.range(number.as_f64().unwrap_or(f64::NAN), *min, *max);
            }
            (Shape::List { item, min, max }, Value::Array(items)) => {
                self.length(items.len(), *min, *max, None);
                for (at, value) in items.iter_mut().enumerate() {
                    if self.full() {
                        break;
                    }
                    let place = match self.api {
                        Api::Sfn => format!("{}.member", at + 1),
                        Api::Asw => at.to_string(),
                    };
                    self.below(&place, |check| check.value(value, item))?;
                }
            }
            (Shape::Boolean, other) => return Err(self.mistyped(other, "true or false")),
            (Shape::Text { .. } | Shape::OneOf(_), other) => return Err(self.mistyped(other, "a text")),
            (Shape::Integer { .. } | Shape::Number { .. }, other) => {
                return Err(self.mistyped(other, "a number"));
            }
            (Shape::List { .. }, other) => return Err(self.mistyped(other, "a list")),
        }
        Ok(())
    }

    fn text(&mut self, text: &str, shape: &Shape) {
        let Shape::Text { min, max, pattern, sensitive } = shape else { return };
        let visible = (!sensitive).then(|| shown(text));
        // Counting characters is only needed where bytes may be too many, or too few.
        let many = text.len() as u64 > u64::from(*max) || (text.len() as u64) < 4 * u64::from(*min);
        if many {
            self.length(text.chars().count(), *min, *max, visible.as_deref());
        }
        if let Some(pattern) = pattern.filter(|pattern| !pattern.fits(text)) {
            let constraint = format!("Member must satisfy regular expression pattern: {}", pattern.as_str());
            self.problem(Kind::Validation, visible.as_deref(), &constraint);
        }
    }

    fn length(&mut self, length: usize, min: u32, max: u32, visible: Option<&str>) {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        if length > u64::from(max) {
            let constraint = format!("Member must have length less than or equal to {max}");
            self.problem(Kind::Validation, visible, &constraint);
        } else if length < u64::from(min) {
            let constraint = format!("Member must have length greater than or equal to {min}");
            self.problem(Kind::Validation, visible, &constraint);
        }
    }

    fn range<T: PartialOrd + fmt::Display>(&mut self, number: T, min: T, max: T) {
        let visible = format!("'{number}'");
        if number > max {
            let constraint = format!("Member must have value less than or equal to {max}");
            self.problem(Kind::Validation, Some(&visible), &constraint);
        } else if number < min {
            let constraint = format!("Member must have value greater than or equal to {min}");
            self.problem(Kind::Validation, Some(&visible), &constraint);
        }
    }

    /// Another type than the model's: nothing else of the input is looked at.
    fn mistyped(&self, found: &Value, expected: &str) -> Fault {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Fault::new(Kind::Serialization, format!("'{}' is {found}, and must be {expected}", self.path))
    }
}

/// A text between quotation marks, short enough for a message.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        None => format!("'{text}'"),
        Some((end, _)) => format!("'{}…'", &text[..end]),
    }
}

#[cfg(test)]
mod tests;
