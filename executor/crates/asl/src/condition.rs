//! Choice rules: which rule of a Choice state holds.
//!
//! A test on a value of another type than its operator's is false. A path that names nothing is a state's
//! error, except for `IsPresent`. `And` and `Or` stop at the first member that decides. Strings compare by
//! code units of UTF-16, as Java has them; numbers as doubles; timestamps as instants, to the nanosecond.

use std::cmp::Ordering;

use crate::path::{EvalError, Path, ReferencePath, Scope, units_of};
use crate::timestamp::ExactTimestamp;
use crate::value::{Map, Str, Value};

/// Nesting of `And`, `Or` and `Not`.
const NESTING_MAX: usize = 64;

/// What a test may ask of its variable. With `Path` behind them, all but `StringMatches` and the `Is…` take the other side
/// from a path.
pub(crate) const OPERATORS: [&str; 39] = [
    "StringEquals",
    "StringEqualsPath",
    "StringLessThan",
    "StringLessThanPath",
    "StringGreaterThan",
    "StringGreaterThanPath",
    "StringLessThanEquals",
    "StringLessThanEqualsPath",
    "StringGreaterThanEquals",
    "StringGreaterThanEqualsPath",
    "StringMatches",
    "NumericEquals",
    "NumericEqualsPath",
    "NumericLessThan",
    "NumericLessThanPath",
    "NumericGreaterThan",
    "NumericGreaterThanPath",
    "NumericLessThanEquals",
    "NumericLessThanEqualsPath",
    "NumericGreaterThanEquals",
    "NumericGreaterThanEqualsPath",
    "BooleanEquals",
    "BooleanEqualsPath",
    "TimestampEquals",
    "TimestampEqualsPath",
    "TimestampLessThan",
    "TimestampLessThanPath",
    "TimestampGreaterThan",
    "TimestampGreaterThanPath",
    "TimestampLessThanEquals",
    "TimestampLessThanEqualsPath",
    "TimestampGreaterThanEquals",
    "TimestampGreaterThanEqualsPath",
    "IsNull",
    "IsPresent",
    "IsNumeric",
    "IsString",
    "IsBoolean",
    "IsTimestamp",
];

/// A compiled choice rule, without its `Next`.
#[derive(Debug, Clone)]
pub struct Condition {
    rule: Rule,
}

/// What is wrong with a rule, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at {pointer}")]
pub struct ConditionError {
    /// JSON pointer of the place, from the rule: empty for the rule itself.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
}

#[derive(Debug, Clone)]
enum Rule {
    And(Box<[Rule]>),
    Or(Box<[Rule]>),
    Not(Box<Rule>),
    Test { variable: Path, test: Test },
}

/// What is asked of the variable.
#[derive(Debug, Clone)]
enum Test {
    Compare(Comparison, Operand),
    /// `None` when the pattern is broken off behind a backslash, which is an error only at run time.
    Matches(Option<Pattern>),
    Is(Kind, bool),
    IsPresent(bool),
}

/// How the variable and the operand have to be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
}

/// The other side of a comparison; its variant is the type that both sides must have.
#[derive(Debug, Clone)]
enum Operand {
    Constant(Typed),
    Path(Type, Path),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    String,
    Number,
    Boolean,
    Timestamp,
}

/// A value of the type that an operator compares.
#[derive(Debug, Clone)]
enum Typed {
    String(Str),
    Number(f64),
    Boolean(bool),
    Timestamp(ExactTimestamp),
}

/// The kinds of `IsNull` and its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Numeric,
    String,
    Boolean,
    Timestamp,
}

impl Condition {
    /// Compiles a choice rule: an object with `Variable` and one operator, or with `And`, `Or` or `Not`.
    /// `Next`, `Assign` and `Comment` are for the definition to check; other fields are refused.
    ///
    /// # Errors
    /// All problems of the rule and of those inside it.
    pub fn compile(rule: &Value) -> Result<Self, Vec<ConditionError>> {
        let mut compiler = Compiler { errors: Vec::new(), pointer: String::new(), nesting: 0 };
        match compiler.rule(rule) {
            Some(rule) if compiler.errors.is_empty() => Ok(Self { rule }),
            _ => Err(compiler.errors),
        }
    }

    /// The variables that its paths start at.
    pub(crate) fn variables(&self, found: &mut dyn FnMut(&Str)) {
        self.rule.variables(found);
    }

    /// Whether the rule holds.
    ///
    /// # Errors
    /// `States.Runtime` when a path names nothing.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<bool, EvalError> {
        self.rule.evaluate(scope)
    }
}

impl Rule {
    fn variables(&self, found: &mut dyn FnMut(&Str)) {
        match self {
            Self::And(rules) | Self::Or(rules) => rules.iter().for_each(|rule| rule.variables(found)),
            Self::Not(rule) => rule.variables(found),
            Self::Test { variable, test } => {
                variable.variables(found);
                if let Test::Compare(_, Operand::Path(_, path)) = test {
                    path.variables(found);
                }
            }
        }
    }

    fn evaluate(&self, scope: &Scope<'_>) -> Result<bool, EvalError> {
        match self {
            Self::And(rules) => {
                for rule in rules {
                    if !rule.evaluate(scope)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(rules) => {
                for rule in rules {
                    if rule.evaluate(scope)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(rule) => Ok(!rule.evaluate(scope)?),
            Self::Test { variable, test: Test::IsPresent(expected) } => {
                Ok(variable.is_present(scope) == *expected)
            }
            Self::Test { variable, test } => with_value(variable, scope, |value| test.holds(value, scope))?,
        }
    }
}

/// Looks at what a path names, without cloning it where the path is plain.
fn with_value<T>(path: &Path, scope: &Scope<'_>, look: impl FnOnce(&Value) -> T) -> Result<T, EvalError> {
    if let Some(value) = path.evaluate_ref(scope) {
        return Ok(look(value));
    }
    let value = path.evaluate(scope).map_err(|_| EvalError::invalid_condition_path(path))?;
    Ok(look(&value))
}

impl Test {
    fn holds(&self, value: &Value, scope: &Scope<'_>) -> Result<bool, EvalError> {
        scope.context.spend(1 + units_of(value.as_str().map_or(0, str::len)));
        match self {
            Self::Compare(comparison, Operand::Constant(expected)) => {
                Ok(expected.order_of(value).is_some_and(|order| comparison.holds(order)))
            }
            Self::Compare(comparison, Operand::Path(kind, path)) => with_value(path, scope, |expected| {
                let order = Typed::new(*kind, expected).and_then(|expected| expected.order_of(value));
                order.is_some_and(|order| comparison.holds(order))
            }),
            Self::Matches(Some(pattern)) => Ok(value.as_str().is_some_and(|text| pattern.matches(text))),
            Self::Matches(None) => {
                Err(EvalError::runtime("Nothing follows the last backslash in the pattern of StringMatches"))
            }
            Self::Is(kind, expected) => Ok(kind.is(value) == *expected),
            Self::IsPresent(expected) => Ok(*expected),
        }
    }
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::Greater => order.is_gt(),
            Self::LessOrEqual => order.is_le(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Typed {
    /// `None` when the value is not of the type.
    fn new(kind: Type, value: &Value) -> Option<Self> {
        match (kind, value) {
            (Type::String, Value::String(text)) => Some(Self::String(text.clone())),
            (Type::Number, Value::Number(number)) => Some(Self::Number(number.as_f64())),
            (Type::Boolean, Value::Bool(truth)) => Some(Self::Boolean(*truth)),
            (Type::Timestamp, Value::String(text)) => ExactTimestamp::parse(text).ok().map(Self::Timestamp),
            _ => None,
        }
    }

    /// How the value stands to this; `None` when it is not of the type.
    fn order_of(&self, value: &Value) -> Option<Ordering> {
        match (value, self) {
            (Value::String(value), Self::String(expected)) => Some(compare_strings(value, expected)),
            (Value::Number(value), Self::Number(expected)) => value.as_f64().partial_cmp(expected),
            (Value::Bool(value), Self::Boolean(expected)) => Some(value.cmp(expected)),
            (Value::String(value), Self::Timestamp(expected)) => {
                Some(ExactTimestamp::parse(value).ok()?.cmp(expected))
            }
            _ => None,
        }
    }
}

/// By code units of UTF-16. Bytes order texts alike unless one of them leaves the basic plane.
fn compare_strings(left: &str, right: &str) -> Ordering {
    let order = left.cmp(right);
    let supplementary = |text: &str| text.bytes().any(|byte| byte >= 0xf0);
    if order.is_eq() || !(supplementary(left) || supplementary(right)) {
        return order;
    }
    left.encode_utf16().cmp(right.encode_utf16())
}

impl Kind {
    fn is(self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Numeric => matches!(value, Value::Number(_)),
            Self::String => matches!(value, Value::String(_)),
            Self::Boolean => matches!(value, Value::Bool(_)),
            Self::Timestamp => value.as_str().is_some_and(|text| ExactTimestamp::parse(text).is_ok()),
        }
    }
}

/// A pattern of `StringMatches`: literal texts with any text between two of them.
#[derive(Debug, Clone)]
struct Pattern {
    /// One more than there are wildcards.
    literals: Box<[Str]>,
}

impl Pattern {
    /// `*` matches any text, `\*` a star, `\\` a backslash. `None` when nothing follows a backslash.
    fn new(text: &str) -> Option<Self> {
        let mut literals = vec![Str::new()];
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let literal = match character {
                '*' => {
                    literals.push(Str::new());
                    continue;
                }
                '\\' => characters.next()?,
                other => other,
            };
            if let Some(last) = literals.last_mut() {
                last.push(literal);
            }
        }
        Some(Self { literals: literals.into() })
    }

    /// In time proportional to the text's length times the pattern's: each literal is taken where it first
    /// fits.
    fn matches(&self, text: &str) -> bool {
        let Some((first, others)) = self.literals.split_first() else { return text.is_empty() };
        let Some((last, middle)) = others.split_last() else { return text == first.as_str() };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
        for literal in middle {
            let Some(at) = rest.find(literal.as_str()) else { return false };
            rest = &rest[at + literal.len()..];
        }
        rest.ends_with(last.as_str())
    }
}

struct Compiler {
    errors: Vec<ConditionError>,
    pointer: String,
    nesting: usize,
}

impl Compiler {
    fn refuse<T>(&mut self, message: impl Into<String>) -> Option<T> {
        self.errors.push(ConditionError { pointer: self.pointer.clone(), message: message.into() });
        None
    }

    /// Compiles something one level below.
    fn below<T>(&mut self, token: &str, compile: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let len = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
        let result = compile(self);
        self.pointer.truncate(len);
        result
    }

    fn rule(&mut self, rule: &Value) -> Option<Rule> {
        let Some(members) = rule.as_object() else { return self.refuse("Expected value of type Object") };
        if self.nesting >= NESTING_MAX {
            return self.refuse(format!("Choice rules nest deeper than {NESTING_MAX} levels"));
        }
        let kinds = members.keys().filter(|key| matches!(key.as_str(), "And" | "Or" | "Not" | "Variable"));
        if kinds.count() > 1 {
            // AWS's message names the field of the other query language too.
            let fields = "[And, Or, Not, Variable, Condition]";
            return self.refuse(format!("The object must have only one of the following fields, {fields}"));
        }
        let fields: Vec<&Str> = members
            .keys()
            .filter(|key| !matches!(key.as_str(), "Next" | "Comment" | "Assign" | "Variable"))
            .collect();
        let [operator] = fields[..] else {
            if fields.len() > 1 && fields.iter().all(|field| OPERATORS.contains(&field.as_str())) {
                let list: Vec<&str> = fields.iter().map(|field| field.as_str()).collect();
                let list = list.join(", ");
                return self.refuse(format!("There should only be one of the following fields: [{list}]"));
            }
            return self.refuse("A choice rule must have exactly one operator");
        };
        let value = members.get(operator)?;
        match operator.as_str() {
            "And" => self.below(operator, |compiler| compiler.rules(value)).map(Rule::And),
            "Or" => self.below(operator, |compiler| compiler.rules(value)).map(Rule::Or),
            "Not" => {
                self.nesting += 1;
                let inner = self.below(operator, |compiler| compiler.rule(value));
                self.nesting -= 1;
                inner.map(|rule| Rule::Not(Box::new(rule)))
            }
            _ => self.test(operator, value, members),
        }
    }

    fn rules(&mut self, value: &Value) -> Option<Box<[Rule]>> {
        let Some(items) = value.as_array() else { return self.refuse("Expected value of type Array") };
        if items.is_empty() {
            return self.refuse("Value cannot be empty");
        }
        self.nesting += 1;
        let rules: Vec<Option<Rule>> = items
            .iter()
            .enumerate()
            .map(|(at, item)| self.below(&at.to_string(), |compiler| compiler.rule(item)))
            .collect();
        self.nesting -= 1;
        rules.into_iter().collect()
    }

    fn test(&mut self, operator: &str, value: &Value, members: &Map) -> Option<Rule> {
        let variable = match members.get("Variable") {
            Some(variable) => self.below("Variable", |compiler| compiler.path(variable)),
            None => self.refuse("These fields are required: [Variable]"),
        };
        let test = self.below(operator, |compiler| compiler.operator(operator, value));
        Some(Rule::Test { variable: variable?, test: test? })
    }

    /// A rule names one value on each side.
    fn path(&mut self, value: &Value) -> Option<Path> {
        match value.as_str().map(|text| (text, ReferencePath::parse(text))) {
            Some((_, Ok(path))) => Some(path.as_path().clone()),
            Some((text, Err(_))) if !text.starts_with('$') => {
                self.refuse("Value is not a Reference Path: Reference path didn't start with '$'")
            }
            Some((_, Err(error))) => self.refuse(format!("Value is not a Reference Path: {error}")),
            None => self.refuse("Expected value of type String"),
        }
    }

    fn operator(&mut self, operator: &str, value: &Value) -> Option<Test> {
        let kind = match operator {
            "IsNull" => Some(Kind::Null),
            "IsNumeric" => Some(Kind::Numeric),
            "IsString" => Some(Kind::String),
            "IsBoolean" => Some(Kind::Boolean),
            "IsTimestamp" => Some(Kind::Timestamp),
            _ => None,
        };
        if kind.is_some() || operator == "IsPresent" {
            let Some(expected) = value.as_bool() else {
                return self.refuse("Expected value of type Boolean");
            };
            return Some(kind.map_or(Test::IsPresent(expected), |kind| Test::Is(kind, expected)));
        }
        if operator == "StringMatches" {
            let Some(text) = value.as_str() else {
                return self.refuse("Expected value of type String");
            };
            return Some(Test::Matches(Pattern::new(text)));
        }
        let Some((kind, comparison, by_path)) = comparison(operator) else {
            return self.refuse(format!("'{operator}' is not an operator of choice rules"));
        };
        if by_path {
            return Some(Test::Compare(comparison, Operand::Path(kind, self.path(value)?)));
        }
        let Some(expected) = Typed::new(kind, value) else {
            return self.refuse(match kind {
                Type::Number => "Expected value of type Number",
                Type::Boolean => "Expected value of type Boolean",
                Type::Timestamp if value.as_str().is_some() => "String does not match RFC3339 timestamp",
                Type::String | Type::Timestamp => "Expected value of type String",
            });
        };
        Some(Test::Compare(comparison, Operand::Constant(expected)))
    }
}

/// The parts of an operator's name: `NumericLessThanEqualsPath` is a number, `<=`, by path.
fn comparison(operator: &str) -> Option<(Type, Comparison, bool)> {
    let (name, by_path) = operator.strip_suffix("Path").map_or((operator, false), |name| (name, true));
    let kinds = [
        ("String", Type::String),
        ("Numeric", Type::Number),
        ("Boolean", Type::Boolean),
        ("Timestamp", Type::Timestamp),
    ];
    let (kind, rest) = kinds.iter().find_map(|(prefix, kind)| Some((*kind, name.strip_prefix(prefix)?)))?;
    let comparison = match rest {
        "Equals" => Comparison::Equal,
        "LessThan" => Comparison::Less,
        "GreaterThan" => Comparison::Greater,
        "LessThanEquals" => Comparison::LessOrEqual,
        "GreaterThanEquals" => Comparison::GreaterOrEqual,
        _ => return None,
    };
    (kind != Type::Boolean || comparison == Comparison::Equal).then_some((kind, comparison, by_path))
}

#[cfg(test)]
mod tests;
