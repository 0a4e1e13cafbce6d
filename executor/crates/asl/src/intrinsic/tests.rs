//! Calls: what they may be made of, their bounds, their errors; and what the tests of the functions share.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::path::ContextSource;
use crate::timestamp::Timestamp;
use crate::value::JsonLimits;

/// Chance that is a counter, so that a test can tell who drew how often.
pub(super) struct Chance {
    pub draws: Cell<u64>,
    pub context: Value,
}

impl Default for Chance {
    fn default() -> Self {
        Self { draws: Cell::new(0), context: value(r#"{"Execution":{"Name":"e1"}}"#) }
    }
}

impl ContextSource for Chance {
    fn context(&self) -> &Value {
        &self.context
    }

    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    fn draw(&self) -> u64 {
        self.draws.set(self.draws.get() + 1);
        self.draws.get().wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

pub(super) fn value(text: &str) -> Value {
    Value::parse(text.as_bytes(), JsonLimits::default()).unwrap()
}

pub(super) fn evaluate(call: &str, input: &Value) -> Result<Value, EvalError> {
    Intrinsic::parse(call).unwrap().evaluate(&Scope::new(input, &Chance::default()))
}

/// The result as JSON.
#[track_caller]
pub(super) fn gives(call: &str, input: &str) -> String {
    evaluate(call, &value(input)).unwrap().to_json_string()
}

/// What is wrong, without the sentence that names the call; the error's name is checked.
#[track_caller]
pub(super) fn fails(call: &str, input: &str) -> String {
    let error = evaluate(call, &value(input)).unwrap_err();
    assert_eq!(error.error, "States.IntrinsicFailure", "{call}");
    let (_, reason) = error.message.split_once(" had the following error: ").unwrap();
    reason.to_owned()
}

#[test]
fn arguments_are_texts_numbers_truth_values_null_paths_and_calls() {
    assert_eq!(
        gives(
            "States.Array('a', 1, -2.5e3, true, false, null, $.x, $$.Execution.Name, States.Array())",
            r#"{"x":{"y":[1]}}"#
        ),
        r#"["a",1,-2500.0,true,false,null,{"y":[1]},"e1",[]]"#
    );
    assert_eq!(gives("States.Array( $ ,\n\t$[0] )", "[7]"), "[[7],7]");
    assert_eq!(gives("States.Array($.a[*].b, $..c)", r#"{"a":[{"b":1}]}"#), "[[1],[]]");
}

#[test]
fn a_path_of_an_argument_may_hold_commas_and_parentheses_of_its_own() {
    let input = r#"{"a,b":{"c)":1},"list":[{"n":1},{"n":2}],"it's":3}"#;
    assert_eq!(gives("States.Array($['a,b']['c)'])", input), "[1]");
    assert_eq!(gives("States.Array($.list[?(@.n > 1 && (@.n != 3))].n,$.list.length())", input), "[[2],2]");
    assert_eq!(gives("States.Array($.list[0,1].n)", input), "[[1,2]]");
    assert_eq!(gives("States.Array($.it's, 'x')", input), r#"[3,"x"]"#);
    assert_eq!(gives(r"States.Array($.a\,b)", input), r#"[{"c)":1}]"#);
}

#[test]
fn a_variable_is_an_argument() {
    let mut variables = crate::variables::Variables::default();
    variables.assign("n".into(), value(r#"{"m":[4]}"#));
    let chance = Chance::default();
    let scope = Scope { variables: Some(&variables), ..Scope::new(&Value::Null, &chance) };
    let call = Intrinsic::parse("States.MathAdd($n.m[0], 1)").unwrap();
    assert_eq!(call.evaluate(&scope), Ok(value("5")));
}

/// The first is recorded from AWS.
#[test]
fn reserved_characters_are_written_with_a_backslash_and_braces_may_stand_alone() {
    assert_eq!(gives(r#"States.StringToJson('{"a": "false"}')"#, "{}"), r#"{"a":"false"}"#);
    assert_eq!(gives(r"States.Array('\'\{\}\\')", "{}"), r#"["'{}\\"]"#);
    assert_eq!(gives("States.Array('{}', 'é\"\n')", "{}"), "[\"{}\",\"é\\\"\\n\"]");
    assert_eq!(gives("States.Array('')", "{}"), r#"[""]"#);
}

/// The second is recorded from AWS: it is refused when the machine is created.
#[test]
fn what_is_no_call_is_refused_at_its_character() {
    for (text, column, reason) in [
        ("States.UUID() ", 14, "goes on"),
        (r#"States.StringToJson('{"a":"\"b\""}')"#, 28, "a backslash"),
        (r"States.Array('a\n')", 16, "a backslash"),
        (r"States.Array('a\", 16, "a backslash"),
        ("States.Array('a", 14, "has no end"),
        ("States.Array('é', 'a", 19, "has no end"),
        ("States.format('a')", 1, "`States.format` is not among the intrinsic functions: States.Array, "),
        ("States.Nope()", 1, "`States.Nope`"),
        ("States.", 1, "`States.`"),
        ("", 1, "``"),
        ("States.UUID", 12, "expected `(`"),
        ("States.UUID(", 13, "expected an argument or `)`"),
        ("States.Array(1", 15, "expected `,` or `)`"),
        ("States.Array(1,", 16, "expected an argument: a text"),
        ("States.Array(1,)", 16, "expected an argument: a text"),
        ("States.Array(,1)", 14, "expected an argument or `)`"),
        ("States.Array(1 2)", 16, "expected `,` or `)`"),
        ("States.Array(\"a\")", 14, "single quotes"),
        ("States.Array(abc)", 14, "`abc` is no argument"),
        ("States.Array(nullx)", 14, "`nullx` is no argument"),
        ("States.Array(01)", 14, "`01` is no number"),
        ("States.Array(1.)", 14, "`1.` is no number"),
        ("States.Array(1e999)", 14, "`1e999` is no number"),
        ("States.Array(-)", 14, "`-` is no number"),
        ("States.Array($.a[)", 18, "expected a name in quotes"),
        ("States.Array('é', $.a..)", 24, "expected a name"),
        ("States.Array(States.UUID(1))", 14, "`States.UUID` takes no arguments, and is given 1"),
        ("States.ArrayLength()", 1, "takes 1 argument, and is given 0"),
        ("States.MathAdd(1)", 1, "takes 2 arguments, and is given 1"),
        ("States.MathRandom(1)", 1, "takes 2 to 3 arguments, and is given 1"),
        ("States.Format()", 1, "takes 1 or more arguments, and is given 0"),
        ("States.StringSplit('a b', ' ')[0]", 31, "goes on"),
    ] {
        let error = Intrinsic::parse(text).unwrap_err();
        assert_eq!((error.column, error.text.as_str()), (column, text), "{error}");
        assert!(error.reason.contains(reason), "{text}: {error}");
        assert!(error.to_string().ends_with(&format!("of the intrinsic function '{text}'")), "{error}");
    }
}

/// The developer guide counts nine in its example, the outermost and both branches included.
#[test]
fn a_field_has_at_most_ten_calls() {
    let item = "States.ArrayGetItem(States.StringSplit(States.ArrayGetItem(States.StringSplit($.arn, '/'), 2), '.'), 0)";
    let nine = format!("States.Format('{{}}.{{}}', {item}, {item})");
    assert_eq!(gives(&nine, r#"{"arn":"a/b/c.d"}"#), r#""c.c""#);
    let nested = |count: usize| format!("{}{}", "States.Array(".repeat(count), ")".repeat(count));
    assert_eq!(
        gives(&nested(CALLS_MAX), "{}"),
        format!("{}{}", "[".repeat(CALLS_MAX), "]".repeat(CALLS_MAX))
    );
    let error = Intrinsic::parse(&nested(CALLS_MAX + 1)).unwrap_err();
    assert_eq!((error.column, error.reason.as_str()), (131, "a field has at most 10 intrinsic functions"));
    assert!(Intrinsic::parse(&nested(100_000)).is_err());
}

/// The words are AWS's; a state that can catch sees the name that its documentation has for paths.
#[test]
fn a_path_that_names_nothing_fails_with_the_innermost_call_and_the_input() {
    let error =
        evaluate("States.Array(1, States.Format('{}', $.a.b))", &value(r#"{ "c" : 1 }"#)).unwrap_err();
    assert_eq!(error.error, "States.ParameterPathFailure");
    assert_eq!(
        error.message,
        "The function 'States.Format('{}', $.a.b)' had the following error: The JsonPath argument for the field \
         '$.a.b' could not be found in the input '{\"c\":1}'"
    );
    assert_eq!(error.uncaught().error, "States.Runtime");
    let error = evaluate("States.Array($.a.min())", &value(r#"{"a":[]}"#)).unwrap_err();
    assert!(
        error.message.ends_with("Invalid path '$.a.min()': The function min() cannot take an empty array")
    );
}

#[test]
fn a_function_that_fails_is_named_with_its_arguments() {
    let error = evaluate("States.Array(States.ArrayLength('x'))", &Value::Null).unwrap_err();
    assert_eq!(
        (error.error, error.message.as_str()),
        (
            "States.IntrinsicFailure",
            "The function 'States.ArrayLength('x')' had the following error: Argument 1 must be an array, but it is \
             of type string"
        )
    );
}

#[test]
fn paths_of_all_calls_are_known_in_order() {
    let call = Intrinsic::parse("States.Array($.a, States.Array('$.x', $$.b), $c)").unwrap();
    let paths: Vec<&str> = call.paths().into_iter().map(Path::text).collect();
    assert_eq!(paths, ["$.a", "$$.b", "$c"]);
}

/// The list is the developer guide's, for `ErrorPath` and `CausePath`.
#[test]
fn seven_functions_are_allowed_in_a_fail_state() {
    let names: Vec<&str> = Intrinsic::names_in_fail().collect();
    assert_eq!(
        names,
        [
            "States.ArrayGetItem",
            "States.Base64Encode",
            "States.Base64Decode",
            "States.Hash",
            "States.JsonToString",
            "States.UUID",
            "States.Format"
        ]
    );
    let allowed = |text| Intrinsic::parse(text).unwrap().is_allowed_in_fail();
    assert!(allowed("States.ArrayGetItem(States.StringSplit('a', ','), 0)"));
    assert!(!allowed("States.StringSplit('a', ',')"));
}

#[test]
fn the_functions_of_one_evaluation_share_a_bound() {
    let input = Value::from("x".repeat(JsonLimits::PAYLOAD_BYTES - 2).as_str());
    let chance = Chance::default();
    let scope = Scope::new(&input, &chance);
    let call = Intrinsic::parse("States.JsonToString($)").unwrap();
    let mut work = Work::default();
    let done = (0..1_000).take_while(|_| call.evaluate_within(&scope, &mut work).is_ok()).count();
    assert_eq!(done, 32);
    let error = call.evaluate_within(&scope, &mut work).unwrap_err();
    assert!(error.message.ends_with("The functions of one field read and build more than 16777216 bytes"));
    assert!(call.evaluate(&scope).is_ok());
}

#[test]
fn hostile_trees_end_with_an_error() {
    let text = format!("[{}]", vec!["1"; 131_000].join(","));
    let input = value(&text);
    let many = |function: &str| format!("States.{function}(States.Array({}))", vec!["$"; 30_000].join(","));
    for function in ["JsonToString", "ArrayUnique"] {
        let error = evaluate(&many(function), &input).unwrap_err();
        assert!(
            error.message.contains("Argument 1 is too large"),
            "{}",
            &error.message[error.message.len() - 80..]
        );
    }
    let deep = value(&format!("{}{}", "[".repeat(510), "]".repeat(510)));
    let call = |inner: &str| format!("States.JsonToString(States.Array(States.Array({inner})))");
    assert!(evaluate(&call("$[0]"), &deep).is_ok());
    assert!(
        evaluate(&call("States.Array($)"), &deep).unwrap_err().message.contains("nested deeper than 512")
    );
}

const ATOMS: &[&str] = &[
    "States.",
    "Array",
    "ArrayGetItem",
    "ArrayRange",
    "ArrayPartition",
    "ArrayUnique",
    "Format",
    "MathAdd",
    "StringSplit",
    "Hash",
    "JsonMerge",
    "StringToJson",
    "JsonToString",
    "Base64Decode",
    "MathRandom",
    "UUID",
    "(",
    ")",
    "(",
    ")",
    ",",
    ", ",
    "'",
    "'a'",
    "'{}'",
    "\\",
    "{}",
    "$",
    "$.a",
    "$.b[0]",
    "$$.",
    "$v",
    "[",
    "]",
    "?(@",
    "1",
    "-1",
    "1.5",
    "1e400",
    "99999999999999999999",
    "null",
    "true",
    "é",
    "\u{1f600}",
    " ",
    "\n",
    "'MD5'",
    "false",
    "\"",
];

proptest! {
    #[test]
    fn any_text_is_a_call_or_an_error_with_a_place_in_it(
        atoms in prop::collection::vec(prop::sample::select(ATOMS), 0..16),
        wild in "\\PC{0,12}",
    ) {
        for text in [atoms.concat(), format!("States.Format('{wild}', $.{wild})"), wild] {
            match Intrinsic::parse(&text) {
                Ok(call) => {
                    let input = value(r#"{"a":[1,"x",{"b":null}],"b":["y"]}"#);
                    let _ = call.evaluate(&Scope::new(&input, &Chance::default()));
                }
                Err(error) => prop_assert!((1..=text.chars().count() + 2).contains(&error.column), "{error}"),
            }
        }
    }

    /// Every function with every kind of value gives a value or its own error.
    #[test]
    fn any_arguments_end_with_a_value_or_a_failure(
        function in 0..function::FUNCTIONS.len(),
        arguments in prop::collection::vec(any_value(), 0..4),
    ) {
        let function = &function::FUNCTIONS[function];
        let count = arguments.len().clamp(function.least, function.most.min(4));
        let paths: Vec<String> = (0..count).map(|at| format!("$[{at}]")).collect();
        let input = Value::array(arguments.into_iter().chain(vec![Value::Null; 4]));
        let text = format!("{}({})", function.name, paths.join(", "));
        if let Err(error) = evaluate(&text, &input) {
            prop_assert_eq!(error.error, EvalError::INTRINSIC_FAILURE);
        }
    }
}

/// Values small enough to meet each other again.
pub(super) fn any_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        (-3_i64..4).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL
            .prop_map(|number| Value::Number(crate::value::Number::from_f64(number).unwrap())),
        prop::sample::select(&[-0.0, 0.5, 1.0, -1.5, 1e300][..])
            .prop_map(|number| Value::Number(crate::value::Number::from_f64(number).unwrap())),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        "[ab,{}\u{e9}\"\\\\]{0,6}".prop_map(Value::from),
        prop::sample::select(&["MD5", "SHA-512", "YQ", "[1]"][..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[ab]", inner), 0..3).prop_map(Value::object),
        ]
    })
}
