//! What bounds an evaluation: fuel, counted, never timed.
//!
//! The engine has no counter of its own, but it calls functions of its host. So `meter` weaves calls of one such function
//! into the syntax tree, and that function, here, burns fuel for the work and the memory that come next, and stops the
//! evaluation when there is none left. Invariants: fuel depends on the expression and its data alone; a value is measured
//! no further than the fuel reaches, so that sharing (`[$a, $a]`, again and again) cannot make measuring endless; nothing
//! measured is deeper than a result may be.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::{Evaluator, EvaluatorError};
use jsonata_core::value::JValue;

use super::convert;
use super::functions::Called;

/// No expression can spell it.
const NAME: &str = " ";

/// Bytes of text that cost a unit.
const TEXT_UNIT: u64 = 16;

/// A filter costs this much for each item, whatever it weighs.
const FILTER: u64 = 4;

/// What the woven function does with its argument, which it gives back unless something else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// Burns this much; for an array, each of whose items may be looked into, also that often what is in its items. Gives
    /// nothing.
    Tick(u32),
    /// Burns what an item weighs, so many times; gives true.
    Item(u32),
    /// The same for an item whose inside will be looked at; gives true.
    WholeItem,
    /// Burns what a look-up in an item gives, see [`Guard::looking_up`]; gives true.
    LookUp,
    /// Burns the number of items of an array, those of arrays inside of it included.
    Items,
    /// The same, and gives nothing for an array without items.
    SomeItems,
    /// As `Items`, and the members of the items.
    Members,
    /// Burns what looking up any field in the items gives at most.
    Fields,
    /// Burns what finding the keys of all items takes.
    Keys,
    /// Burns everything inside.
    All,
    /// Burns everything inside so many times.
    Heavily(u32),
    /// Burns what comparing all items with each other takes.
    Pairs,
    /// As `All`, and remembers the size.
    Remember,
    /// Burns what matching a remembered text takes, whose bytes cost at least so many sixteenths.
    Pattern(u32),
    /// The same, and the size stays remembered.
    FirstPattern(u32),
    /// Burns the length of a text so many times as has been remembered.
    Times,
    /// Burns the number of items so many times as has been remembered.
    Targets,
    /// Burns as much as a text of this length does.
    Width,
    /// Refuses a picture of a date without a year, which would read the clock.
    Dated,
}

impl Guard {
    /// A call of the woven function with this node.
    pub(super) fn around(self, node: AstNode) -> AstNode {
        let (code, number) = self.coded();
        let args = vec![AstNode::Number(f64::from(code)), AstNode::Number(f64::from(number)), node];
        AstNode::Function { name: NAME.to_owned(), args, is_builtin: true }
    }

    /// A filter that weighs what the field `name` of an item holds.
    pub(super) fn looking_up(name: &str) -> AstNode {
        let mut node = Self::LookUp.around(AstNode::Variable(String::new()));
        if let AstNode::Function { args, .. } = &mut node {
            args.push(AstNode::String(name.to_owned()));
        }
        node
    }

    /// The guard that a filter is, around another value.
    pub(super) fn of_filter(filter: &AstNode, value: &AstNode) -> Option<AstNode> {
        match filter {
            AstNode::Function { name, args, .. } if name == NAME && args.len() > 2 => {
                let mut guard = filter.clone();
                if let AstNode::Function { args, .. } = &mut guard {
                    args[2] = value.clone();
                }
                Some(guard)
            }
            _ => None,
        }
    }

    /// Whether the node is such a call already.
    pub(super) fn is_there(self, node: &AstNode) -> bool {
        let code = AstNode::Number(f64::from(self.coded().0));
        matches!(node, AstNode::Function { name, args, .. } if name == NAME && args.first() == Some(&code))
    }

    fn coded(self) -> (u8, u32) {
        match self {
            Self::Tick(weight) => (0, weight),
            Self::Item(times) => (1, times),
            Self::WholeItem => (2, 0),
            Self::Items => (3, 0),
            Self::Members => (4, 0),
            Self::All => (5, 0),
            Self::Heavily(times) => (6, times),
            Self::Pairs => (7, 0),
            Self::Remember => (8, 0),
            Self::Pattern(sixteenths) => (9, sixteenths),
            Self::FirstPattern(sixteenths) => (10, sixteenths),
            Self::Times => (11, 0),
            Self::Targets => (12, 0),
            Self::Width => (13, 0),
            Self::Dated => (14, 0),
            Self::LookUp => (15, 0),
            Self::Keys => (16, 0),
            Self::Fields => (17, 0),
            Self::SomeItems => (18, 0),
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "both were written by `coded`"
    )]
    fn decoded(code: f64, number: f64) -> Self {
        let number = number as u32;
        match code as u8 {
            0 => Self::Tick(number),
            1 => Self::Item(number),
            2 => Self::WholeItem,
            3 => Self::Items,
            4 => Self::Members,
            5 => Self::All,
            6 => Self::Heavily(number),
            7 => Self::Pairs,
            8 => Self::Remember,
            9 => Self::Pattern(number),
            10 => Self::FirstPattern(number),
            11 => Self::Times,
            12 => Self::Targets,
            13 => Self::Width,
            15 => Self::LookUp,
            16 => Self::Keys,
            17 => Self::Fields,
            18 => Self::SomeItems,
            _ => Self::Dated,
        }
    }
}

/// The fuel of one evaluation. A clone is the same fuel.
#[derive(Clone)]
pub(super) struct Fuel(Rc<Gauge>);

struct Gauge {
    tank: u64,
    burnt: Cell<u64>,
    remembered: RefCell<Vec<u64>>,
}

impl Fuel {
    /// So many units.
    pub(super) fn of(tank: u64) -> Self {
        Self(Rc::new(Gauge { tank, burnt: Cell::new(0), remembered: RefCell::default() }))
    }

    /// # Errors
    /// When there is not so much left.
    pub(super) fn burn(&self, units: u64) -> Result<(), EvaluatorError> {
        self.0.burn(units)
    }

    /// Units burnt so far.
    pub(super) fn burnt(&self) -> u64 {
        self.0.burnt.get()
    }

    /// Lets an engine burn it.
    pub(super) fn register(&self, engine: &mut Evaluator) -> Result<(), EvaluatorError> {
        let gauge = Rc::clone(&self.0);
        engine.register_fn(NAME, move |args: &[JValue]| match args {
            [JValue::Number(code), JValue::Number(number), value] => {
                gauge.guard(Guard::decoded(*code, *number), value)
            }
            [_, _, value, JValue::String(name)] => {
                gauge.burn(FILTER)?;
                gauge.look_up(value, name, 0).map(|()| JValue::Bool(true))
            }
            _ => Ok(JValue::Undefined),
        })
    }
}

impl Gauge {
    fn guard(&self, guard: Guard, value: &JValue) -> Called {
        match guard {
            Guard::Tick(weight) => return self.tick(u64::from(weight), value).map(|()| JValue::Undefined),
            Guard::Item(times) => {
                self.burn(u64::from(times))?;
                return self.items(value, 0).map(|()| JValue::Bool(true));
            }
            Guard::WholeItem | Guard::LookUp => {
                self.burn(FILTER)?;
                return self.all(value, 0).map(|()| JValue::Bool(true));
            }
            Guard::Items => self.items(value, 0)?,
            Guard::SomeItems => {
                self.items(value, 0)?;
                let empty = matches!(value, JValue::Array(items) if items.is_empty());
                return Ok(if empty { JValue::Undefined } else { value.clone() });
            }
            Guard::Members => self.members(value)?,
            Guard::Fields => self.fields(value, 0)?,
            Guard::Keys => self.keys(value)?,
            Guard::All => self.all(value, 0)?,
            Guard::Heavily(times) => self.burn(self.measured(value)?.saturating_mul(u64::from(times)))?,
            Guard::Pairs => self.burn(self.measured(value)?.saturating_mul(length(value)) / 8)?,
            Guard::Remember => {
                let size = self.measured(value)?;
                self.remembered.borrow_mut().push(length(value).max(size));
            }
            Guard::Pattern(sixteenths) => self.matched(self.forget(), value, sixteenths)?,
            Guard::FirstPattern(sixteenths) => {
                let length = self.forget();
                self.remembered.borrow_mut().push(length);
                self.matched(length, value, sixteenths)?;
            }
            Guard::Times => self.burn(self.forget().saturating_mul(length(value)) / TEXT_UNIT)?,
            Guard::Targets => self.burn(self.forget().saturating_mul(length(value).max(1)) / 8)?,
            Guard::Width => self.burn(width(value))?,
            Guard::Dated => dated(value)?,
        }
        Ok(value.clone())
    }

    /// The engine looks each key up among those that it has found.
    fn keys(&self, value: &JValue) -> Result<(), EvaluatorError> {
        self.members(value)?;
        let JValue::Array(items) = value else { return Ok(()) };
        let keys = items.iter().filter_map(JValue::as_object).flat_map(|members| members.keys());
        let (mut count, mut found) = (0_u64, HashSet::new());
        for key in keys {
            count += 1;
            found.insert(key);
        }
        self.burn(count.saturating_mul(found.len() as u64) / 4)
    }

    fn tick(&self, weight: u64, context: &JValue) -> Result<(), EvaluatorError> {
        self.burn(weight)?;
        let JValue::Array(_) = context else { return Ok(()) };
        let before = self.burnt.get();
        self.fields(context, 0)?;
        self.burn((self.burnt.get() - before).saturating_mul(weight))
    }

    /// What looking up any field of an array's items gives at most.
    fn fields(&self, value: &JValue, depth: usize) -> Result<(), EvaluatorError> {
        match value {
            JValue::Array(items) => {
                self.burn(1)?;
                deeper(depth)?;
                items.iter().try_for_each(|item| self.fields(item, depth + 1))
            }
            JValue::Object(members) => members.values().try_for_each(|member| self.items(member, depth)),
            _ => self.burn(1),
        }
    }

    fn look_up(&self, value: &JValue, name: &str, depth: usize) -> Result<(), EvaluatorError> {
        self.burn(1)?;
        match value {
            JValue::Array(items) => {
                deeper(depth)?;
                items.iter().try_for_each(|item| self.look_up(item, name, depth + 1))
            }
            JValue::Object(members) => members.get(name).map_or(Ok(()), |member| self.items(member, depth)),
            _ => Ok(()),
        }
    }

    /// Burns all inside, and says how much that was.
    fn measured(&self, value: &JValue) -> Result<u64, EvaluatorError> {
        let before = self.burnt.get();
        self.all(value, 0)?;
        Ok(self.burnt.get() - before)
    }

    fn matched(&self, length: u64, pattern: &JValue, sixteenths: u32) -> Result<(), EvaluatorError> {
        let mut weight = 1;
        if let JValue::Regex { pattern, .. } = pattern {
            self.burn(REGEX.saturating_add(pattern_weight(pattern, 1_000)))?;
            weight = pattern_weight(pattern, 1);
        }
        self.burn((length + 16).saturating_mul(weight.max(u64::from(sixteenths))) / TEXT_UNIT)
    }

    fn members(&self, value: &JValue) -> Result<(), EvaluatorError> {
        self.items(value, 0)?;
        match value {
            JValue::Array(items) => items.iter().try_for_each(|item| match item {
                JValue::Object(members) => self.burn(2 * members.len() as u64),
                _ => Ok(()),
            }),
            JValue::Object(members) => self.burn(2 * members.len() as u64),
            _ => Ok(()),
        }
    }

    /// What the guard before this one remembered: guards of one call are nested like calls are.
    fn forget(&self) -> u64 {
        self.remembered.borrow_mut().pop().unwrap_or_default()
    }

    fn burn(&self, units: u64) -> Result<(), EvaluatorError> {
        let burnt = self.burnt.get().saturating_add(units);
        self.burnt.set(burnt);
        if burnt > self.tank { Err(empty(self.tank)) } else { Ok(()) }
    }

    fn items(&self, value: &JValue, depth: usize) -> Result<(), EvaluatorError> {
        match value {
            JValue::Array(items) => {
                self.burn(1 + items.len() as u64)?;
                let nested = items.iter().filter(|item| matches!(item, JValue::Array(_)));
                deeper(depth)?;
                nested.into_iter().try_for_each(|item| self.items(item, depth + 1))
            }
            JValue::String(text) => self.burn(1 + text.len() as u64 / TEXT_UNIT),
            _ => self.burn(1),
        }
    }

    fn all(&self, value: &JValue, depth: usize) -> Result<(), EvaluatorError> {
        match value {
            JValue::Array(items) => {
                self.burn(1)?;
                deeper(depth)?;
                items.iter().try_for_each(|item| self.all(item, depth + 1))
            }
            JValue::Object(members) => {
                self.burn(1 + 2 * members.len() as u64)?;
                deeper(depth)?;
                members.iter().try_for_each(|(key, value)| {
                    self.burn(key.len() as u64 / TEXT_UNIT)?;
                    self.all(value, depth + 1)
                })
            }
            scalar => self.items(scalar, depth),
        }
    }
}

/// At least this much for compiling a regular expression, each time it is used.
const REGEX: u64 = 1_000;

/// About how large a regular expression is: its characters, `class` for a class of letters, all of it as often as its
/// counted repetitions say.
pub(super) fn pattern_weight(pattern: &str, class: u64) -> u64 {
    let mut weight = 1_u64;
    let mut times = 1_u64;
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        weight += 1;
        match character {
            '\\' => {
                weight += match characters.next() {
                    Some('w' | 'W' | 'p' | 'P') => class,
                    Some('d' | 'D' | 's' | 'S' | 'b' | 'B') => class / 10,
                    _ => 0,
                };
            }
            '.' | '[' => weight += 1 + class / 100,
            '{' => {
                let mut count = 0_u64;
                let mut number = 0_u64;
                while let Some(digit) = characters.next_if(|next| next.is_ascii_digit() || *next == ',') {
                    number =
                        digit.to_digit(10).map_or(0, |digit| number.saturating_mul(10) + u64::from(digit));
                    count = count.max(number);
                }
                times = times.saturating_mul(count.max(1));
            }
            _ => {}
        }
    }
    weight.saturating_mul(times)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn width(value: &JValue) -> u64 {
    value.as_f64().unwrap_or_default().abs() as u64 / 4
}

/// Of a text in bytes, of an array in items.
fn length(value: &JValue) -> u64 {
    match value {
        JValue::String(text) => text.len() as u64,
        JValue::Array(items) => items.len() as u64,
        _ => 1,
    }
}

fn deeper(depth: usize) -> Result<(), EvaluatorError> {
    if depth < convert::RESULT.depth {
        return Ok(());
    }
    Err(EvaluatorError::EvaluationError(format!(
        "A value is nested deeper than {} levels",
        convert::RESULT.depth
    )))
}

/// `[[` means a bracket, `[Y...]` the year.
fn dated(picture: &JValue) -> Result<(), EvaluatorError> {
    match picture {
        JValue::String(picture) if !picture.replace("[[", "").contains("[Y") => {
            Err(EvaluatorError::EvaluationError(format!(
                "The picture of the toMillis function has to hold the year, [Y], for the result must not depend on the \
                 day of the evaluation. Given \"{picture}\""
            )))
        }
        _ => Ok(()),
    }
}

#[cold]
fn empty(tank: u64) -> EvaluatorError {
    EvaluatorError::EvaluationError(format!(
        "The evaluation takes more work or memory than an expression may: {tank} units"
    ))
}
