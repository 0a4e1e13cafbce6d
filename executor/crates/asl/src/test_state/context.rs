//! The context object of a test: a given one, checked, or one that is made.

use super::{Identity, Rejection};
use crate::execution::{EffectId, NameExecution, StartContext};
use crate::value::{Map, Str, Value};

/// What a member of the context object is.
enum Member {
    Text,
    Number,
    Any,
    Object(&'static [(&'static str, Member)]),
}

/// What a given context object may hold.
const CONTEXT: &[(&str, Member)] = &[
    (
        "Execution",
        Member::Object(&[
            ("Id", Member::Text),
            ("Input", Member::Any),
            ("Name", Member::Text),
            ("RoleArn", Member::Text),
            ("StartTime", Member::Text),
            ("RedriveCount", Member::Number),
            ("RedriveTime", Member::Text),
        ]),
    ),
    (
        "State",
        Member::Object(&[
            ("EnteredTime", Member::Text),
            ("Name", Member::Text),
            ("RetryCount", Member::Number),
        ]),
    ),
    ("StateMachine", Member::Object(&[("Id", Member::Text), ("Name", Member::Text)])),
    ("Task", Member::Object(&[("Token", Member::Text)])),
];

/// Checks a given context object.
pub(super) fn check(given: &Value) -> Result<(), Rejection> {
    let Some(members) = given.as_object() else { return Err(refused("it must be a JSON object")) };
    if members.contains_key("Map") {
        return Err(refused("'Map' field is not supported when mocking a Context object"));
    }
    check_members(members, CONTEXT, "")
}

fn check_members(given: &Map, known: &[(&str, Member)], path: &str) -> Result<(), Rejection> {
    for (name, value) in given {
        let Some((_, member)) = known.iter().find(|(known, _)| name == known) else {
            return Err(refused(&format!("Field '{name}' is not allowed")));
        };
        let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        match (member, value) {
            (Member::Any, _) | (Member::Text, Value::String(_)) => {}
            (Member::Number, number) if number.as_number().is_some() => {}
            (Member::Object(known), Value::Object(inner)) => check_members(inner, known, &path)?,
            (Member::Text, _) => return Err(refused(&format!("{path} must be a string"))),
            (Member::Number, _) => return Err(refused(&format!("{path} must be a number"))),
            (Member::Object(_), _) => return Err(refused(&format!("{path} must be an object"))),
        }
    }
    Ok(())
}

fn refused(problem: &str) -> Rejection {
    Rejection::validation(format!("Invalid Context object provided: {problem}"))
}

/// Names of the execution around the tested state, and its context object.
#[derive(Debug)]
pub(super) struct Names {
    pub identity: Identity,
    pub given: Option<Value>,
    /// `$$.Map.Item` of a state inside of a Map, where no context object is given.
    pub item: Option<Value>,
}

impl Names {
    /// An ARN in the identity's account.
    pub fn arn(&self, kind: &str, name: &str) -> Str {
        let Identity { region, account, .. } = &self.identity;
        ecow::eco_format!("arn:aws:states:{region}:{account}:{kind}:{name}")
    }

    fn default_context(made: &Map) -> Map {
        let mut context = Map::clone(made);
        if let Some(Value::Object(execution)) = made.get("Execution") {
            let mut execution = Map::clone(execution);
            execution.remove("RedriveCount");
            context.insert("Execution", Value::from(execution));
        }
        context
    }

    /// `$$.Map` of a state inside of a Map.
    fn first_item(&self) -> Option<Value> {
        self.item.clone().map(|item| Value::object([("Item", item)]))
    }
}

impl NameExecution for Names {
    /// In AWS a tested state runs as in an EXPRESS execution.
    fn arn(&self, _: &StartContext) -> Str {
        let Identity { machine, execution, .. } = &self.identity;
        Self::arn(self, "express", &format!("{machine}:{execution}"))
    }

    fn name(&self, _: &StartContext) -> Str {
        self.identity.execution.clone()
    }

    fn task_token(&self, _: &StartContext, task: EffectId) -> Str {
        ecow::eco_format!("{:016x}", task.0)
    }

    fn has_own_context(&self) -> bool {
        true
    }

    /// A given one stands for itself, but for the item that a Map's selector sees.
    fn context(&self, made: Value) -> Value {
        let Value::Object(made) = made else { return made };
        let map = made.get("Map").cloned();
        let (mut context, map) = match &self.given {
            Some(Value::Object(given)) => (Map::clone(given), map),
            _ => (Self::default_context(&made), map.or_else(|| self.first_item())),
        };
        if let Some(map) = map {
            context.insert("Map", map);
        }
        Value::from(context)
    }
}
