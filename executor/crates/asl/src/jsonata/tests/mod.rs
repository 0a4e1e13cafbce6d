//! What expressions mean, in the words of the recordings where there are any.

mod bounds;
mod weaving;

use std::cell::Cell;

use super::*;
use crate::path::{ContextSource, EvalError};
use crate::timestamp::Timestamp;
use crate::value::JsonLimits;
use crate::variables::Variables;

fn value(text: &str) -> Value {
    Value::parse(text.as_bytes(), JsonLimits::PAYLOAD).unwrap()
}

fn compile(text: &str) -> Expression {
    Expression::compile(text).unwrap()
}

/// The result against this input, or the failure's text behind the expression.
fn eval(text: &str, input: &str) -> String {
    let input = value(input);
    shown(compile(text).evaluate(&Scope::new(&input, &Value::Null)))
}

fn shown(result: Result<Value, Failure>) -> String {
    match result {
        Ok(value) => value.to_json_string(),
        Err(failure) => {
            let text = failure.to_string();
            text.split_once("' ").map_or(text.clone(), |(_, tail)| tail.to_owned())
        }
    }
}

/// What the engine threw.
fn thrown(text: &str, input: &str) -> String {
    let text = eval(text, input);
    text.strip_prefix("threw an error during evaluation. ").unwrap_or(&text).to_owned()
}

fn refused(text: &str) -> String {
    match Expression::compile(text) {
        Err(SyntaxError::Forbidden { reason, .. } | SyntaxError::Grammar { reason, .. }) => reason,
        Err(other) => other.to_string(),
        Ok(_) => "accepted".to_owned(),
    }
}

/// At an instant, with countable luck.
struct Moment {
    millis: i64,
    draws: Cell<u64>,
}

impl ContextSource for Moment {
    fn context(&self) -> &Value {
        &Value::Null
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.millis)
    }

    fn draw(&self) -> u64 {
        self.draws.replace(self.draws.get() + 1)
    }
}

const MOMENT: i64 = 1_577_934_245_678;

fn at_moment(text: &str) -> Value {
    let moment = Moment { millis: MOMENT, draws: Cell::new(7) };
    compile(text).evaluate(&Scope::new(&Value::Null, &moment)).unwrap()
}

/// Every expression of the recorded cases that does not read a document of its own.
#[test]
fn the_language_of_the_recorded_cases_is_evaluated() {
    let input =
        r#"{"a":{"b":[1,2]},"items":[{"price":2,"n":"x"},{"price":3,"n":"y"}],"cost":9,"values":[1,2,3]}"#;
    for (text, expected) in [
        ("$sum($states.input.values) + 1", "7"),
        (r#"$contains("hello$world", /^hello\$/)"#, "true"),
        (r#"$contains('hello$world', /^hello\ /)"#, "false"),
        (r#"$number("2")"#, "2"),
        ("$variable := 1", "1"),
        (r#"$merge([{"hello":"world"}, $states.input.a])"#, r#"{"hello":"world","b":[1,2]}"#),
        ("$states.input.cost < 10", "true"),
        ("$not($states.input.cost = 9)", "false"),
        ("{'foo': 'bar'}", r#"{"foo":"bar"}"#),
        ("null", "null"),
        ("'DataSource' & 1", r#""DataSource1""#),
        ("$states.input.items.price", "[2,3]"),
        ("$states.input.items[price > 2].n", r#""y""#),
        ("$states.input.items[0].n", r#""x""#),
        ("$states.input.items^(>price).n", r#"["y","x"]"#),
        ("$states.input.items{n: price}", r#"{"x":2,"y":3}"#),
        ("$map($states.input.values, function($v) { $v * 2 })", "[2,4,6]"),
        ("$states.input ~> |a|{'b': 0}| ~> $keys", r#"["a","items","cost","values"]"#),
        ("($f := function($n) { $n < 2 ? 1 : $n * $f($n - 1) }; $f(5))", "120"),
        ("$states.input.items[$.price = 2].$.n", r#""x""#),
    ] {
        assert_eq!(eval(text, input), expected, "{text}");
    }
}

/// Recorded from AWS.
#[test]
fn the_functions_of_step_functions_give_what_is_recorded() {
    for (text, expected) in [
        ("$partition([0,1,2], 2)", "[[0,1],[2]]"),
        ("$partition([0], 5)", "[[0]]"),
        ("$range(0, 9, 3)", "[0,3,6,9]"),
        ("$range(0, 10, 3)", "[0,3,6,9]"),
        ("$range(1, 9, 9)", "1"),
        ("$parse('-0')", "0"),
        ("$parse('1.1')", "1.1"),
        (r#"$parse('[1, 2, "HelloWorld"]')"#, r#"[1,2,"HelloWorld"]"#),
        (r#"$parse('{"Arg1": 1, "Arg2": []}')"#, r#"{"Arg1":1,"Arg2":[]}"#),
    ] {
        assert_eq!(eval(text, "{}"), expected, "{text}");
    }
}

/// What the reference implementation, version 2.0.6, gives.
#[test]
fn what_the_engine_has_otherwise_is_as_the_language_has_it() {
    let input = r#"{"list":["a b","c/d"],"none":[]}"#;
    for (text, expected) in [
        ("$encodeUrlComponent('a-b_c.d~e f/g')", r#""a-b_c.d~e%20f%2Fg""#),
        ("$encodeUrl('http://x.y/a b?q=é')", r#""http://x.y/a%20b?q=%C3%A9""#),
        ("$decodeUrl('%2F%41')", r#""%2FA""#),
        ("$map($states.input.list, $encodeUrlComponent)", r#"["a%20b","c%2Fd"]"#),
        ("$states.input.list.$encodeUrlComponent()", r#"["a%20b","c%2Fd"]"#),
        ("'a b' ~> $encodeUrl ~> $length", "5"),
        ("$exists($reduce($states.input.none, function($l, $r) { $l }))", "false"),
        ("$reduce($states.input.none, function($l, $r) { $l }, 5)", "5"),
        (r#"$match("é1 b", /\w+/).match"#, r#"["1","b"]"#),
        (r#"$contains("٣", /\d/) or $contains("é", /[\w]/)"#, "false"),
        (r#"$contains("éx", /\bx/) and $contains("a&&b", /^[&a-b]+$/)"#, "true"),
        (r#"$match("a\r\nb", /.+/).match"#, r#"["a","b"]"#),
    ] {
        assert_eq!(eval(text, input), expected, "{text}");
    }
    assert_eq!(
        thrown("$decodeUrlComponent('%')", "{}"),
        "D3140: Malformed URL passed to $decodeUrlComponent(): \"%\""
    );
}

#[test]
fn the_functions_of_step_functions_are_values_too() {
    assert_eq!(eval("$map(['[1]', '2'], $parse)", "{}"), "[[1],2]");
    assert_eq!(eval("$map([[1, 2, 3]], $partition(?, 2))", "{}"), "[[1,2],[3]]");
    assert_eq!(eval("$count($map([1, 2], $uuid))", "{}"), "2");
    assert_eq!(eval("($r := $range; $r(1, 5, 2))", "{}"), "[1,3,5]");
}

#[test]
fn integer_parameters_are_rounded_down_and_refused_beyond_their_range() {
    assert_eq!(eval("$partition([1,2,3], 2.9)", "{}"), "[[1,2],[3]]");
    assert_eq!(eval("$partition(7, 2)", "{}"), "[[7]]");
    assert_eq!(eval("$range(1.9, 3.1, 1.5)", "{}"), "[1,2,3]");
    assert_eq!(eval("$range(3, 1, -1)", "{}"), "[3,2,1]");
    assert_eq!(eval("$random(5.5) = $random(5)", "{}"), "true");
    assert!(thrown("$partition([1], 0)", "{}").contains("must be a positive number"));
    assert!(thrown("$partition([1], 0.5)", "{}").contains("must be a positive number"));
    assert!(thrown("$range(1, 2, 0)", "{}").contains("must not be 0"));
    assert!(thrown("$range(1, 2, 0.9)", "{}").contains("must not be 0"));
    assert!(thrown("$range(1, 1e9, 1)", "{}").starts_with("D2015: "));
    assert!(thrown("$range('1', 2, 1)", "{}").starts_with("T0410: Argument 1 of function \"range\""));
    assert!(thrown("$parse('{')", "{}").starts_with("The argument of the parse function is no JSON"));
    assert!(thrown("$uuid(1)", "{}").starts_with("T0410: "));
}

#[test]
fn a_hash_is_written_in_hexadecimal_digits() {
    for (algorithm, digest) in [
        ("MD5", "900150983cd24fb0d6963f7d28e17f72"),
        ("SHA-1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("SHA-256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ] {
        assert_eq!(eval(&format!("$hash('abc', '{algorithm}')"), "{}"), format!("\"{digest}\""));
    }
    assert_eq!(eval("$length($hash('abc', 'SHA-384'))", "{}"), "96");
    assert_eq!(eval("$length($hash('abc', 'SHA-512'))", "{}"), "128");
    assert!(thrown("$hash('abc', 'CRC')", "{}").contains("must be one of MD5, SHA-1"));
}

#[test]
fn time_and_chance_come_from_the_scope_and_repeat() {
    assert_eq!(at_moment("$millis()"), MOMENT.into());
    assert_eq!(at_moment("$now()"), "2020-01-02T03:04:05.678Z".into());
    assert_eq!(at_moment("$map([1,2], $millis)"), value(&format!("[{MOMENT},{MOMENT}]")));
    for text in ["$random()", "$uuid()", "$shuffle([1..50])", "[$random(), $random()]"] {
        assert_eq!(at_moment(text), at_moment(text), "{text}");
    }
    assert_eq!(at_moment("$random() = $random()"), false.into());
    assert_eq!(at_moment("$uuid() = $uuid()"), false.into());
    assert_eq!(at_moment("$sum($shuffle([1..50]))"), 1275.into());
    let uuid = at_moment("$uuid()").as_str().unwrap().to_owned();
    assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
    assert!("89ab".contains(&uuid[19..20]), "{uuid}");
}

#[test]
fn each_evaluation_draws_once_if_it_needs_chance() {
    let moment = Moment { millis: 0, draws: Cell::new(0) };
    let scope = Scope::new(&Value::Null, &moment);
    let random = compile("$random()");
    assert_ne!(random.evaluate(&scope), random.evaluate(&scope));
    assert_eq!(moment.draws.get(), 2);
    compile("1 + 1").evaluate(&scope).unwrap();
    assert_eq!(moment.draws.get(), 2);
}

/// Java: `new Random(42).nextDouble()` and `new Random(0).nextDouble()`.
#[test]
fn a_seed_gives_the_number_that_java_gives() {
    assert_eq!(eval("$random(42)", "{}"), "0.7275636800328681");
    assert_eq!(eval("$random(0)", "{}"), "0.730967787376657");
}

/// Recorded from AWS: `$randomSeeded` is no function.
#[test]
fn failures_have_the_words_of_aws() {
    let failure = |text: &str| compile(text).evaluate(&Scope::new(&value("{}"), &Value::Null)).unwrap_err();
    assert_eq!(
        failure("$randomSeeded($states.input.fst)").in_field("Output/FunctionResult"),
        EvalError {
            error: "States.QueryEvaluationError",
            message: "The JSONata expression '$randomSeeded($states.input.fst)' specified for the field \
                      'Output/FunctionResult' threw an error during evaluation. T1006: Attempted to invoke a \
                      non-function"
                .to_owned(),
            location: Some("Output/FunctionResult".into()),
        }
    );
    assert_eq!(
        failure(" $states.input.a ").in_field("Output").message,
        "The JSONata expression '$states.input.a' specified for the field 'Output' returned nothing (undefined)."
    );
    let object = value(r#"{"foo":"bar"}"#);
    assert_eq!(
        compile("$ItemsVar").unexpected("array", &object).in_field("Items").message,
        "The JSONata expression '$ItemsVar' specified for the field 'Items' returned an unexpected result type. \
         Expected 'array', but was 'object' for value: {\"foo\":\"bar\"}"
    );
    assert_eq!(EvalError::from(failure("1 + 'a'")).error, "States.QueryEvaluationError");
}

#[test]
fn what_is_undefined_is_left_out_inside_and_fails_at_the_top() {
    assert_eq!(eval("{'a': $states.input.x, 'b': 1}", "{}"), r#"{"b":1}"#);
    assert_eq!(eval("[$states.input.x, 1]", "{}"), "[1]");
    for text in ["$states.input.x", "$nothing", "$states.result", "$states.none", "()", "[1][5]", "$string()"]
    {
        assert_eq!(eval(text, "{}"), "returned nothing (undefined).", "{text}");
    }
}

#[test]
fn what_is_no_json_is_no_result() {
    for text in ["$sum", "function($x) { $x }", "{'f': $sum}", "[function() { 1 }]", "/a/"] {
        assert!(eval(text, "{}").contains("Expected 'JSON value', but was 'function'"), "{text}");
    }
    assert!(thrown("1e300 * 1e300", "{}").starts_with("D1001: "));
    assert!(thrown("1 / 0", "{}").starts_with("D1001: "));
}

#[test]
fn there_is_no_document_and_no_eval() {
    for text in [
        "$",
        "$.a",
        "a",
        "a.b",
        "*",
        "**",
        "$$",
        "$$.a",
        "$states.input.x[$$.a = 1]",
        "$eval('1')",
        "$map([1], $eval)",
        "'1' ~> $eval",
        "$sum(a)",
        "foo(1)",
        "($x := b; $x)",
        "function($x) { y }",
        "{'a': b}",
        "{a: 1}",
        "1 + a",
    ] {
        let told = ["not available", "read from $states", "at the top level is not supported"];
        assert!(told.iter().any(|words| refused(text).contains(words)), "{text}");
    }
    for text in [
        "$states.input.items[price > 1]",
        "$states.input.($.a + b)",
        "$states.input.items^(price)",
        "$states.input.items{n: $sum(price)}",
        "$states.input.*",
        "$states.input.**.x",
        "$states.input ~> |a|{'b': c}, ['d']|",
        "$x.$sum(y)",
        "$x.(function($z) { w })(1)",
        "{'a': 1}.a",
        "($x := 1; $x)",
        "'a'",
    ] {
        assert_eq!(refused(text), "accepted", "{text}");
    }
}

#[test]
fn what_is_no_jsonata_is_refused_with_its_code() {
    for (text, code) in [
        ("$sum($states.input.a", "S0203"),
        ("1 +", "S0207"),
        ("", "S0207"),
        ("'a", "S0101"),
        ("1 1", "S0201"),
        ("$v ?? 1", "S0211"),
        ("$v ?: 1", "S0211"),
        ("$v[0..1]", "S0201"),
        ("(0..1)", "S0201"),
        ("5 := $v", "S0212"),
        ("//", "S0301"),
        ("$contains($v, //)", "S0301"),
        ("/a/g", "S0201"),
        ("$match($v, /a/g)", "S0201"),
    ] {
        assert!(refused(text).contains(code), "{text}: {}", refused(text));
    }
    assert_ne!(refused("420."), "accepted");
}

/// Recorded from AWS: a string with white space around the delimiters means itself.
#[test]
fn a_string_is_an_expression_when_both_delimiters_are_at_its_ends() {
    assert_eq!(delimited("{% 1 %}"), Ok(Some(" 1 ")));
    assert_eq!(delimited("{%1%}"), Ok(Some("1")));
    for literal in ["", "a", " {% states.input %} ", "a {% b %} c", "$states.input", "%", "{", "% {"] {
        assert_eq!(delimited(literal), Ok(None), "{literal}");
    }
    for bad in ["{% 1", "10 %}", "{%}", "{% 1 %} ", " {% 1 %}", "{%", "%}"] {
        assert_eq!(delimited(bad), Err(SyntaxError::Delimiters(bad.to_owned())), "{bad}");
    }
    assert!(matches!(Text::compile("{% $sum($a %}"), Err(SyntaxError::Grammar { .. })));
    assert!(matches!(Text::compile("{% $a %}"), Ok(Text::Expression(_))));
    assert!(matches!(Text::compile("a"), Ok(Text::Literal)));
}

fn variables_of(text: &str) -> Vec<String> {
    compile(text).references().variables.iter().map(ToString::to_string).collect()
}

#[test]
fn references_are_the_names_that_are_not_bound_inside() {
    assert_eq!(variables_of("$b + $a.x[$c = $b]"), ["b", "a", "c"]);
    assert_eq!(variables_of("($x := $y; $x + $z)"), ["y", "z"]);
    assert_eq!(variables_of("($x; $x := 1)"), ["x"]);
    assert_eq!(variables_of("(($x := 1; $x); $x)"), ["x"]);
    assert_eq!(variables_of("function($p) { $p + $q }"), ["q"]);
    assert_eq!(variables_of("($f := function($n) { $n = 0 ? 0 : $f($n - 1) }; $f($n))"), ["n"]);
    assert_eq!(variables_of("($f := function() { $f }; $f)"), [""; 0]);
    assert_eq!(variables_of("$a@$l.b#$i[$i = 0 and $l.x = $m].{'y': $l}"), ["a", "m"]);
    assert_eq!(variables_of("$a@$l.b{$l.x: $i}"), ["a", "i"]);
    assert_eq!(variables_of("$states.input.a"), [""; 0]);
}

#[test]
fn members_of_states_are_known() {
    let read = |text: &str| compile(text).references().clone();
    let none = References::default();
    assert_eq!(read("$states.input.a"), References { input: true, ..none.clone() });
    assert_eq!(read("$states.result.b[0]"), References { result: true, ..none.clone() });
    assert_eq!(
        read("[$states.errorOutput, $states.context.Execution]"),
        References { error_output: true, context: true, ..none.clone() }
    );
    assert_eq!(read("$states"), References { states: true, ..none.clone() });
    assert_eq!(read("$keys($states)"), References { states: true, ..none.clone() });
    assert_eq!(read("($states := {'result': 1}; $states.result)"), none);
}

/// Recorded from AWS: the members in this order, and only those that there are.
#[test]
fn states_is_an_object_of_what_there_is() {
    let (input, context) = (value("1"), value(r#"{"c":1}"#));
    let scope = Scope { result: Some(&Value::Null), ..Scope::new(&input, &context) };
    assert_eq!(shown(compile("$states").evaluate(&scope)), r#"{"input":1,"context":{"c":1},"result":null}"#);
    assert_eq!(shown(compile("$keys($states)").evaluate(&scope)), r#"["input","context","result"]"#);
    let scope = Scope { error_output: Some(&input), ..Scope::new(&input, &context) };
    assert_eq!(shown(compile("$states.errorOutput + $states.context.c").evaluate(&scope)), "2");
}

#[test]
fn variables_are_read_from_the_scope_even_when_a_function_has_their_name() {
    let mut variables = Variables::default();
    variables.assign("count".into(), 1.into());
    variables.assign("list".into(), value("[5,6]"));
    let scope = Scope { variables: Some(&variables), ..Scope::new(&Value::Null, &Value::Null) };
    let eval = |text: &str| shown(compile(text).evaluate(&scope));
    assert_eq!(eval("$count + 1"), "2");
    assert_eq!(eval("$list[-1]"), "6");
    assert_eq!(eval("$count($list)"), "2");
    assert_eq!(eval("($count := 5; $count)"), "5");
}

#[test]
fn names_of_functions_are_known() {
    for name in ["sum", "zip", "abs", "partition", "uuid", "hash", "random"] {
        assert!(is_function(name), "{name}");
    }
    assert!(!is_function("randomSeeded") && !is_function("states"));
}

#[test]
fn plain_paths_keep_integers_exact() {
    let input = r#"{"a":{"b":[9007199254740993,18446744073709551615]},"c":1.5}"#;
    assert_eq!(eval("$states.input.a.b[0]", input), "9007199254740993");
    assert_eq!(eval("$states.input.a.b[-1]", input), "18446744073709551615");
    assert_eq!(eval("$states.input.a", input), r#"{"b":[9007199254740993,18446744073709551615]}"#);
    assert_eq!(eval("$states.input.c[0]", input), "1.5");
}

#[test]
fn numbers_that_are_integers_come_back_as_integers() {
    assert_eq!(eval("$states.input + 0", "2.0"), "2");
    assert_eq!(eval("6 / 3", "{}"), "2");
    assert_eq!(eval("1 / 4", "{}"), "0.25");
    assert_eq!(eval("-0", "{}"), "0");
    assert_eq!(eval("1e15 * 10", "{}"), "10000000000000000");
}
