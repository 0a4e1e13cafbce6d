//! Payload templates: `Parameters`, `ResultSelector`, `ItemSelector`, `Assign`; in JSONata states `Arguments`, `Output`
//! and the like.
//!
//! A template is compiled once: what has no expression below it becomes a constant that every result shares;
//! the rest is a tree of objects and arrays with expressions at its leaves. In a JSONPath state a key that ends in `.$`
//! loses the ending and its value is an expression; in a JSONata state every string between `{%` and `%}` is one, and keys
//! are only keys. Invariants: keys keep their order; no two keys are equal. What may fail: compiling, with all problems at
//! once; evaluating, with a state's error.

use crate::intrinsic::{Intrinsic, Work};
use crate::jsonata::{self, SyntaxError, Text};
use crate::path::{EvalError, Path, PathError, Scope};
use crate::value::{Map, Str, Value};

/// A compiled payload template.
#[derive(Debug, Clone)]
pub struct Template {
    root: Node,
}

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at {pointer}")]
pub struct TemplateError {
    /// JSON pointer of the object with the field, from the template: empty for its top level.
    pub pointer: String,
    /// What is wrong, in AWS's words where recorded.
    pub message: String,
}

#[derive(Debug, Clone)]
enum Node {
    /// Nothing to evaluate below.
    Constant(Value),
    Object(Box<[(Str, Node)]>),
    Array(Box<[Node]>),
    /// The value of a `.$` key.
    Expression {
        /// For messages: the key with its ending, in JSONata the place below the state.
        field: Str,
        expression: Expression,
    },
}

/// What may stand behind a `.$` key.
#[derive(Debug, Clone)]
enum Expression {
    /// `$...`, `$$...`, `$name...`
    Path(Path),
    /// `States.Name(...)`
    Intrinsic(Intrinsic),
    /// `{% ... %}`
    Jsonata(jsonata::Expression),
}

impl Template {
    /// Compiles a template of a JSONPath state. Any JSON value is one; where only objects are allowed is for the
    /// definition to say.
    ///
    /// # Errors
    /// All values of `.$` keys that are no expression, and all keys that are equal once the ending is gone.
    pub fn compile(template: &Value) -> Result<Self, Vec<TemplateError>> {
        let mut errors = Vec::new();
        let root = compile(template, &mut String::new(), &mut errors);
        if errors.is_empty() { Ok(Self { root }) } else { Err(errors) }
    }

    /// Compiles a template of a JSONata state: any JSON value. `field` is its place below the state, for messages.
    ///
    /// # Errors
    /// The first string that is no expression and looks like one.
    pub fn compile_jsonata(template: &Value, field: &str) -> Result<Self, SyntaxError> {
        compile_jsonata(template, &mut field.to_owned()).map(|root| Self { root })
    }

    /// The template, if there is nothing in it to evaluate.
    pub fn as_constant(&self) -> Option<&Value> {
        match &self.root {
            Node::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// The fields of its top level.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Str> {
        let (plain, nodes) = match &self.root {
            Node::Constant(Value::Object(members)) => (Some(members.keys()), None),
            Node::Object(members) => (None, Some(members.iter().map(|(key, _)| key))),
            _ => (None, None),
        };
        plain.into_iter().flatten().chain(nodes.into_iter().flatten())
    }

    /// The JSONata expression that is the whole of it.
    pub(crate) fn as_expression(&self) -> Option<&jsonata::Expression> {
        match &self.root {
            Node::Expression { expression: Expression::Jsonata(expression), .. } => Some(expression),
            _ => None,
        }
    }

    /// The variables that its expressions refer to.
    pub(crate) fn variables(&self, found: &mut dyn FnMut(&Str)) {
        self.root.variables(found);
    }

    /// Fills the template in.
    ///
    /// # Errors
    /// `States.ParameterPathFailure` when a path gives no value, `States.IntrinsicFailure` when a function fails,
    /// `States.QueryEvaluationError` when a JSONata expression gives nothing.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, EvalError> {
        let mut work = Work::default();
        let value = self.root.evaluate(scope, &mut work);
        scope.context.spend(work.units());
        value
    }
}

impl Node {
    fn variables(&self, found: &mut dyn FnMut(&Str)) {
        match self {
            Self::Constant(_) => {}
            Self::Object(members) => members.iter().for_each(|(_, node)| node.variables(found)),
            Self::Array(nodes) => nodes.iter().for_each(|node| node.variables(found)),
            Self::Expression { expression: Expression::Path(path), .. } => path.variables(found),
            Self::Expression { expression: Expression::Intrinsic(intrinsic), .. } => {
                intrinsic.paths().into_iter().for_each(|path| path.variables(found));
            }
            Self::Expression { expression: Expression::Jsonata(expression), .. } => {
                expression.references().variables.iter().for_each(found);
            }
        }
    }

    fn evaluate(&self, scope: &Scope<'_>, work: &mut Work) -> Result<Value, EvalError> {
        match self {
            Self::Constant(value) => Ok(value.clone()),
            Self::Object(members) => {
                let mut object = Map::with_capacity(members.len());
                for (key, node) in members {
                    object.push_new(key.clone(), node.evaluate(scope, work)?);
                }
                Ok(object.into())
            }
            Self::Array(nodes) => {
                let items: Result<Vec<Value>, EvalError> =
                    nodes.iter().map(|node| node.evaluate(scope, work)).collect();
                items.map(Value::from)
            }
            Self::Expression { field, expression: Expression::Path(path) } => {
                work.value_of(path, scope).map_err(|error| failure(path, field, scope, &error))
            }
            Self::Expression { expression: Expression::Intrinsic(intrinsic), .. } => {
                intrinsic.evaluate_within(scope, work)
            }
            Self::Expression { field, expression: Expression::Jsonata(expression) } => {
                work.more_results()?;
                let value = expression.evaluate(scope).map_err(|failure| failure.in_field(field))?;
                work.gave(&value);
                Ok(value)
            }
        }
    }
}

/// AWS answers `States.Runtime` where a recording has a Pass state; the documentation has
/// `States.ParameterPathFailure` for the states that can catch it. The state that evaluates knows which it
/// is, see [`EvalError::PARAMETER_PATH_FAILURE`].
fn failure(path: &Path, field: &str, scope: &Scope<'_>, error: &PathError) -> EvalError {
    let mut failure = match error {
        PathError::Missing(_) => EvalError::not_found(path, field, scope.input),
        other => {
            EvalError::runtime(format!("Invalid path '{}' for the field '{field}': {other}", path.text()))
        }
    };
    failure.error = EvalError::PARAMETER_PATH_FAILURE;
    failure
}

fn compile(value: &Value, pointer: &mut String, errors: &mut Vec<TemplateError>) -> Node {
    match value {
        Value::Object(members) => compile_object(value, members, pointer, errors),
        Value::Array(items) => {
            let nodes: Vec<Node> = items
                .iter()
                .enumerate()
                .map(|(at, item)| below(&at.to_string(), pointer, |pointer| compile(item, pointer, errors)))
                .collect();
            if nodes.iter().all(Node::is_constant) {
                Node::Constant(value.clone())
            } else {
                Node::Array(nodes.into())
            }
        }
        scalar => Node::Constant(scalar.clone()),
    }
}

fn compile_object(
    value: &Value,
    members: &Map,
    pointer: &mut String,
    errors: &mut Vec<TemplateError>,
) -> Node {
    let mut nodes: Vec<(Str, Node)> = Vec::with_capacity(members.len());
    let mut dynamic = false;
    for (key, member) in members {
        let Some(stripped) = key.strip_suffix(".$") else {
            let node = below(key, pointer, |pointer| compile(member, pointer, errors));
            dynamic |= !node.is_constant();
            nodes.push((key.clone(), node));
            continue;
        };
        if members.contains_key(stripped) {
            let message =
                format!("The fields '{stripped}' and '{key}' stand for the same field; keep one of them");
            errors.push(TemplateError { pointer: pointer.clone(), message });
        }
        dynamic = true;
        match expression(key, member) {
            Ok(expression) => {
                nodes.push((stripped.into(), Node::Expression { field: key.clone(), expression }));
            }
            Err(message) => errors.push(TemplateError { pointer: pointer.clone(), message }),
        }
    }
    if dynamic { Node::Object(nodes.into()) } else { Node::Constant(value.clone()) }
}

fn compile_jsonata(value: &Value, field: &mut String) -> Result<Node, SyntaxError> {
    match value {
        Value::String(text) => Ok(match Text::compile(text)? {
            Text::Literal => Node::Constant(value.clone()),
            Text::Expression(expression) => {
                Node::Expression { field: field.as_str().into(), expression: Expression::Jsonata(expression) }
            }
        }),
        Value::Object(members) => {
            let mut nodes = Vec::with_capacity(members.len());
            for (key, member) in members.iter() {
                nodes
                    .push((key.clone(), inside(field, &["/", key], |field| compile_jsonata(member, field))?));
            }
            let constant = nodes.iter().all(|(_, node)| node.is_constant());
            Ok(if constant { Node::Constant(value.clone()) } else { Node::Object(nodes.into()) })
        }
        Value::Array(items) => {
            let mut nodes = Vec::with_capacity(items.len());
            for (at, item) in items.iter().enumerate() {
                nodes
                    .push(inside(field, &["[", &at.to_string(), "]"], |field| compile_jsonata(item, field))?);
            }
            let constant = nodes.iter().all(Node::is_constant);
            Ok(if constant { Node::Constant(value.clone()) } else { Node::Array(nodes.into()) })
        }
        scalar => Ok(Node::Constant(scalar.clone())),
    }
}

/// A place further down, as the history names it: `Output/list[0]/name`.
fn inside<T>(field: &mut String, step: &[&str], compile: impl FnOnce(&mut String) -> T) -> T {
    let len = field.len();
    step.iter().for_each(|part| field.push_str(part));
    let result = compile(field);
    field.truncate(len);
    result
}

fn below<T>(token: &str, pointer: &mut String, compile: impl FnOnce(&mut String) -> T) -> T {
    let len = pointer.len();
    pointer.push('/');
    pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
    let result = compile(pointer);
    pointer.truncate(len);
    result
}

fn expression(field: &str, value: &Value) -> Result<Expression, String> {
    let refused = || {
        format!(
            "The value for the field '{field}' must be a valid JSONPath or a valid intrinsic function call"
        )
    };
    let text = value.as_str().ok_or_else(refused)?;
    if text.starts_with('$') {
        return Path::parse(text).map(Expression::Path).map_err(|_| refused());
    }
    Intrinsic::parse(text).map(Expression::Intrinsic).map_err(|_| refused())
}

impl Node {
    fn is_constant(&self) -> bool {
        matches!(self, Self::Constant(_))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::value::JsonLimits;

    fn value(text: &str) -> Value {
        Value::parse(text.as_bytes(), JsonLimits::default()).unwrap()
    }

    fn fill(template: &str, input: &str) -> Result<String, EvalError> {
        let context = value(r#"{"Execution":{"Name":"e1"}}"#);
        let template = Template::compile(&value(template)).unwrap();
        template.evaluate(&Scope::new(&value(input), &context)).map(|value| value.to_json_string())
    }

    #[test]
    fn expressions_are_filled_in_at_any_depth_and_all_else_stays() {
        let template = r#"{"a.$":"$.x","b":{"c":[1,{"d.$":"$$.Execution.Name"},["$.x"]]},
            "e":"$.x","f.$":"$.list[*].n"}"#;
        assert_eq!(
            fill(template, r#"{"x":{"y":1},"list":[{"n":1},{"n":2}]}"#).unwrap(),
            r#"{"a":{"y":1},"b":{"c":[1,{"d":"e1"},["$.x"]]},"e":"$.x","f":[1,2]}"#
        );
        assert_eq!(fill(r#"{"whole.$":"$"}"#, "[1]").unwrap(), r#"{"whole":[1]}"#);
        assert_eq!(fill(r#"{"context.$":"$$"}"#, "1").unwrap(), r#"{"context":{"Execution":{"Name":"e1"}}}"#);
        assert_eq!(fill(r#"{".$":"$.a"}"#, r#"{"a":1}"#).unwrap(), r#"{"":1}"#);
    }

    #[test]
    fn a_template_without_expressions_is_its_own_result_shared() {
        let source = value(r#"{"a":[1,{"b":2}]}"#);
        let template = Template::compile(&source).unwrap();
        let result = template.evaluate(&Scope::new(&Value::Null, &Value::Null)).unwrap();
        let (Value::Object(source), Value::Object(result)) = (&source, &result) else {
            panic!("both are objects")
        };
        assert!(Arc::ptr_eq(source, result));
        assert!(template.as_constant().is_some());
    }

    #[test]
    fn a_constant_part_beside_expressions_is_shared() {
        let source = value(r#"{"constant":{"b":[2]},"c.$":"$"}"#);
        let template = Template::compile(&source).unwrap();
        let result = template.evaluate(&Scope::new(&Value::Null, &Value::Null)).unwrap();
        let parts = (source.get("constant"), result.get("constant"));
        let (Some(Value::Object(source)), Some(Value::Object(result))) = parts else {
            panic!("both are objects")
        };
        assert!(Arc::ptr_eq(source, result));
    }

    /// The message is recorded from AWS; the name of the error is the documentation's for `Parameters`.
    #[test]
    fn a_path_that_names_nothing_fails_with_the_field_and_the_input() {
        let error = fill(r#"{"deep":{"value.$":"$.no_such_jsonpath"}}"#, r#"{ "a" : 1 }"#).unwrap_err();
        assert_eq!(error.error, "States.ParameterPathFailure");
        assert_eq!(
            error.message,
            "The JSONPath '$.no_such_jsonpath' specified for the field 'value.$' could not be found in the input \
             '{\"a\":1}'"
        );
    }

    fn errors(template: &str) -> Vec<String> {
        Template::compile(&value(template)).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_no_expression_is_refused_with_its_place() {
        let message = |field| {
            format!(
                "The value for the field '{field}' must be a valid JSONPath or a valid intrinsic function call"
            )
        };
        assert_eq!(
            errors(r#"{"a.$":1,"b":[{"c.$":"x","d/e":{"f.$":"$.["}}],"g.$":"$.a"}"#),
            [
                format!("{} at ", message("a.$")),
                format!("{} at /b/0", message("c.$")),
                format!("{} at /b/0/d~1e", message("f.$"))
            ]
        );
        assert_eq!(errors(r#"{"a.$":"States.UUID(1)"}"#), [format!("{} at ", message("a.$"))]);
    }

    /// Every result is a list of its own, and all of them are in memory before the whole is measured.
    #[test]
    fn expressions_of_one_template_give_a_bounded_number_of_bytes() {
        let input = Value::array((0..20_000).map(Value::from));
        let scope = Scope::new(&input, &Value::Null);
        let fill = |count: usize| {
            let member = |number: usize| (number.to_string(), Value::from("{% $reverse($states.input) %}"));
            let template = Value::object((0..count).map(member));
            Template::compile_jsonata(&template, "Output").unwrap().evaluate(&scope)
        };
        assert_eq!(fill(4).unwrap().as_object().map(Map::len), Some(4));
        let error = fill(60).unwrap_err();
        assert_eq!(error.error, "States.DataLimitExceeded");
        assert_eq!(error.message, "The expressions of the field give more than 4194304 bytes.");
        let single =
            Template::compile_jsonata(&Value::from("{% $reverse($states.input) %}"), "Output").unwrap();
        assert!(single.evaluate(&scope).is_ok());
    }

    #[test]
    fn two_fields_of_one_name_are_refused() {
        assert_eq!(
            errors(r#"{"x":{"a.$":"$","a":1}}"#),
            ["The fields 'a' and 'a.$' stand for the same field; keep one of them at /x"]
        );
    }
}
