//! Machines, rules, paths and documents out of a sequence of choices.
//!
//! A generator asks [`Choices`] which way to go; the sequence comes from proptest, and where it ends every answer is the
//! first, which is the simplest. So a failing case shrinks by shortening the sequence and lowering its numbers. What is
//! generated is always a valid definition.

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::script::ERRORS;

/// Answers to a generator's questions.
pub struct Choices {
    numbers: std::vec::IntoIter<u16>,
    /// States named so far.
    states: usize,
}

/// On one line, to be put into [`Choices::new`].
impl std::fmt::Debug for Choices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<String> = self.numbers.as_slice().iter().map(u16::to_string).collect();
        write!(f, "[{}]", numbers.join(", "))
    }
}

/// A sequence of up to this many answers.
pub fn choices(most: usize) -> impl Strategy<Value = Choices> {
    prop::collection::vec(any::<u16>(), 0..most).prop_map(Choices::new)
}

const KEYS: [&str; 5] = ["a", "b", "list", "n", "r"];
const RESOURCE: &str = "arn:aws:lambda:us-east-1:123456789012:function:f";
const TASK_INPUT: [&str; 3] = ["Parameters", "ResultSelector", "ItemSelector"];

impl Choices {
    pub fn new(numbers: Vec<u16>) -> Self {
        Self { numbers: numbers.into_iter(), states: 0 }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.numbers.next().map_or(0, |number| usize::from(number) % bound)
    }

    /// Once in so many times; never where there is nothing left to choose.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) + 1 == times
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    pub fn scalar(&mut self) -> Json {
        match self.below(10) {
            0..=2 => json!(self.below(5)),
            3..=5 => json!(self.of(&["x", "y", "", "xy", "10", "\u{1f600}", "\u{ffee}"])),
            6 => json!(self.of(&[true, false])),
            7 => json!(self.of(&[-1.5, 0.5, 2.0, -3.0])),
            8 => {
                json!(self.of(&["2024-05-01T10:00:00Z", "2024-05-01T11:00:00+01:00", "2024-05-01T09:59:00Z"]))
            }
            _ => Json::Null,
        }
    }

    /// A document, nested at most this deep.
    pub fn document(&mut self, depth: usize) -> Json {
        match self.below(if depth == 0 { 1 } else { 4 }) {
            0 => self.scalar(),
            1 => (0..self.below(5)).map(|_| self.document(depth - 1)).collect(),
            _ => {
                let count = self.below(4) + 1;
                Json::Object(
                    (0..count).map(|_| (self.of(&KEYS).to_owned(), self.document(depth - 1))).collect(),
                )
            }
        }
    }

    /// An input in which the paths below often find something.
    pub fn input(&mut self) -> Json {
        if self.once_in(10) {
            return self.document(2);
        }
        let items: Vec<Json> = (0..self.below(5)).map(|_| self.item()).collect();
        json!({"a": self.document(2), "b": self.document(1), "list": items, "n": self.below(4)})
    }

    fn item(&mut self) -> Json {
        match self.below(3) {
            0 => self.document(2),
            _ => json!({"a": self.scalar(), "b": self.scalar(), "list": [self.scalar()], "n": self.below(3)}),
        }
    }

    /// A path that names one place, mostly one that is there.
    pub fn reference_path(&mut self) -> &'static str {
        match self.below(6) {
            0 => self.of(&["$.list[0]", "$['a']", "$.a.b", "$.list[-1]", "$.a.a", "$.b.n", "$.r"]),
            _ => self.of(&["$", "$.n", "$.n", "$.list", "$.a", "$.b"]),
        }
    }

    /// A definite path, perhaps into the context object.
    fn definite_path(&mut self) -> &'static str {
        match self.below(4) {
            0 => self.of(&[
                "$$.State.Name",
                "$$.Execution.Input.a",
                "$$.State.EnteredTime",
                "$$.Execution.Name",
                "$$",
            ]),
            _ => self.reference_path(),
        }
    }

    /// Any path, also with filters and functions.
    pub fn path(&mut self) -> String {
        if self.below(3) == 0 {
            return self.definite_path().to_owned();
        }
        let mut path = self.of(&["$", "$.list", "$.a", "$.b", "$.a.b", "$.list[*]", "$.*", "$."]).to_owned();
        if path == "$." {
            path = format!("$..{}", self.of(&["a", "b", "n", "*", "list"]));
        }
        for _ in 0..self.below(3) {
            path.push_str(&self.segment());
        }
        if self.once_in(6) {
            path.push_str(self.of(&[
                ".length()",
                ".min()",
                ".max()",
                ".sum()",
                ".first()",
                ".last()",
                ".index(1)",
            ]));
        }
        path
    }

    fn segment(&mut self) -> String {
        match self.below(8) {
            0 => self.of(&[".a", ".b", ".n", "['list']", "[0]", "[-1]"]).to_owned(),
            1 => "[*]".to_owned(),
            2 => self.of(&["[0,1]", "[1,-1,0]", "['a','b']", "['n','zz','a']"]).to_owned(),
            3 => self.of(&["[1:]", "[:1]", "[-2:]", "[:-1]", "[0:9]", "[3:1]", "[-9:2]"]).to_owned(),
            4 => self.of(&["..a", "..*", "..[0]", "..list"]).to_owned(),
            _ => format!("[?({})]", self.filter()),
        }
    }

    fn filter(&mut self) -> String {
        let parts: Vec<String> = (0..=self.below(2)).map(|_| self.comparison()).collect();
        parts.join(self.of(&[" && ", " || "]))
    }

    fn comparison(&mut self) -> String {
        let left = self.of(&["@", "@.a", "@.b", "@.n", "@['a']", "@.list[0]", "@.list[*]", "@.a.length()"]);
        if self.below(4) == 0 {
            return format!("{}{left}", self.of(&["", "!"]));
        }
        let operator = self.of(&["==", "!=", "<", "<=", ">", ">=", "in", "nin", "size", "empty"]);
        let right = match operator {
            "in" | "nin" => self.of(&["[1, 'x', null]", "[]", "[2.0, true]"]),
            "size" => self.of(&["0", "1", "2"]),
            "empty" => self.of(&["true", "false"]),
            _ => self.of(&["1", "'x'", "0.5", "true", "null", "$.n", "@.b", "'xy'"]),
        };
        format!("{left} {operator} {right}")
    }

    /// A call of an intrinsic function.
    fn call(&mut self, depth: usize) -> String {
        let list = self.of(&["$.list", "$.a", "$.list[*]", "$.b"]);
        let argument = match self.below(if depth == 0 { 3 } else { 4 }) {
            0 => self.of(&["1", "'x'", "0", "null", "true"]).to_owned(),
            1 => self.reference_path().to_owned(),
            2 => "$.n".to_owned(),
            _ => self.call(depth - 1),
        };
        match self.below(9) {
            0 => format!("States.Array({argument}, {list})"),
            1 => format!("States.ArrayLength({list})"),
            2 => format!("States.ArrayContains({list}, {argument})"),
            3 => format!("States.ArrayGetItem({list}, {argument})"),
            4 => format!("States.ArrayPartition({list}, {})", self.of(&["1", "2", "$.n"])),
            5 => format!("States.ArrayUnique({list})"),
            6 => format!("States.MathAdd($.n, {argument})"),
            7 => format!("States.StringSplit({}, ',x')", self.of(&["'a,bxc'", "$.b", "$.a"])),
            _ => format!("States.Format('{}', {argument})", self.of(&["{}", "<{}>", "{} and {}"])),
        }
    }

    /// A payload template. Most keep what they find, so that what follows finds it too.
    pub fn template(&mut self, depth: usize, paths: &[&str]) -> Json {
        let mut out = Map::new();
        for key in KEYS {
            let (own, computed) = (format!("$.{key}"), format!("{key}.$"));
            let (key, value) = match self.below(16) {
                0 => (key.to_owned(), self.scalar()),
                1 => (computed, self.of(paths).into()),
                2 => (computed, self.path().into()),
                3 => (computed, self.call(1).into()),
                4 if depth > 0 => (key.to_owned(), self.template(depth - 1, paths)),
                5 if depth > 0 => (key.to_owned(), json!([self.template(depth - 1, paths), "$.a"])),
                6 => (computed, self.reference_path().into()),
                7 => continue,
                _ if key == "r" => continue,
                _ => (computed, own.into()),
            };
            out.insert(key, value);
        }
        Json::Object(out)
    }

    /// A choice rule, without its `Next`.
    pub fn rule(&mut self, depth: usize) -> Json {
        match self.below(if depth == 0 { 5 } else { 8 }) {
            5 => json!({"Not": self.rule(depth - 1)}),
            6 => json!({"And": self.rules(depth - 1)}),
            7 => json!({"Or": self.rules(depth - 1)}),
            0 => {
                let operator =
                    self.of(&["IsPresent", "IsNull", "IsNumeric", "IsString", "IsBoolean", "IsTimestamp"]);
                json!({"Variable": self.definite_path(), operator: self.of(&[true, false])})
            }
            1 => {
                let pattern = self.of(&["*", "x*", "*y", "x", "*1*0*", "\\*"]);
                json!({"Variable": self.definite_path(), "StringMatches": pattern})
            }
            _ => self.comparing_rule(),
        }
    }

    fn rules(&mut self, depth: usize) -> Json {
        (0..self.below(2) + 1).map(|_| self.rule(depth)).collect()
    }

    fn comparing_rule(&mut self) -> Json {
        let kind = self.of(&["Numeric", "String", "Boolean", "Timestamp"]);
        let order = match kind {
            "Boolean" => "Equals",
            _ => self.of(&["Equals", "LessThan", "GreaterThan", "LessThanEquals", "GreaterThanEquals"]),
        };
        let variable = self.definite_path();
        if self.below(3) == 0 {
            let operand = self.reference_path();
            let present = |path: &str| json!({"Variable": path, "IsPresent": true});
            let rule = json!({"Variable": variable, format!("{kind}{order}Path"): operand});
            return json!({"And": [present(variable), present(operand), rule]});
        }
        let operand = match kind {
            "Numeric" => json!(self.of(&[1.0, 0.0, 2.0, 0.5])),
            "String" => json!(self.of(&["x", "", "10", "\u{1f600}"])),
            "Boolean" => json!(self.of(&[true, false])),
            _ => json!(self.of(&["2024-05-01T10:00:00Z", "2024-05-01T11:00:00+01:00"])),
        };
        json!({"Variable": variable, format!("{kind}{order}"): operand})
    }

    /// A machine, perhaps with a timeout.
    pub fn machine(&mut self) -> Json {
        let mut machine = self.graph(2);
        if self.once_in(12) {
            machine["TimeoutSeconds"] = json!(self.below(20) + 1);
        }
        machine
    }

    fn name(&mut self) -> String {
        self.states += 1;
        format!("S{}", self.states)
    }

    /// A chain of states, in which each leads to the next, and Choice states and catchers also elsewhere.
    fn graph(&mut self, depth: usize) -> Json {
        let chain: Vec<String> = (0..self.below(6) + 1).map(|_| self.name()).collect();
        let mut states = Map::new();
        for (at, name) in chain.iter().enumerate() {
            let next = chain.get(at + 1).map(String::as_str);
            let state = self.state(next, &chain[at..], &mut states, depth);
            states.insert(name.clone(), state);
        }
        json!({"StartAt": chain[0], "States": states})
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
        match self.below(3) {
            0 => json!({"Type": "Wait", "SecondsPath": self.of(&["$.n", "$.n", "$.n", "$.a", "$.list[0]"])}),
            _ => json!({"Type": "Wait", "Seconds": self.below(10)}),
        }
    }

    fn choice(&mut self, next: &str, ahead: &[String], states: &mut Map<String, Json>) -> Json {
        let mut rules: Vec<Json> = Vec::new();
        for _ in 0..self.below(3) {
            let mut rule = self.rule(2);
            rule["Next"] = self.target(ahead, states).into();
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
        for field in &TASK_INPUT[..2] {
            if self.once_in(4) {
                state[*field] = self.template(1, &["$$.State.RetryCount", "$$.Execution.StartTime"]);
            }
        }
        state
    }

    fn parallel(&mut self, depth: usize) -> Json {
        let branches: Vec<Json> = (0..self.below(3) + 1).map(|_| self.graph(depth - 1)).collect();
        let mut state = json!({"Type": "Parallel", "Branches": branches});
        for field in &TASK_INPUT[..2] {
            if self.once_in(5) {
                state[*field] = self.template(1, &["$$.State.RetryCount"]);
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
            state[TASK_INPUT[2]] = self.template(1, &paths);
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
