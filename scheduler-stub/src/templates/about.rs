//! What is said of a machine besides its definition, what one is created of, and what is changed of one.
//!
//! Invariant: all of it is bounded, for it is read with each look-up. What may fail: texts that are too long.

use std::collections::BTreeMap;

use asl::Dialect;
use bytes::Bytes;
use ids::{Logging, Mode};
use serde::{Deserialize, Serialize};

use super::{ARN_BYTES_MAX, check_text};
use crate::error::Error;

/// The input of starts that give none, in bytes.
pub const DEFAULT_INPUT_BYTES_MAX: usize = 64 << 10;

/// A second name, for people, in bytes.
const CHINESE_NAME_BYTES_MAX: usize = 1_024;

/// What is kept and told back; nodes never see it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// Step Functions: whether tracing is on (`tracingConfiguration.enabled`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tracing: bool,
    /// Step Functions: ARNs of log groups. Where histories go is the nodes' configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log_destinations: Vec<String>,
    /// ASW: `FlowServiceChineseName`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub chinese_name: String,
    /// ASW: the input of starts that give none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default_input: String,
    /// ASW: `EnableCLS`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cls: bool,
}

impl About {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.log_destinations.len() > 1 {
            let message = "loggingConfiguration.destinations names more than one log group: name one at most";
            return Err(Error::invalid("InvalidLoggingConfiguration", message));
        }
        self.log_destinations.iter().try_for_each(|arn| check_text("log group's ARN", arn, ARN_BYTES_MAX))?;
        check_text("Chinese name", &self.chinese_name, CHINESE_NAME_BYTES_MAX)?;
        check_text("default input", &self.default_input, DEFAULT_INPUT_BYTES_MAX)
    }
}

/// What changes of [`About`]; `None`: as before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AboutChange {
    /// See [`About::tracing`].
    pub tracing: Option<bool>,
    /// See [`About::log_destinations`].
    pub log_destinations: Option<Vec<String>>,
    /// See [`About::chinese_name`].
    pub chinese_name: Option<String>,
    /// See [`About::default_input`].
    pub default_input: Option<String>,
    /// See [`About::cls`].
    pub cls: Option<bool>,
}

impl AboutChange {
    /// What it makes of what was said before.
    #[must_use]
    pub fn of(self, before: &About) -> About {
        About {
            tracing: self.tracing.unwrap_or(before.tracing),
            log_destinations: self.log_destinations.unwrap_or_else(|| before.log_destinations.clone()),
            chinese_name: self.chinese_name.unwrap_or_else(|| before.chinese_name.clone()),
            default_input: self.default_input.unwrap_or_else(|| before.default_input.clone()),
            cls: self.cls.unwrap_or(before.cls),
        }
    }
}

/// What a machine is created of.
#[derive(Debug, Clone)]
pub struct NewTemplate {
    /// Its own name.
    pub name: String,
    /// The text of its definition.
    pub definition: Bytes,
    /// How its executions are kept.
    pub mode: Mode,
    /// The language of its definition.
    pub dialect: Dialect,
    /// Whose permissions its tasks have.
    pub role_arn: String,
    /// For people.
    pub comment: String,
    /// How long closed executions are kept, in seconds; 0: as long as the nodes say.
    pub retention_s: u32,
    /// What of its executions' histories is exported.
    pub logging: Logging,
    /// What else is said of it.
    pub about: About,
    /// Labels of the operator's.
    pub tags: BTreeMap<String, String>,
    /// Whether it is published at once, and with which description.
    pub publish: Option<Option<String>>,
    /// Whether one that exists with another role is the same machine, as in Step Functions.
    pub role_may_differ: bool,
}

impl NewTemplate {
    /// A STANDARD machine in ASL of which nothing else is said.
    #[must_use]
    pub fn new(name: impl Into<String>, definition: impl Into<Bytes>) -> Self {
        Self {
            name: name.into(),
            definition: definition.into(),
            mode: Mode::Standard,
            dialect: Dialect::Asl,
            role_arn: String::new(),
            comment: String::new(),
            retention_s: 0,
            logging: Logging::default(),
            about: About::default(),
            tags: BTreeMap::new(),
            publish: None,
            role_may_differ: false,
        }
    }
}

/// What is changed of a machine.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The text of its new definition; empty: as before.
    pub definition: Bytes,
    /// `None`: as before.
    pub comment: Option<String>,
    /// Of executions that start from now on; `None`: as before.
    pub retention_s: Option<u32>,
    /// The same.
    pub role_arn: Option<String>,
    /// The same.
    pub logging: Option<Logging>,
    /// What else is said of it.
    pub about: AboutChange,
    /// Whether what it becomes is published at once, and with which description.
    pub publish: Option<Option<String>>,
}

impl Change {
    /// Whether it makes a new revision.
    pub(super) fn is_any(&self) -> bool {
        !self.definition.is_empty()
            || self.comment.is_some()
            || self.retention_s.is_some()
            || self.role_arn.is_some()
            || self.logging.is_some()
            || self.about != AboutChange::default()
    }
}
