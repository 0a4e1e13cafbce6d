//! Histories, held against the model: what an execution must have gone through, and how it has ended.
//!
//! Invariants that the product is held to: of a STANDARD execution there is a history while it is kept; its events are
//! numbered without a gap, begin with the start and end with the end that the log has; one that ended as its machine says
//! has entered each state and has had each task done exactly once. What may fail: the product.

use super::*;

/// What the last event is called.
fn last_of(status: Status) -> &'static str {
    match status {
        Status::Running => "",
        Status::Succeeded => "ExecutionSucceeded",
        Status::Failed => "ExecutionFailed",
        Status::TimedOut => "ExecutionTimedOut",
        Status::Aborted => "ExecutionAborted",
    }
}

impl Audit {
    /// Somebody is told the history of an execution that is kept and has ended; `None`: that there is none.
    ///
    /// # Errors
    /// It should be there, or is not what must have happened.
    pub fn history(&self, id: ExecutionId, events: Option<&[v1::HistoryEvent]>) -> Result<(), Violation> {
        let Some(known) = self.known.get(&id) else { return Err(format!("{id} has a history and no log")) };
        let Some((status, payload)) = &known.end else { return Ok(()) };
        let Some(events) = events else {
            let killed = self.deaths.contains_key(&id) && is_cut_off(payload);
            if known.mode != Mode::Standard || killed {
                return Ok(());
            }
            return Err(format!("{id} is STANDARD and kept, and somebody is told that it has no history"));
        };
        let numbered = (1..).zip(events).all(|(number, event)| event.id == number);
        let names: Vec<&str> = events.iter().map(|event| event.r#type.as_str()).collect();
        let ends = [names.first().copied(), names.last().copied()];
        if !numbered || ends != [Some("ExecutionStarted"), Some(last_of(*status))] {
            return Err(format!("{id} has ended as {status:?}, and its history is {names:?}"));
        }
        let by_design = *status == Status::Succeeded || is_by_design(payload);
        if !by_design || !known.past.is_empty() {
            return Ok(());
        }
        let plan = self.catalogue.find(&known.arn).map(|machine| machine.plan.events());
        let count = |end: &str| names.iter().filter(|name| name.ends_with(end)).count();
        let told = (count("StateEntered"), count("FunctionSucceeded") + count("TaskSucceeded"));
        if plan != Some(told) {
            return Err(format!(
                "{id} must have entered and done {plan:?}, and its history has {told:?}: {names:?}"
            ));
        }
        let output = |event: &v1::HistoryEvent| {
            let details: Value = serde_json::from_slice(event.details.as_ref()).unwrap_or_default();
            details.get("output").cloned()
        };
        let expected: Option<Value> = serde_json::from_slice(payload).ok();
        let right = *status != Status::Succeeded || events.last().and_then(output) == expected;
        right.then_some(()).ok_or_else(|| format!("the history of {id} ends with another output: {events:?}"))
    }
}
