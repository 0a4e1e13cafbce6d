//! The expression as it is evaluated against the engine alone, which knows neither fuel nor hoisting.

use jsonata_core::evaluator::{Context, Evaluator, EvaluatorOptions};
use jsonata_core::value::JValue;
use proptest::prelude::*;

use super::super::{DEPTH_MAX, SEQUENCE_MAX, convert, plain};
use super::{compile, value};
use crate::jsonata::{Expression, References};
use crate::path::Scope;
use crate::value::{JsonLimits, Value};
use crate::variables::Variables;

const INPUTS: [&str; 4] = [
    r#"{"a":{"a":1,"b":"x y","c":[1,2,[3]]},"b":[{"a":1,"b":"k"},{"a":2,"b":"l","c":{"a":[5]}},{"b":"k"}],"c":[[{"a":1}],[{"a":[2]},{"a":3}]]}"#,
    r#"[{"a":[1]},{"a":[[2]],"b":{"c":null}}]"#,
    r#"{"a":[],"b":[5],"c":{}}"#,
    r#"{"a":[[1,2]],"b":"b","c":3.5}"#,
];

/// What the engine alone gives for the tree as it was parsed.
fn alone(text: &str, scope: &Scope<'_>) -> Result<Value, String> {
    let mut context = Context::new();
    let everything = References { states: true, ..References::default() };
    let states = plain::states_of(&everything, scope).unwrap();
    context.bind("states".to_owned(), convert::to_engine(&states));
    for (name, value) in scope.variables.unwrap().own() {
        context.bind(name.to_string(), convert::to_engine(value));
    }
    let options = EvaluatorOptions {
        max_stack_depth: Some(DEPTH_MAX),
        max_sequence_length: Some(SEQUENCE_MAX),
        ..EvaluatorOptions::default()
    };
    let ast = jsonata_core::parser::parse(text).unwrap();
    let result = Evaluator::with_options(context, options).evaluate(&ast, &JValue::Undefined);
    let result = result.map_err(|error| error.message().to_owned())?;
    convert::from_engine(&result).map_err(|reason| format!("{reason:?}"))
}

fn same(text: &str) {
    let mut variables = Variables::default();
    variables.assign("v".into(), value(r#"{"a":[{"a":1},{"a":2}],"b":7}"#));
    variables.assign("w".into(), value("[3,1,2]"));
    for input in INPUTS {
        let input = value(input);
        let scope = Scope { variables: Some(&variables), ..Scope::new(&input, &Value::Null) };
        let woven = compile(text).evaluate(&scope);
        let alone = alone(text, &scope);
        match (&woven, &alone) {
            (Ok(woven), Ok(alone)) => assert_eq!(woven, alone, "{text} of {input}"),
            // Both fail; the words are the engine's.
            (Err(_), Err(_)) => {}
            _ => panic!("{text} of {input}: {woven:?} but alone {alone:?}"),
        }
    }
}

#[test]
fn weaving_and_hoisting_do_not_change_what_an_expression_means() {
    for text in [
        "$states.input.b.a",
        "$states.input.b[0].a",
        "$states.input.b.a[0]",
        "$states.input.b[a > 1].b",
        "$states.input.b[a > 1]",
        "$states.input.zz.b[$join(1)]",
        "$states.input.zz[$join(1)]",
        "$states.input.b[]",
        "$states.input.b[0][]",
        "$states.input.a[].b",
        "$states.input.a.b[]",
        "$states.input.c.a",
        "$states.input.c[0].a",
        "$states.input.c[0][0].a",
        "$states.input.*",
        "$states.input.**.a",
        "$states.input.b.*[0]",
        "$states.input.b^(>a).b",
        "$states.input.b^(b, >a)",
        "$states.input.b{b: a}",
        "$states.input.b{b: $sum(a), 'n': $count($)}",
        "$states.input{'x': a, 'y': $}",
        "$states.input.b.{b: a}",
        "$states.input.b.[a, b]",
        "$states.input.b.(a & b)",
        "$states.input.b@$x.a.{'x': $x.b, 'a': $}",
        "$states.input.b#$i.{'i': $i, 'a': a}",
        "$states.input.b#$i[a = 1].{'i': $i}",
        "$states.input.b#$i",
        "$states.input.a.c.{'p': %.b}",
        "$states.input.b.c.a.{'p': %.%.b}",
        "($states.input.b.c).%.b",
        "($states.input.b.c.a)[0].%.%.b",
        "$states.input.(b.c).%.b",
        "$states.input.(1; b.(c)).%.b",
        "$states.input.b.(c)[%.b = 'l'].a",
        "$states.input.b.(c)^(>%.b).a",
        "$states.input.(b.c){'k': %.b}",
        "$states.input.%.input.a.b",
        "$keys($states.input.%)",
        "[$states.input.b.a, [$w], $w[0]]",
        "[$w[[0, 2]], $w[-1], [1..3], 1..3]",
        "[[$w], [[1]], $states.input.c]",
        "$w ~> $sum",
        "$w ~> $map(function($x) { $x + 1 }) ~> $sum()",
        "$w ~> $sort",
        "($f := $sort; $f($w))",
        "[1] ~> $single",
        "($s := $sort; $s($w, function($l, $r) { $l < $r }))",
        "$string ~> $length",
        "($f := $uppercase ~> $trim; $f(' a '))",
        "$w ~> $map($string)",
        "$map($w, $string)",
        "$reduce($w, $append)",
        "$w ~> $reduce(function($l, $r) { $l + $r })",
        "($r := $reduce; [$r($w, function($l, $r) { $l + $r }), $r($w, $append, [9])])",
        "$filter($w, function($x) { $x > 1 })[0]",
        "$map($w, function($x, $i, $a) { $x * $i + $count($a) })",
        "$sort($w, function($l, $r) { $l < $r })",
        "$each($v, function($x, $k) { $k })",
        "$sift($v, function($x) { $x = 7 })",
        "$single($w, function($x) { $x = 1 })",
        "$states.input ~> |b|{'z': a}, 'b'|",
        "$states.input.a ~> |$|{'z': $.b}|",
        "$map($states.input.b, |$|{'z': 1}|)",
        "($t := |b|{'z': 1}|; $t($states.input))",
        "($f := function($n) { $n = 0 ? 'done' : $f($n - 1) }; $f(300))",
        "($f := function($n) { $n < 2 ? 1 : $n * $f($n - 1) }; $f(10))",
        "($x := 1; ($x := 2; $x) + $x)",
        "($add := function($a, $b) { $a + $b }; $inc := $add(1, ?); $inc(2))",
        "($pad := $pad(?, 5, '-'); $pad('a'))",
        "($f := $substring; $f('hello', 1))",
        "($f := $join; $f(['a', 'b']))",
        "($sum := function($x) { 'mine' }; $sum([1]) & $map([1], $sum))",
        "($count := $count($w); $count > 2)",
        "$contains('abc', /b/) and $contains('abc', 'b')",
        "($r := /b/; $contains('abc', $r))",
        "$filter(['abc', 'x'], /b/)",
        "$match('ababbabbcc', /a(b+)/).groups",
        "$split('a, b,c', /, */)",
        "$split('a b', ' ')",
        "('a b').$split(' ')",
        "('abc').$contains(/b/)",
        "$replace('john smith', /(\\w+)\\s(\\w+)/, '$2, $1')",
        "$replace('abc', 'b', function($m) { $uppercase($m.match) })",
        "$replace('aaa', 'a', 'b', 2)",
        "$states.input.b.$uppercase(b)",
        "$states.input.b.b.$uppercase()",
        "$states.input.b.b ~> $join",
        "$distinct($states.input.b.b)",
        "$merge($states.input.b)",
        "$keys($states.input.b)",
        "$spread($states.input.a)",
        "$zip($w, [1, 2])",
        "$lookup($states.input.b, 'a')",
        "$exists($states.input.zz) or $exists($sum)",
        "$string($states.input, true)",
        "$not($states.input.a) ? 1",
        "1 in $w or 5 in $w",
        "$states.input.b[b = 'k' and a]",
        "$states.input.b[$index := a]",
        "{'a': $states.input.b.{'b': b}, 'c': [1, {'d': $w}]}",
        "$states.input.c.$.a",
        "$states.input.b.($x := a; $x)",
        "$w[$ > 1]",
        "$w[1]",
        "$v.a.a",
        "$v.a[a = 2].a",
        "$states.input.a.c[2][0]",
        "($states.input.b){b: a}",
        "($states.input.b)[0].a",
        "[3, 1, 2]^($)",
        "[1, 2, 3][$ > 1].($ * 2)",
        "(function($x) { $x })($w)",
        "$toMillis('2020-01-02', '[Y0001]-[M01]-[D01]')",
        "$fromMillis(0, '[Y0001]-[M01]-[D01]')",
        "$formatNumber(12.345, '#.00')",
        "$error('x')",
        "$assert(false, 'x')",
        "$base64encode('a') & $encodeUrlComponent('a b')",
        "1 & $states.input.b & null",
        "-$v.b",
        "$x",
    ] {
        same(text);
    }
}

/// A text grown from bytes; `item` says whether there is one that `$` and names mean.
struct Tape<'a>(std::slice::Iter<'a, u8>);

impl Tape<'_> {
    fn next(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn pick<'s>(&mut self, from: &[&'s str]) -> &'s str {
        from[usize::from(self.next()) % from.len()]
    }

    fn leaf(&mut self, item: bool) -> String {
        const TOP: [&str; 12] = [
            "1",
            "$states.input",
            "$states.input.a",
            "$states.input.b",
            "$w",
            "$v.a",
            "'k'",
            "0",
            "$v",
            "null",
            "[]",
            "$states.input.c",
        ];
        const ITEM: [&str; 12] = ["$", "a", "b", "c", "1", "'k'", "$w", "$.a", "0", "*", "$v.b", "a.b"];
        self.pick(if item { &ITEM } else { &TOP }).to_owned()
    }

    /// No array as a step: see the exceptions of weaving.
    fn step(&mut self, depth: u32) -> String {
        match self.next() % 10 {
            0..=2 => self.pick(&["a", "b", "c"]).to_owned(),
            3 => format!("({})", self.grow(depth, true)),
            4 => format!("{{'k': {}}}", self.grow(depth, true)),
            5 => format!("($d := {}; $d)", self.grow(depth, true)),
            6 => "*".to_owned(),
            7 => "$".to_owned(),
            8 => format!("$string({})", self.grow(depth, true)),
            _ => "**".to_owned(),
        }
    }

    fn grow(&mut self, depth: u32, item: bool) -> String {
        if depth == 0 {
            return self.leaf(item);
        }
        let depth = depth - 1;
        match self.next() % 20 {
            0..=3 => format!("{}.{}", self.source(depth, item), self.step(depth)),
            4 => format!("{}.{}.{}", self.source(depth, item), self.step(depth), self.step(depth)),
            5 => format!("{}[{}]", self.source(depth, item), self.grow(depth, true)),
            6 => format!("{}[{}]", self.source(depth, item), self.pick(&["0", "-1", "1", ""])),
            7 => format!("{}[{}].{}", self.source(depth, item), self.grow(depth, true), self.step(depth)),
            8 => format!("{}^({})", self.source(depth, item), self.pick(&["a", ">b", "$", "<c"])),
            9 => format!(
                "{}{{{}: {}}}",
                self.source(depth, item),
                self.pick(&["b", "'k'", "$string($)"]),
                self.grow(depth, true)
            ),
            10 => format!("[{}, {}]", self.grow(depth, item), self.grow(depth, item)),
            11 => format!("{{'x': {}, 'y': {}}}", self.grow(depth, item), self.grow(depth, item)),
            12 => format!(
                "({} {} {})",
                self.grow(depth, item),
                self.pick(&["=", "&", "in", "and", "!="]),
                self.grow(depth, item)
            ),
            13 => format!(
                "({} ? {} : {})",
                self.grow(depth, item),
                self.grow(depth, item),
                self.grow(depth, item)
            ),
            14 => format!(
                "$map({}, function($p) {{ {} }})",
                self.grow(depth, item),
                self.with_parameter(depth, item)
            ),
            15 => format!(
                "$filter({}, function($p) {{ {} }})",
                self.grow(depth, item),
                self.with_parameter(depth, item)
            ),
            16 => format!(
                "{}({})",
                self.pick(&[
                    "$count",
                    "$string",
                    "$distinct",
                    "$keys",
                    "$append",
                    "$type",
                    "$boolean",
                    "$reverse"
                ]),
                self.grow(depth, item)
            ),
            17 => format!(
                "({} ~> {})",
                self.grow(depth, item),
                self.pick(&["$count", "$string()", "$reverse", "$map($type)", "$join('-')", "|a|{'n': 1}|"])
            ),
            18 => format!("($q := {}; [$q, $q.a])", self.grow(depth, item)),
            _ => format!(
                "$reduce([1, {}], function($l, $r) {{ [$append($l, {})] }})",
                self.grow(depth, item),
                self.pick(&["$r", "[$r]", "[[$r]]"])
            ),
        }
    }

    fn source(&mut self, depth: u32, item: bool) -> String {
        match self.next() % 3 {
            0 => format!("({})", self.grow(depth, item)),
            _ => self.leaf(item),
        }
    }

    /// No call in the last place: the engine hands its result on raw, as JavaScript's does, and a block around takes an
    /// empty list for nothing once more. Weaving makes blocks.
    fn with_parameter(&mut self, depth: u32, item: bool) -> String {
        match self.next() % 4 {
            0 => "$p.a".to_owned(),
            1 => format!("[$p, {}]", self.grow(depth, item)),
            2 => format!("$p = {}", self.grow(depth, item)),
            _ => format!("{{'r': {}}}", self.grow(depth, item)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_grown_expression_means_the_same_woven_and_alone(tape in prop::collection::vec(any::<u8>(), 4..60)) {
        let text = Tape(tape.iter()).grow(3, false);
        // A literal may be no step, for one.
        if Expression::compile(&text).is_ok() {
            same(&text);
        }
    }

    #[test]
    fn a_plain_path_gives_what_the_engine_gives(
        root in "(states\\.input|v|w)", keys in prop::collection::vec("[abc]|[abc]\\[(0|-1|1|2)\\]", 0..4),
    ) {
        let text = keys.iter().fold(format!("${root}"), |path, key| format!("{path}.{key}"));
        same(&text);
    }

    #[test]
    fn values_come_back_from_the_engine_as_they_went_in(value in json(4)) {
        let back = convert::from_engine(&convert::to_engine(&value)).unwrap();
        prop_assert_eq!(back.to_json_string(), value.to_json_string());
    }

    #[test]
    fn no_text_panics(text in "[$a-z0-9.(){}\\[\\]:;,?'\"`/\\\\&|~>=*%@#^<!+\u{e9} -]{0,40}") {
        if let Ok(expression) = Expression::compile(&text) {
            let input = Value::parse(INPUTS[0].as_bytes(), JsonLimits::PAYLOAD).unwrap();
            let _ = expression.evaluate(&Scope::new(&input, &Value::Null));
        }
    }
}

/// Values whose numbers the engine can hold.
fn json(depth: u32) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(i64::from(number))),
        "[a-z\u{e9}\u{1F600}\"\\\\]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(depth, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[a-z]{0,9}", inner), 0..5).prop_map(Value::object),
        ]
    })
}
