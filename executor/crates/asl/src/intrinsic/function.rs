//! The table of functions, and what each one is given.

use super::error::{Failure, Work};
use super::{array, encoding, json, math, text, unique};
use crate::path::Scope;
use crate::value::{Map, Number, Str, Value};

/// An intrinsic function.
#[derive(Debug)]
pub(super) struct Function {
    /// As it is called: `States.Format`.
    pub name: &'static str,
    /// The fewest arguments.
    pub least: usize,
    /// The most arguments.
    pub most: usize,
    /// Whether `ErrorPath` and `CausePath` may call it.
    pub in_fail: bool,
    pub apply: Apply,
}

type Apply = fn(&mut Arguments<'_>) -> Result<Value, Failure>;

const fn function(name: &'static str, least: usize, most: usize, apply: Apply) -> Function {
    Function { name, least, most, in_fail: false, apply }
}

const fn in_fail(function: Function) -> Function {
    Function { in_fail: true, ..function }
}

/// All functions, in the order of the developer guide.
pub(super) static FUNCTIONS: [Function; 18] = [
    function("States.Array", 0, usize::MAX, array::array),
    function("States.ArrayPartition", 2, 2, array::partition),
    function("States.ArrayContains", 2, 2, array::contains),
    function("States.ArrayRange", 3, 3, array::range),
    in_fail(function("States.ArrayGetItem", 2, 2, array::get_item)),
    function("States.ArrayLength", 1, 1, array::length),
    function("States.ArrayUnique", 1, 1, array::unique),
    in_fail(function("States.Base64Encode", 1, 1, encoding::base64_encode)),
    in_fail(function("States.Base64Decode", 1, 1, encoding::base64_decode)),
    in_fail(function("States.Hash", 2, 2, encoding::hash)),
    function("States.JsonMerge", 3, 3, json::merge),
    function("States.StringToJson", 1, 1, json::parse),
    in_fail(function("States.JsonToString", 1, 1, json::write)),
    function("States.MathRandom", 2, 3, math::random),
    function("States.MathAdd", 2, 2, math::add),
    function("States.StringSplit", 2, 2, text::split),
    in_fail(function("States.UUID", 0, 0, unique::uuid)),
    in_fail(function(FORMAT, 1, usize::MAX, text::format)),
];

/// The function whose first argument is a pattern.
pub(super) const FORMAT: &str = "States.Format";

impl Function {
    /// The function of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FUNCTIONS.iter().find(|function| function.name == name)
    }

    /// How many arguments it takes, in words.
    pub fn arity(&self) -> String {
        let noun = |count: usize| if count == 1 { "argument" } else { "arguments" };
        match (self.least, self.most) {
            (0, 0) => "no arguments".to_owned(),
            (least, usize::MAX) => format!("{least} or more arguments"),
            (least, most) if least == most => format!("{most} {}", noun(most)),
            (least, most) => format!("{least} to {most} arguments"),
        }
    }
}

/// What a function is given. The parser has seen to the number of arguments; one that is not there reads as `null`.
pub(super) struct Arguments<'a> {
    pub values: &'a [Value],
    /// A written-out pattern of `States.Format`; then it is not among the values.
    pub pattern: Option<&'a [Str]>,
    pub scope: &'a Scope<'a>,
    pub work: &'a mut Work,
}

static ABSENT: Value = Value::Null;

impl<'a> Arguments<'a> {
    pub fn value(&self, at: usize) -> &'a Value {
        self.values.get(at).unwrap_or(&ABSENT)
    }

    pub fn text(&self, at: usize) -> Result<&'a Str, Failure> {
        let value = self.value(at);
        value.as_text().ok_or_else(|| kind(at, "a string", value))
    }

    pub fn array(&self, at: usize) -> Result<&'a [Value], Failure> {
        let value = self.value(at);
        value.as_array().ok_or_else(|| kind(at, "an array", value))
    }

    pub fn object(&self, at: usize) -> Result<&'a Map, Failure> {
        let value = self.value(at);
        value.as_object().ok_or_else(|| kind(at, "an object", value))
    }

    pub fn boolean(&self, at: usize) -> Result<bool, Failure> {
        let value = self.value(at);
        value.as_bool().ok_or_else(|| kind(at, "a boolean", value))
    }

    pub fn number(&self, at: usize) -> Result<Number, Failure> {
        let value = self.value(at);
        value.as_number().ok_or_else(|| kind(at, "a number", value))
    }

    /// A text of at most this many characters, as Java counts them: UTF-16 code units.
    pub fn short_text(&self, at: usize, limit: usize) -> Result<&'a Str, Failure> {
        let text = self.text(at)?;
        short(at, text, limit).map(|()| text)
    }

    /// A number, rounded as AWS rounds where it asks for integers.
    pub fn rounded(&self, at: usize) -> Result<i64, Failure> {
        math::round(self.number(at)?).ok_or_else(|| Failure::Value {
            position: at + 1,
            expected: "an integer",
            found: self.value(at).to_string(),
        })
    }
}

/// Refuses a text that is longer. `at` is the argument's index.
pub(super) fn short(at: usize, text: &str, limit: usize) -> Result<(), Failure> {
    // No text has more code units than bytes, so most are not counted.
    if text.len() > limit {
        let found = text.encode_utf16().count();
        if found > limit {
            return Err(Failure::Characters { position: at + 1, limit, found });
        }
    }
    Ok(())
}

fn kind(at: usize, expected: &'static str, value: &Value) -> Failure {
    Failure::Kind { position: at + 1, expected, found: value.kind() }
}
