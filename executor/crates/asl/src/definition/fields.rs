//! Which fields stand where: the allow-tables, and typed reading of fields.
//!
//! Purpose: one table per kind of object, so that a field too many or too few is found everywhere in the
//! same way. What may fail: every reader records what is wrong and returns `None`; the caller goes on with
//! a default, so that all problems are found in one go.

use super::compile::Compiler;
use super::findings::Place;
use super::json::{Member, Node, Shape};

/// The largest number of seconds, attempts and the like.
pub(super) const COUNT_MAX: u64 = 99_999_999;

/// Fields of a machine.
pub(super) const MACHINE: &[&str] =
    &["Comment", "StartAt", "States", "Version", "TimeoutSeconds", "QueryLanguage"];
/// Fields of a branch.
pub(super) const BRANCH: &[&str] = &["Comment", "StartAt", "States"];
/// Fields of an item processor.
pub(super) const PROCESSOR: &[&str] = &["Comment", "StartAt", "States", "ProcessorConfig"];
/// Fields of an item processor's configuration.
pub(super) const PROCESSOR_CONFIG: &[&str] = &["Mode", "ExecutionType"];
/// Fields of a Map that have a meaning in DISTRIBUTED mode alone, and are refused elsewhere.
pub(super) const DISTRIBUTED_ONLY: &[&str] = &["ItemReader", "ItemBatcher", "ResultWriter"];
/// Fields of `ItemReader`.
pub(super) const ITEM_READER: &[&str] = &["Resource", "Parameters", "Arguments", "ReaderConfig"];
/// Fields of `ReaderConfig`.
pub(super) const READER_CONFIG: &[&str] = &[
    "InputType",
    "CSVHeaderLocation",
    "CSVHeaders",
    "CSVDelimiter",
    "ItemsPointer",
    "MaxItems",
    "MaxItemsPath",
    "ManifestType",
    "Transformation",
];
/// Fields of `ItemBatcher`.
pub(super) const ITEM_BATCHER: &[&str] = &[
    "MaxItemsPerBatch",
    "MaxItemsPerBatchPath",
    "MaxInputBytesPerBatch",
    "MaxInputBytesPerBatchPath",
    "BatchInput",
];
/// Fields of `ResultWriter`.
pub(super) const RESULT_WRITER: &[&str] = &["Resource", "Parameters", "Arguments", "WriterConfig"];
/// Fields of `WriterConfig`.
pub(super) const WRITER_CONFIG: &[&str] = &["Transformation", "OutputType"];
/// Fields of an entry of `Retry`.
pub(super) const RETRIER: &[&str] = &[
    "Comment",
    "ErrorEquals",
    "IntervalSeconds",
    "MaxAttempts",
    "BackoffRate",
    "MaxDelaySeconds",
    "JitterStrategy",
];
/// Fields of an entry of `Catch`.
pub(super) const CATCHER: &[&str] = &["Comment", "ErrorEquals", "ResultPath", "Next", "Assign", "Output"];

/// The types of states, in the order of AWS's message.
pub(super) const TYPES: [&str; 8] = ["Task", "Wait", "Pass", "Succeed", "Fail", "Choice", "Parallel", "Map"];

/// Fields of every state.
const COMMON: &[&str] = &["Type", "Comment", "QueryLanguage"];
const TRANSITION: &[&str] = &["Next", "End"];
const ERRORS: &[&str] = &["Retry", "Catch"];

/// Fields that only a JSONPath state has; `Parameters` of a Map is the legacy spelling of `ItemSelector`.
const PATH_ONLY: &[&str] =
    &["InputPath", "OutputPath", "ResultPath", "Parameters", "ResultSelector", "Result", "Variable"];
/// Fields that only a JSONata state has.
const JSONATA_ONLY: &[&str] = &["Arguments", "Output", "Items", "Condition"];

/// The fields of each type of state beyond [`COMMON`], in both query languages.
fn of_type(kind: &str) -> [&'static [&'static str]; 4] {
    const WHOLE: &[&str] = &["InputPath", "OutputPath", "ResultPath", "Parameters", "Assign", "Output"];
    match kind {
        "Task" => [
            TRANSITION,
            ERRORS,
            WHOLE,
            &[
                "ResultSelector",
                "Arguments",
                "Resource",
                "Credentials",
                "TimeoutSeconds",
                "TimeoutSecondsPath",
                "HeartbeatSeconds",
                "HeartbeatSecondsPath",
            ],
        ],
        "Pass" => [TRANSITION, WHOLE, &["Result"], &[]],
        "Choice" => [&["Choices", "Default"], &["InputPath", "OutputPath"], &["Assign", "Output"], &[]],
        "Wait" => [
            TRANSITION,
            &["InputPath", "OutputPath"],
            &["Assign", "Output"],
            &["Seconds", "SecondsPath", "Timestamp", "TimestampPath"],
        ],
        "Succeed" => [&["InputPath", "OutputPath"], &["Output"], &[], &[]],
        "Fail" => [&["Error", "ErrorPath", "Cause", "CausePath"], &[], &[], &[]],
        "Parallel" => [TRANSITION, ERRORS, WHOLE, &["ResultSelector", "Arguments", "Branches"]],
        "Map" => [
            TRANSITION,
            ERRORS,
            WHOLE,
            &[
                "ResultSelector",
                "ItemProcessor",
                "Iterator",
                "ItemsPath",
                "Items",
                "ItemSelector",
                "ItemReader",
                "ItemBatcher",
                "ResultWriter",
                "Label",
                "MaxConcurrency",
                "MaxConcurrencyPath",
                "ToleratedFailureCount",
                "ToleratedFailureCountPath",
                "ToleratedFailurePercentage",
                "ToleratedFailurePercentagePath",
            ],
        ],
        _ => [&[], &[], &[], &[]],
    }
}

/// The names of the fields of a type of state.
pub(super) fn state_fields(kind: &str) -> impl Iterator<Item = &'static str> {
    let lists = of_type(kind).into_iter().chain([COMMON]);
    lists.flat_map(|list| list.iter().copied())
}

/// True where a state of this type may have the field.
pub(super) fn state_allows(kind: &str, field: &str, jsonata: bool, tcsl: bool) -> bool {
    let named = COMMON.contains(&field) || of_type(kind).iter().any(|list| list.contains(&field));
    let spoken = if jsonata {
        !PATH_ONLY.contains(&field) && (!field.ends_with("Path") || field == "Path")
    } else {
        !JSONATA_ONLY.contains(&field)
    };
    (named && spoken) || (tcsl && kind == "Pass" && field == "ResultSelector")
}

/// Why a state of this type may not have the field: the words of AWS. `None` where it may.
pub(super) fn refusal(kind: &str, field: &str, jsonata: bool, tcsl: bool) -> Option<Refusal> {
    if state_allows(kind, field, jsonata, tcsl) {
        None
    } else if state_allows(kind, field, !jsonata, tcsl) {
        Some(Refusal::OtherLanguage)
    } else {
        Some(Refusal::Unknown)
    }
}

/// Why a field does not belong to a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// States of this type have no such field.
    Unknown,
    /// They have it in the other query language.
    OtherLanguage,
}

/// A number's bounds, both included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Range {
    pub(super) const POSITIVE: Range = Range { min: 1, max: COUNT_MAX };
    pub(super) const NATURAL: Range = Range { min: 0, max: COUNT_MAX };
}

impl Compiler<'_> {
    /// The members of an object; anything else is an error.
    pub(super) fn object<'n>(&mut self, node: &'n Node, place: &Place<'_>) -> Option<&'n [Member]> {
        let members = node.members();
        if members.is_none() {
            self.findings.schema(place, "Expected value of type Object");
        }
        members
    }

    /// The items of an array that is not empty; anything else is an error.
    pub(super) fn array<'n>(&mut self, node: &'n Node, place: &Place<'_>) -> Option<&'n [Node]> {
        match &node.shape {
            Shape::Array(items) if items.is_empty() => {
                self.findings.schema(place, "Value cannot be empty");
                None
            }
            Shape::Array(items) => Some(items),
            _ => {
                self.findings.schema(place, "Expected value of type Array");
                None
            }
        }
    }

    /// A string; anything else is an error.
    pub(super) fn string<'n>(&mut self, node: &'n Node, place: &Place<'_>) -> Option<&'n str> {
        let text = node.as_str();
        if text.is_none() {
            self.findings.schema(place, "Expected value of type String");
        }
        text
    }

    /// `true` or `false`; anything else is an error.
    pub(super) fn boolean(&mut self, node: &Node, place: &Place<'_>) -> Option<bool> {
        if let Shape::Bool(value) = node.shape {
            return Some(value);
        }
        self.findings.schema(place, "Expected value of type Boolean");
        None
    }

    /// A string field of this object, where present.
    pub(super) fn string_field<'n>(
        &mut self,
        node: &'n Node,
        name: &str,
        place: &Place<'_>,
    ) -> Option<&'n str> {
        let member = node.member(name)?;
        self.string(&member.value, &place.member(member))
    }

    /// An integer within the range, where the field is present.
    pub(super) fn integer_field(
        &mut self,
        node: &Node,
        name: &str,
        range: Range,
        place: &Place<'_>,
    ) -> Option<u64> {
        let member = node.member(name)?;
        self.integer(&member.value, range, &place.member(member))
    }

    /// As [`Self::integer_field`], of a field whose number may also come from the data: a text there was meant to be read.
    pub(super) fn number_field(
        &mut self,
        node: &Node,
        name: &str,
        range: Range,
        jsonata: bool,
        place: &Place<'_>,
    ) -> Option<u64> {
        let member = node.member(name)?;
        let Some(text) = member.value.as_str() else { return self.integer_field(node, name, range, place) };
        let note = evaluation(name, text, jsonata);
        self.findings.schema_noted(&place.member(member), "Expected value of type Integer", note);
        None
    }

    /// An integer within the range; `3.0` is one.
    pub(super) fn integer(&mut self, node: &Node, range: Range, place: &Place<'_>) -> Option<u64> {
        let Some(number) = self.number(node).filter(|number| number.fract() == 0.0) else {
            self.findings.schema(place, "Expected value of type Integer");
            return None;
        };
        if number < range.min as f64 {
            let message = format!("Minimum value is {}", range.min);
            self.findings.schema(place, message);
            return None;
        }
        if number > range.max as f64 {
            let message = format!("Maximum value is {}", range.max);
            self.findings.schema(place, message);
            return None;
        }
        Some(number as u64)
    }

    /// A number within these bounds, both included; their words are those of AWS.
    pub(super) fn real(&mut self, node: &Node, min: f64, max: f64, place: &Place<'_>) -> Option<f64> {
        let Some(number) = self.number(node) else {
            self.findings.schema(place, "Expected value of type Number");
            return None;
        };
        if number < min {
            self.findings.schema(place, format!("Minimum value is {min:?}"));
            return None;
        }
        if number > max {
            self.findings.schema(place, format!("Maximum value is {max:?}"));
            return None;
        }
        Some(number)
    }

    /// A field with one of a few values. The outer `None` is an error, the inner an absent field.
    pub(super) fn one_of(
        &mut self,
        node: &Node,
        field: &str,
        values: &[&'static str],
        place: &Place<'_>,
    ) -> Option<Option<&'static str>> {
        let Some(member) = node.member(field) else { return Some(None) };
        let place = place.member(member);
        let written = self.string(&member.value, &place)?;
        let found = values.iter().copied().find(|value| *value == written);
        if found.is_none() {
            let note = self.suggestion(written, values.iter().copied());
            let message = format!("Value should be one of the following: [{}]", values.join(", "));
            self.findings.schema_noted(&place, message, note);
        }
        found.map(Some)
    }

    /// The double that a number spells.
    pub(super) fn number(&self, node: &Node) -> Option<f64> {
        if !matches!(node.shape, Shape::Number) {
            return None;
        }
        self.text[node.span.start..node.span.end].parse().ok()
    }

    /// Fields that are not in the table.
    pub(super) fn only(&mut self, node: &Node, allowed: &[&str], place: &Place<'_>) {
        for member in node.members().unwrap_or_default() {
            if !allowed.contains(&member.name.as_str()) {
                let note = self.suggestion(&member.name, allowed.iter().copied());
                self.unsupported_field(member, note, place);
            }
        }
    }

    /// The field does not belong there; of what is in it nothing is said.
    pub(super) fn unsupported_field(&mut self, member: &Member, note: String, place: &Place<'_>) {
        let place = place.within(member).at(member.name_span);
        let message = format!("Field '{}' is not supported", member.name);
        self.findings.schema_noted(&place, message, note);
        self.findings.pass_over(member.span());
    }

    /// The fields of a state that it may not have.
    pub(super) fn state_fields(&mut self, node: &Node, kind: &'static str, jsonata: bool, place: &Place<'_>) {
        let tcsl = self.dialect == crate::program::Dialect::Tcsl;
        for field in node.members().unwrap_or_default() {
            if self.tcsl_field(kind, field, place) {
                continue;
            }
            match refusal(kind, &field.name, jsonata, tcsl) {
                None => {}
                Some(Refusal::Unknown) => {
                    // In TCSL a Pass has a ResultSelector too.
                    let known = state_fields(kind).chain(["ResultSelector"]);
                    let known = known.filter(|name| state_allows(kind, name, jsonata, tcsl));
                    let note = self.suggestion(&field.name, known);
                    self.unsupported_field(field, note, place);
                }
                Some(Refusal::OtherLanguage) => self.field_of_other_language(field, jsonata, place),
            }
        }
    }

    /// The field exists in the other query language only.
    pub(super) fn field_of_other_language(&mut self, member: &Member, jsonata: bool, place: &Place<'_>) {
        let (own, other) = if jsonata { ("JSONata", "JSONPath") } else { ("JSONPath", "JSONata") };
        let message = format!(
            "The QueryLanguage is set to '{own}', but field '{}' is only supported for the '{other}' \
             QueryLanguage",
            member.name
        );
        self.findings.schema(&place.within(member).at(member.name_span), message);
        self.findings.pass_over(member.span());
    }

    /// Fields that have to be there.
    pub(super) fn required(&mut self, node: &Node, names: &[&str], place: &Place<'_>) -> bool {
        let missing: Vec<&str> = names.iter().copied().filter(|name| node.get(name).is_none()).collect();
        if !missing.is_empty() {
            let message = format!("These fields are required: [{}]", missing.join(", "));
            self.findings.schema(place, message);
        }
        missing.is_empty()
    }

    /// Fields of which at most one may be there. True when so.
    pub(super) fn exclusive(&mut self, node: &Node, names: &[&str], place: &Place<'_>) -> bool {
        let members = node.members().unwrap_or_default();
        let mut present = members.iter().filter(|member| names.contains(&member.name.as_str()));
        let first = present.next();
        let second = present.next();
        if let (Some(_), Some(second)) = (first, second) {
            let message = format!("There should only be one of the following fields: [{}]", names.join(", "));
            self.findings.schema(&place.within(second).at(second.name_span), message);
            return false;
        }
        true
    }

    /// Fields of which exactly one has to be there. True when so.
    pub(super) fn exactly_one(&mut self, node: &Node, names: &[&str], place: &Place<'_>) -> bool {
        if names.iter().all(|name| node.get(name).is_none()) {
            let list = names.join(", ");
            let message = format!("This object should have only one of the following fields: [{list}]");
            self.findings.schema(place, message);
            return false;
        }
        self.exclusive(node, names, place)
    }
}

/// How a field is written that gets its value from the data, where a text looks as if that was meant.
pub(super) fn evaluation(field: &str, text: &str, jsonata: bool) -> String {
    match (jsonata, text.starts_with('$')) {
        (true, _) => "An expression stands between '{%' and '%}'".to_owned(),
        (false, true) => format!("To read it from the data, name the field '{field}Path'"),
        (false, false) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_follow_the_specification() {
        for kind in TYPES {
            assert_eq!(
                state_allows(kind, "Retry", false, false),
                ["Task", "Parallel", "Map"].contains(&kind),
                "{kind}"
            );
            assert_eq!(state_allows(kind, "OutputPath", false, false), kind != "Fail", "{kind}");
            assert!(!state_allows(kind, "OutputPath", true, false), "{kind}");
            assert_eq!(
                state_allows(kind, "Assign", true, false),
                !["Succeed", "Fail"].contains(&kind),
                "{kind}"
            );
            assert_eq!(
                state_allows(kind, "Arguments", true, false),
                ["Task", "Parallel"].contains(&kind),
                "{kind}"
            );
            assert_eq!(state_allows(kind, "TimeoutSeconds", false, false), kind == "Task", "{kind}");
            assert_eq!(
                state_allows(kind, "Next", false, false),
                !["Choice", "Succeed", "Fail"].contains(&kind)
            );
        }
        assert!(!state_allows("Pass", "ResultSelector", false, false));
        assert!(state_allows("Pass", "ResultSelector", false, true));
    }
}
