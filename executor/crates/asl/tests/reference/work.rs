//! States with work of their own: Task, Parallel, Map.

use serde_json::{Value as Json, json};

use super::errors::{Fault, runtime};
use super::interpreter::{Attempt, Ended, Interpreter, Undecided, Visit};
use super::path::value;
use super::script::{Answer, Reply};

impl Interpreter<'_> {
    pub fn task(&self, visit: &Visit<'_>, context: &Json, at: u64) -> Result<Attempt, Undecided> {
        let input = match self.effective(visit, context, true)? {
            Ok(input) => input,
            Err(fault) => return Ok(Attempt::own(at, Err(fault))),
        };
        let seconds = |field: &str| visit.state[field].as_u64().map(|seconds| seconds * 1_000);
        let (timeout, heartbeat) = (seconds("TimeoutSeconds"), seconds("HeartbeatSeconds"));
        let reply = self.script.reply(visit.name, visit.around, at, &input, timeout.or(heartbeat).is_some());
        let Reply { after, beat, answer } = reply;
        let silent = heartbeat.and_then(|heartbeat| silence(after, beat, heartbeat, answer == Answer::Never));
        let done = (answer != Answer::Never).then_some(after);
        let first = [done, timeout, silent].into_iter().flatten().min().expect("a task ends");
        if [done, timeout, silent].iter().filter(|end| **end == Some(first)).count() > 1 {
            return Err(Undecided::Tie);
        }
        let at = at + first;
        let failed = |error: &str, cause: Option<&str>, heartbeat: bool| {
            Err(Fault { error: Some(error.to_owned()), cause: cause.map(str::to_owned), heartbeat })
        };
        if done != Some(first) {
            return Ok(Attempt::own(at, failed("States.Timeout", None, silent == Some(first))));
        }
        let result = match &answer {
            Answer::Succeeds(output) => self.left(visit, context, output, true)?,
            Answer::Fails(error, cause) => failed(error, Some(cause), false),
            Answer::Never => panic!("a task that never ends times out"),
        };
        Ok(Attempt::own(at, result))
    }

    pub fn parallel(&self, visit: &Visit<'_>, context: &Json, at: u64) -> Result<Attempt, Undecided> {
        let input = match self.effective(visit, context, true)? {
            Ok(input) => input,
            Err(fault) => return Ok(Attempt::own(at, Err(fault))),
        };
        let branches = visit.state["Branches"].as_array().expect("Branches").iter();
        let ended: Result<Vec<_>, _> =
            branches.map(|branch| self.graph(branch, &input, at, visit.around, visit.variables)).collect();
        self.join(visit, context, at, ended?)
    }

    pub fn map(&self, visit: &Visit<'_>, context: &Json, at: u64) -> Result<Attempt, Undecided> {
        let input = match self.selected(visit, "InputPath", visit.input, context) {
            Ok(input) => input,
            Err(fault) => return Ok(Attempt::own(at, Err(fault))),
        };
        let path = visit.state["ItemsPath"].as_str().unwrap_or("$");
        let items = match value(path, &self.roots(visit, &input, context)) {
            Ok(Json::Array(items)) => items,
            _ => return Ok(Attempt::own(at, Err(runtime()))),
        };
        let limit = visit.state["MaxConcurrency"].as_u64().filter(|limit| *limit > 0).unwrap_or(40);
        // When each of the places for iterations is free again.
        let mut free = vec![at; usize::try_from(limit).expect("a small limit")];
        let mut ended = Vec::new();
        for (index, item) in (0_u32..).zip(&items) {
            let place = (0..free.len()).min_by_key(|place| free[*place]).expect("a place");
            let begins = free[place];
            let input = match visit.state.get("ItemSelector") {
                None => Ok(item.clone()),
                Some(selector) => {
                    let mut context = context.clone();
                    context["Map"] = json!({"Item": {"Index": index, "Value": item, "Source": "STATE_DATA"}});
                    self.template(visit, selector, &input, &context, true)?
                }
            };
            let around: Vec<_> = visit.around.iter().copied().chain([(visit.name, index)]).collect();
            let iteration = match input {
                Ok(input) => {
                    let processor = &visit.state["ItemProcessor"];
                    self.graph(processor, &input, begins, &around, visit.variables)?
                }
                Err(fault) => Ended { at: begins, result: Err(fault) },
            };
            free[place] = iteration.at;
            ended.push(iteration);
        }
        self.join(visit, context, at, ended)
    }

    /// Branches or iterations together: the first failure ends all, else their outputs in order.
    fn join(
        &self,
        visit: &Visit<'_>,
        context: &Json,
        began: u64,
        ended: Vec<Ended<Json>>,
    ) -> Result<Attempt, Undecided> {
        let failed = || ended.iter().filter(|ended| ended.result.is_err());
        if let Some(first) = failed().min_by_key(|ended| ended.at) {
            if failed().any(|other| other.at == first.at && other.result != first.result) {
                return Err(Undecided::Tie);
            }
            let result = Err(first.result.clone().expect_err("it failed"));
            return Ok(Attempt { ended: Ended { at: first.at, result }, of_branch: true });
        }
        let at = ended.iter().map(|ended| ended.at).max().unwrap_or(began);
        let outputs: Json = ended.into_iter().filter_map(|ended| ended.result.ok()).collect();
        Ok(Attempt::own(at, self.left(visit, context, &outputs, true)?))
    }
}

/// When a task has been silent for too long: no beat within the heartbeat, before its work is done.
fn silence(after: u64, beat: u64, heartbeat: u64, never: bool) -> Option<u64> {
    let mut last = 0;
    while beat > 0 && last + beat < after && beat <= heartbeat {
        last += beat;
    }
    let end = last + heartbeat;
    (never || end <= after).then_some(end)
}
