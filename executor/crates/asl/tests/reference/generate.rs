//! Documents, paths, rules and templates out of a sequence of choices; `states` makes machines of them.
//!
//! A generator asks [`Choices`] which way to go; the sequence comes from proptest, and where it ends every answer is the
//! first, which is the simplest. So a failing case shrinks by shortening the sequence and lowering its numbers. What is
//! generated is always a valid definition.

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

/// Answers to a generator's questions.
pub struct Choices {
    numbers: std::vec::IntoIter<u16>,
    /// States and scopes named so far.
    pub named: usize,
    /// The variables of the scopes around what is being generated, outermost first.
    pub scopes: Vec<Vec<String>>,
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

impl Choices {
    pub fn new(numbers: Vec<u16>) -> Self {
        Self { numbers: numbers.into_iter(), named: 0, scopes: Vec::new() }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.numbers.next().map_or(0, |number| usize::from(number) % bound)
    }

    /// Once in so many times; never where there is nothing left to choose.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) + 1 == times
    }

    pub fn of<T: Copy>(&mut self, items: &[T]) -> T {
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

    /// A definite path, perhaps into the context object or a variable.
    pub fn definite_path(&mut self) -> String {
        if let Some(variable) = self.variable() {
            return variable;
        }
        let context =
            ["$$.State.Name", "$$.Execution.Input.a", "$$.State.EnteredTime", "$$.Execution.Name", "$$"];
        match self.below(4) {
            0 => self.of(&context).to_owned(),
            _ => self.reference_path().to_owned(),
        }
    }

    /// A path into a variable, where there are any: once in a while.
    pub fn variable(&mut self) -> Option<String> {
        let names: Vec<String> = self.scopes.iter().flatten().cloned().collect();
        if names.is_empty() || self.below(4) > 0 {
            return None;
        }
        let name = &names[self.below(names.len())];
        Some(format!("${name}{}", self.of(&["", "", ".a", ".n", "[0]"])))
    }

    /// Any path, also with filters and functions.
    pub fn path(&mut self) -> String {
        if self.below(3) == 0 {
            return self.definite_path();
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
    pub fn call(&mut self, depth: usize) -> String {
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
                7 => (computed, self.definite_path().into()),
                8 => continue,
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
            return json!({"And": [present(&variable), present(operand), rule]});
        }
        let operand = match kind {
            "Numeric" => json!(self.of(&[1.0, 0.0, 2.0, 0.5])),
            "String" => json!(self.of(&["x", "", "10", "\u{1f600}"])),
            "Boolean" => json!(self.of(&[true, false])),
            _ => json!(self.of(&["2024-05-01T10:00:00Z", "2024-05-01T11:00:00+01:00"])),
        };
        json!({"Variable": variable, format!("{kind}{order}"): operand})
    }
}
