//! What can be asked: every operation of both APIs with its members, the right that it needs, the machine that it is about, and
//! the errors that its model names.
//!
//! Invariants: the tables are sorted by name; a name is unique within its API. Nothing here fails.
//! Sources: botocore's model of Step Functions, API version 2016-11-23; the models of Tencent's SDK for ASW, version 2020-07-22.

mod asw;
mod sfn;
mod shapes;

use serde_json::Value;

use crate::fault::Kind;

/// By which API a call comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// AWS Step Functions, JSON 1.0: `X-Amz-Target: AWSStepFunctions.<Operation>`.
    Sfn,
    /// Tencent's ASW, API 3.0: `X-TC-Action: <Action>`.
    Asw,
}

impl Api {
    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sfn => "sfn",
            Self::Asw => "asw",
        }
    }

    /// Its operations, sorted by name.
    #[must_use]
    pub fn operations(self) -> &'static [Operation] {
        match self {
            Self::Sfn => sfn::OPERATIONS,
            Self::Asw => asw::OPERATIONS,
        }
    }

    /// The operation of this name.
    #[must_use]
    pub fn operation(self, name: &str) -> Option<&'static Operation> {
        let all = self.operations();
        all.binary_search_by(|operation| operation.name.cmp(name)).ok().map(|at| &all[at])
    }
}

/// What a key may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// Look at machines, executions and listings.
    Read,
    /// Start, stop, redrive and test executions, and do their tasks.
    Start,
    /// Make, change and delete machines, versions, aliases, activities and tags.
    Manage,
}

impl Right {
    /// As configuration spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Start => "start",
            Self::Manage => "manage",
        }
    }
}

/// One operation of one API.
#[derive(Debug, PartialEq)]
pub struct Operation {
    /// As clients send it.
    pub name: &'static str,
    /// What its caller must be allowed to do.
    pub right: Right,
    /// Which machine it is about.
    pub subject: Subject,
    /// The members of its input.
    pub members: &'static [Member],
    /// The errors that its model names; those that every operation has are not among them.
    pub errors: &'static [Kind],
}

/// Where a call says which machine it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// About none: listings, activities, tests of a definition.
    Nothing,
    /// This member is a machine's own name.
    Name(&'static str),
    /// These members are ARNs or QRNs of a machine or of what belongs to one; `list[].member` stands for each of a list. Not
    /// every member has to be there.
    Members(&'static [&'static str]),
    /// None that a right is asked for: the call has a task's token, which is a right of its own, for whoever has it was given the
    /// task.
    Token,
}

/// A machine that a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine<'a> {
    /// By its own name.
    Named(&'a str),
    /// Only who knows executions and ids can tell.
    Hidden,
    /// None.
    Nothing,
}

/// A member of an input, or of a structure in it.
#[derive(Debug, PartialEq)]
pub struct Member {
    /// As clients send it.
    pub name: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// What it must be.
    pub shape: &'static Shape,
}

/// What a value must be.
#[derive(Debug, PartialEq)]
pub enum Shape {
    /// A text.
    Text {
        /// In characters.
        min: u32,
        /// In characters; `u32::MAX` where the model names no maximum.
        max: u32,
        /// What it must look like.
        pattern: Option<Pattern>,
        /// Whether messages must not show it.
        sensitive: bool,
    },
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A whole number.
    Integer {
        /// The smallest one.
        min: i64,
        /// The biggest one.
        max: i64,
    },
    /// Any number.
    Number {
        /// The smallest one.
        min: f64,
        /// The biggest one.
        max: f64,
    },
    /// `true` or `false`.
    Boolean,
    /// A list.
    List {
        /// What each item must be.
        item: &'static Shape,
        /// The fewest items.
        min: u32,
        /// The most items; `u32::MAX` where the model names no maximum.
        max: u32,
    },
    /// An object of these members.
    Structure(&'static [Member]),
}

/// The patterns of Step Functions' model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// The name of an alias.
    AliasName,
    /// Visible ASCII.
    Visible,
    /// ASCII.
    Ascii,
}

impl Pattern {
    /// The regular expression, as AWS's messages show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AliasName => r"^(?=.*[a-zA-Z_\-\.])[a-zA-Z0-9_\-\.]+$",
            Self::Visible => "[!-~]+",
            Self::Ascii => r"\p{ASCII}*",
        }
    }

    /// Whether a text is of it.
    #[must_use]
    pub fn fits(self, text: &str) -> bool {
        let bytes = text.as_bytes();
        match self {
            Self::AliasName => {
                let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
                bytes.iter().all(of_name) && bytes.iter().any(|byte| !byte.is_ascii_digit())
            }
            Self::Visible => !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic),
            Self::Ascii => text.is_ascii(),
        }
    }
}

impl Operation {
    /// The machines on which a caller needs the right for a call of this input; the same one may be there twice. None for
    /// calls with a task's token.
    #[must_use]
    pub fn machines<'a>(&self, input: &'a Value) -> Vec<Machine<'a>> {
        let mut found = Vec::with_capacity(1);
        match self.subject {
            Subject::Nothing => {}
            Subject::Token => return found,
            Subject::Name(member) => {
                found.extend(input.get(member).and_then(Value::as_str).map(Machine::Named));
            }
            Subject::Members(members) => {
                for member in members {
                    match member.split_once("[].") {
                        None => found.extend(input.get(member).and_then(Value::as_str).map(machine)),
                        Some((list, member)) => {
                            let items = input.get(list).and_then(Value::as_array);
                            let texts =
                                items.into_iter().flatten().filter_map(|item| item.get(member)?.as_str());
                            found.extend(texts.map(machine));
                        }
                    }
                }
            }
        }
        if found.is_empty() {
            found.push(Machine::Nothing);
        }
        found
    }
}

/// The machine that an ARN or QRN belongs to.
fn machine(text: &str) -> Machine<'_> {
    let mut parts = text.split(':');
    let mut next = || parts.next().unwrap_or_default();
    match (next(), next(), next()) {
        ("arn", _, "states") => {
            let (kind, name) = (parts.nth(2).unwrap_or_default(), parts.next().unwrap_or_default());
            // What a Map Run has a label for hangs at the name.
            let name = name.split('/').next().unwrap_or_default();
            match kind {
                "stateMachine" | "execution" | "express" | "mapRun" if !name.is_empty() => {
                    Machine::Named(name)
                }
                _ => Machine::Nothing,
            }
        }
        ("qrn", "qcs", "asw") => match (parts.nth(2), parts.next(), parts.next(), parts.next()) {
            (Some("http"), Some("json"), Some("flowmachine"), Some(name)) if !name.is_empty() => {
                Machine::Named(name)
            }
            (Some("execution"), ..) => Machine::Hidden,
            _ => Machine::Nothing,
        },
        _ if text.contains(':') => Machine::Nothing,
        // A short form, which is no affair of the door's.
        _ => Machine::Hidden,
    }
}

/// A member that must be there.
const fn required(name: &'static str, shape: &'static Shape) -> Member {
    Member { name, required: true, shape }
}

/// A member that may be there.
const fn optional(name: &'static str, shape: &'static Shape) -> Member {
    Member { name, required: false, shape }
}

#[cfg(test)]
mod tests;
