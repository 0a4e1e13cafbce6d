//! Machines out of a sequence of choices: valid ones, in which every state is reached.

use serde_json::{Map, Value as Json, json};

use super::generate::Choices;
use super::script::ERRORS;

const RESOURCE: &str = "arn:aws:lambda:us-east-1:123456789012:function:f";
/// Payload templates of Task and Parallel states.
const TEMPLATES: [&str; 2] = ["Parameters", "ResultSelector"];

impl Choices {
    /// A machine, perhaps with a timeout.
    pub fn machine(&mut self) -> Json {
        let mut machine = self.graph(2);
        if self.once_in(12) {
            machine["TimeoutSeconds"] = json!(self.below(20) + 1);
        }
        machine
    }

    fn name(&mut self) -> String {
        self.named += 1;
        format!("S{}", self.named)
    }

    /// A chain of states, in which each leads to the next, and Choice states and catchers also elsewhere. Where it has
    /// variables, the first state assigns them.
    fn graph(&mut self, depth: usize) -> Json {
        let names = self.scope();
        let declares = !names.is_empty();
        self.scopes.push(names);
        let chain: Vec<String> = (0..self.below(6) + 1).map(|_| self.name()).collect();
        let mut states = Map::new();
        for (at, name) in chain.iter().enumerate() {
            let next = chain.get(at + 1).map(String::as_str);
            let state = self.state(next, &chain[at..], &mut states, depth);
            states.insert(name.clone(), state);
        }
        let mut start = chain[0].clone();
        if declares {
            let first = json!({"Type": "Pass", "Assign": self.assigned(true), "Next": start});
            start = self.name();
            states.insert(start.clone(), first);
        }
        self.scopes.pop();
        json!({"StartAt": start, "States": states})
    }

    /// The names of a scope's variables, which no other scope has.
    fn scope(&mut self) -> Vec<String> {
        if self.below(3) > 0 {
            return Vec::new();
        }
        self.named += 1;
        vec![format!("v{}", self.named), format!("w{}", self.named)]
    }

    /// What is assigned in the innermost scope: all of its variables, or some.
    fn assigned(&mut self, all: bool) -> Json {
        let names = self.scopes.last().cloned().unwrap_or_default();
        let mut assigned = Map::new();
        for name in names {
            if !all && self.below(2) == 0 {
                continue;
            }
            let (key, value) = match self.below(6) {
                0 => (name, self.document(1)),
                1 => (name, self.template(0, &["$"])),
                2 => (format!("{name}.$"), self.call(1).into()),
                3 => (format!("{name}.$"), self.definite_path().into()),
                _ => (format!("{name}.$"), self.reference_path().into()),
            };
            assigned.insert(key, value);
        }
        Json::Object(assigned)
    }

    /// `Assign`, sometimes, where the innermost scope has variables.
    fn assign(&mut self, field: &mut Json) {
        if self.scopes.last().is_some_and(|names| !names.is_empty()) && self.below(3) == 0 {
            field["Assign"] = self.assigned(false);
        }
    }

    /// Where a Choice or a catcher may lead: to the next state, further on, rarely back to itself, or to a state that ends.
    fn target(&mut self, ahead: &[String], states: &mut Map<String, Json>) -> String {
        match self.below(8) {
            0..=2 if ahead.len() > 1 => ahead[1 + self.below(ahead.len() - 1)].clone(),
            3 => ahead[0].clone(),
            _ => {
                let name = self.name();
                let end = self.terminal();
                states.insert(name.clone(), end);
                name
            }
        }
    }

    fn terminal(&mut self) -> Json {
        let mut state = match self.below(5) {
            0 => return json!({"Type": "Pass", "End": true}),
            1 => return json!({"Type": "Fail", "Error": self.of(&ERRORS), "Cause": "on purpose"}),
            2 => {
                return json!({"Type": "Fail", "ErrorPath": self.definite_path(), "CausePath": self.reference_path()});
            }
            3 => return json!({"Type": "Fail"}),
            _ => json!({"Type": "Succeed"}),
        };
        self.paths(&mut state, &["InputPath", "OutputPath"]);
        state
    }

    /// InputPath and OutputPath, rarely.
    fn paths(&mut self, state: &mut Json, fields: &[&str]) {
        for field in fields {
            if self.once_in(8) {
                state[*field] = match self.below(6) {
                    0 => Json::Null,
                    1 => self.path().into(),
                    2 => self.definite_path().into(),
                    _ => self.of(&["$", "$", "$", "$.a", "$.list"]).into(),
                };
            }
        }
    }

    fn result_path(&mut self, state: &mut Json) {
        if self.below(5) > 0 {
            let path = match self.below(4) {
                0 => self.of(&["$.list[0]", "$.b.a", "$", "$.n", "$.list[1].r"]),
                _ => self.of(&["$.r", "$.a", "$.r.r", "$.b"]),
            };
            state["ResultPath"] = if self.once_in(8) { Json::Null } else { path.into() };
        }
    }

    fn state(
        &mut self,
        next: Option<&str>,
        ahead: &[String],
        states: &mut Map<String, Json>,
        depth: usize,
    ) -> Json {
        let kinds = if depth == 0 { 7 } else { 11 };
        let mut state = match self.below(kinds) {
            0 => self.pass(),
            1 | 2 if next.is_some() => return self.choice(next.expect("checked"), ahead, states),
            3 if next.is_none() => return self.terminal(),
            3 => self.wait(),
            7 | 8 => self.parallel(depth),
            9 | 10 => self.map(depth),
            _ => self.task(),
        };
        match next {
            Some(next) => state["Next"] = next.into(),
            None => state["End"] = true.into(),
        }
        if ["Task", "Parallel", "Map"].contains(&state["Type"].as_str().expect("Type")) {
            self.paths(&mut state, &["InputPath"]);
            self.retry(&mut state);
            self.catch(&mut state, ahead, states);
        }
        if state["Type"] != "Wait" {
            self.result_path(&mut state);
        }
        self.assign(&mut state);
        self.paths(&mut state, &["OutputPath"]);
        state
    }

    fn pass(&mut self) -> Json {
        let mut state = json!({"Type": "Pass"});
        match self.below(4) {
            0 => {}
            1 => state["Result"] = self.document(1),
            _ => {
                self.paths(&mut state, &["InputPath"]);
                state["Parameters"] = self.template(1, &["$$.State.Name"]);
            }
        }
        state
    }

    fn wait(&mut self) -> Json {
        let mut state = match self.below(3) {
            0 => {
                json!({"Type": "Wait", "SecondsPath": self.of(&["$.n", "$.n", "$.n", "$.a", "$.list[0]"])})
            }
            _ => json!({"Type": "Wait", "Seconds": self.below(10)}),
        };
        self.paths(&mut state, &["InputPath"]);
        state
    }

    fn choice(&mut self, next: &str, ahead: &[String], states: &mut Map<String, Json>) -> Json {
        let mut rules: Vec<Json> = Vec::new();
        for _ in 0..self.below(3) {
            let mut rule = self.rule(2);
            rule["Next"] = self.target(ahead, states).into();
            self.assign(&mut rule);
            rules.push(rule);
        }
        let mut last = self.rule(1);
        last["Next"] = next.into();
        rules.push(last);
        let mut state = json!({"Type": "Choice", "Choices": rules});
        if self.below(4) > 0 {
            state["Default"] = next.into();
        }
        self.paths(&mut state, &["InputPath", "OutputPath"]);
        self.assign(&mut state);
        state
    }

    fn task(&mut self) -> Json {
        let mut state = json!({"Type": "Task", "Resource": RESOURCE});
        if self.below(3) == 0 {
            state["TimeoutSeconds"] = json!(self.below(6) + 4);
            if self.below(2) == 0 {
                state["HeartbeatSeconds"] = json!(self.below(3) + 1);
            }
        }
        for field in TEMPLATES {
            if self.once_in(4) {
                state[field] = self.template(1, &["$$.State.RetryCount", "$$.Execution.StartTime"]);
            }
        }
        state
    }

    fn parallel(&mut self, depth: usize) -> Json {
        let branches: Vec<Json> = (0..self.below(3) + 1).map(|_| self.graph(depth - 1)).collect();
        let mut state = json!({"Type": "Parallel", "Branches": branches});
        for field in TEMPLATES {
            if self.once_in(5) {
                state[field] = self.template(1, &["$$.State.RetryCount"]);
            }
        }
        state
    }

    fn map(&mut self, depth: usize) -> Json {
        let mut state = json!({"Type": "Map", "ItemProcessor": self.graph(depth - 1)});
        if self.below(5) > 0 {
            state["ItemsPath"] =
                self.of(&["$.list", "$.list", "$.list", "$.list", "$.a", "$$.Execution.Input.list"]).into();
        }
        if self.below(2) > 0 {
            state["MaxConcurrency"] = json!(self.below(4));
        }
        if self.below(5) > 0 {
            let paths = ["$$.Map.Item.Value", "$$.Map.Item.Index", "$$.State.Name", "$.list"];
            state["ItemSelector"] = self.template(1, &paths);
        }
        state
    }

    fn retry(&mut self, state: &mut Json) {
        let mut retriers = Vec::new();
        for _ in 0..self.below(3) {
            let mut retrier = json!({"ErrorEquals": [self.error()], "IntervalSeconds": self.below(4) + 1});
            if self.below(2) > 0 {
                retrier["BackoffRate"] = json!(self.of(&[1.0, 1.5, 2.0, 3.0]));
            }
            if self.below(2) > 0 {
                retrier["MaxAttempts"] = json!(self.below(3));
            }
            if self.once_in(3) {
                retrier["MaxDelaySeconds"] = json!(self.below(5) + 1);
            }
            retriers.push(retrier);
        }
        if let Some(last) = retriers.last_mut()
            && self.below(3) > 0
        {
            last["ErrorEquals"] = json!(["States.ALL"]);
        }
        if !retriers.is_empty() {
            state["Retry"] = retriers.into();
        }
    }

    fn catch(&mut self, state: &mut Json, ahead: &[String], states: &mut Map<String, Json>) {
        let mut catchers = Vec::new();
        for _ in 0..self.below(3) {
            let target = self.target(ahead, states);
            let mut catcher = json!({"ErrorEquals": [self.error(), self.error()], "Next": target});
            self.result_path(&mut catcher);
            self.assign(&mut catcher);
            catchers.push(catcher);
        }
        if let Some(last) = catchers.last_mut()
            && self.below(3) > 0
        {
            last["ErrorEquals"] = json!(["States.ALL"]);
        }
        if !catchers.is_empty() {
            state["Catch"] = catchers.into();
        }
    }

    fn error(&mut self) -> &'static str {
        self.of(&[
            "E",
            "F",
            "Custom.Error",
            "States.TaskFailed",
            "States.Timeout",
            "States.HeartbeatTimeout",
            "States.BranchFailed",
            "States.ParameterPathFailure",
            "States.ResultPathMatchFailure",
            "States.IntrinsicFailure",
            "States.NoChoiceMatched",
        ])
    }
}
