//! Retry and Catch.

use super::compile::Compiler;
use super::fields::{self, Range};
use super::findings::Place;
use super::graph::Targets;
use super::json::{Node, Shape};
use super::query::Reads;
use crate::program::{Catcher, ResultPath, Retrier};
use crate::value::Str;

/// Matches every error.
const ALL: &str = "States.ALL";
/// The longest `MaxDelaySeconds`: a year of 366 days.
const DELAY: Range = Range { min: 1, max: 31_622_400 };

impl Compiler<'_> {
    /// `Retry`; empty where absent, `None` where wrong.
    pub(super) fn retry(&mut self, node: &Node, place: &Place<'_>) -> Option<Box<[Retrier]>> {
        let Some(member) = node.member("Retry") else { return Some(Box::default()) };
        let place = place.member(member);
        let items = self.list(&member.value, &place)?;
        let mut built = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let place = place.item(index, item);
            built.push(self.retrier(item, index + 1 == items.len(), &place));
        }
        self.remark_repeated_names(items, &place);
        built.into_iter().collect()
    }

    /// `Catch`; empty where absent, `None` where wrong.
    pub(super) fn catch(
        &mut self,
        node: &Node,
        targets: &Targets<'_>,
        jsonata: bool,
        place: &Place<'_>,
    ) -> Option<Box<[Catcher]>> {
        let Some(member) = node.member("Catch") else { return Some(Box::default()) };
        let place = place.member(member);
        let items = self.list(&member.value, &place)?;
        let mut built = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let place = place.item(index, item);
            let last = index + 1 == items.len();
            let around = format!("Catch[{index}]/");
            built.push(self.catcher(item, last, targets, jsonata.then_some(&*around), &place));
        }
        self.remark_repeated_names(items, &place);
        built.into_iter().collect()
    }

    /// An array, which may be empty.
    fn list<'n>(&mut self, node: &'n Node, place: &Place<'_>) -> Option<&'n [Node]> {
        match &node.shape {
            Shape::Array(items) => Some(items),
            _ => {
                self.findings.schema(place, "Expected value of type Array");
                None
            }
        }
    }

    fn retrier(&mut self, node: &Node, last: bool, place: &Place<'_>) -> Option<Retrier> {
        self.object(node, place)?;
        self.only(node, fields::RETRIER, place);
        self.string_field(node, "Comment", place);
        let error_equals = self.error_equals(node, last, place);
        let interval = self.integer_field(node, "IntervalSeconds", Range::POSITIVE, place);
        let attempts = self.integer_field(node, "MaxAttempts", Range::NATURAL, place);
        let max_delay_seconds = self.integer_field(node, "MaxDelaySeconds", DELAY, place);
        let backoff_rate = self.backoff_rate(node, place);
        let full_jitter = self.full_jitter(node, place);
        Some(Retrier {
            error_equals: error_equals?,
            interval_seconds: interval.unwrap_or(1),
            max_attempts: attempts.unwrap_or(3),
            backoff_rate,
            max_delay_seconds,
            full_jitter,
        })
    }

    fn backoff_rate(&mut self, node: &Node, place: &Place<'_>) -> f64 {
        let Some(member) = node.member("BackoffRate") else { return 2.0 };
        self.real(&member.value, 1.0, f64::MAX, &place.member(member)).unwrap_or(2.0)
    }

    fn full_jitter(&mut self, node: &Node, place: &Place<'_>) -> bool {
        self.one_of(node, "JitterStrategy", &["NONE", "FULL"], place).flatten() == Some("FULL")
    }

    /// `jsonata` is the catcher's place below a JSONata state.
    fn catcher(
        &mut self,
        node: &Node,
        last: bool,
        targets: &Targets<'_>,
        jsonata: Option<&str>,
        place: &Place<'_>,
    ) -> Option<Catcher> {
        self.object(node, place)?;
        let unspoken = if jsonata.is_some() { "ResultPath" } else { "Output" };
        for member in node.members().unwrap_or_default() {
            if member.name == unspoken {
                self.field_of_other_language(member, jsonata.is_some(), place);
            } else if !fields::CATCHER.contains(&member.name.as_str()) {
                let note = self.suggestion(&member.name, fields::CATCHER.iter().copied());
                self.unsupported_field(member, note, place);
            }
        }
        self.string_field(node, "Comment", place);
        let complete = self.required(node, &["Next"], place);
        let error_equals = self.error_equals(node, last, place);
        let next = self.target_field(node, "Next", targets, place);
        let (result_path, output, assign) = match jsonata {
            None => (self.result_path(node, place), Some(None), self.assign(node, None, "", place)),
            Some(around) => {
                let reads = Reads::ERROR_OUTPUT;
                let output = self.query_field(node, "Output", around, reads, place);
                (Some(ResultPath::Replace), output, self.assign(node, Some(reads), around, place))
            }
        };
        complete.then_some(())?;
        Some(Catcher {
            error_equals: error_equals?,
            result_path: result_path?,
            assign: assign?,
            output: output?,
            next: next?,
        })
    }

    /// `ErrorEquals`: names, of which `States.ALL` stands alone and in the last entry only.
    fn error_equals(&mut self, node: &Node, last: bool, place: &Place<'_>) -> Option<Box<[Str]>> {
        self.required(node, &["ErrorEquals"], place);
        let member = node.member("ErrorEquals")?;
        let place = place.member(member);
        let items = self.array(&member.value, &place)?;
        let mut names = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let place = place.item(index, item);
            let name = self.string(item, &place);
            if let Some(name) = name.filter(|name| name.starts_with("States.")) {
                self.remark_unknown_name(name, &place);
            }
            names.push(name.map(Str::from));
        }
        let names: Option<Box<[Str]>> = names.into_iter().collect();
        let names = names?;
        if names.iter().any(|name| name == ALL) && (names.len() > 1 || !last) {
            self.findings.schema(&place, "States.ALL must appear alone and at end of list");
        }
        Some(names)
    }
}
