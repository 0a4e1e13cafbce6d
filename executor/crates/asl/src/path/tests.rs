//! Paths: what they mean in AWS's dialect.

use proptest::prelude::*;

use super::*;
use crate::value::JsonLimits;

fn value(text: &str) -> Value {
    Value::parse(text.as_bytes(), JsonLimits::default()).unwrap()
}

/// The result of a path over an input, as text; or the error's text.
fn eval(path: &str, input: &str) -> String {
    let input = value(input);
    let context = value(r#"{"Execution":{"Name":"e1"}}"#);
    match Path::parse(path).unwrap().evaluate(&Scope::new(&input, &context)) {
        Ok(value) => value.to_json_string(),
        Err(error) => error.to_string(),
    }
}

fn refused(path: &str) -> PathSyntaxError {
    Path::parse(path).unwrap_err()
}

const STORE: &str = r#"{"store":{"book":[
    {"title":"Sayings","price":8.95,"category":"reference","tags":["old","short"]},
    {"title":"Sword","price":12.99,"category":"fiction","tags":["new"]},
    {"title":"Moby Dick","price":8.99,"category":"fiction","isbn":"0-553","tags":[]}],
    "bicycle":{"price":19.95}},"limit":10}"#;

#[test]
fn definite_paths_give_the_value_itself() {
    assert_eq!(eval("$", "[1]"), "[1]");
    assert_eq!(eval("$.a.b[1]", r#"{"a":{"b":[1,{"c":2}]}}"#), r#"{"c":2}"#);
    assert_eq!(eval("$['a']['b'][0]", r#"{"a":{"b":[null]}}"#), "null");
    assert_eq!(eval("$[-1]", "[1,2,3]"), "3");
    assert_eq!(eval("$$.Execution.Name", "{}"), r#""e1""#);
    assert_eq!(eval("$$['Execution']", "{}"), r#"{"Name":"e1"}"#);
}

/// The first is recorded from AWS.
#[test]
fn a_definite_path_that_names_nothing_says_so_in_brackets() {
    assert_eq!(eval("$.NoSuchInputPath", "{}"), "No results for path: $['NoSuchInputPath']");
    assert_eq!(eval("$.a[3]", r#"{"a":[1]}"#), "No results for path: $['a'][3]");
    assert_eq!(eval("$[-2]", "[1]"), "No results for path: $[-2]");
    assert_eq!(eval("$.a.b.c", r#"{"a":{}}"#), "Missing property in path $['a']['b']");
    assert_eq!(
        eval("$.a.b", r#"{"a":"text"}"#),
        "Expected to find an object with property ['b'] in path $['a'] but found 'string'"
    );
    assert_eq!(eval("$.a[0]", r#"{"a":{"0":1}}"#), "No results for path: $['a'][0]");
    assert_eq!(eval("$variable.a", "{}"), "No results for path: $variable['a']");
}

/// From the specification's examples of reference paths, and recorded from AWS.
#[test]
fn names_may_hold_what_the_dialect_allows() {
    assert_eq!(eval("$.delivery-partner", r#"{"delivery-partner":1}"#), "1");
    assert_eq!(eval("$.&Ж中.\u{D800E}", "{\"&Ж中\":{\"\u{D800E}\":1}}"), "1");
    assert_eq!(eval(r"$.store\.book", r#"{"store.book":1}"#), "1");
    assert_eq!(eval(r"$.foo\@bar.baz\[\[.\?pretty", r#"{"foo@bar":{"baz[[":{"?pretty":1}}}"#), "1");
    assert_eq!(eval(r"$.stor\e\.boo\k", r#"{"store.book":1}"#), "1");
    assert_eq!(eval(r#"$['Test\""Name"']"#, r#"{"Test\\\"\"Name\"":1}"#), "1");
    assert_eq!(eval(r"$['a\'b\\c\u00e9']", r#"{"a'b\\cé":1}"#), "1");
    assert_eq!(eval("$.a.[0].b", r#"{"a":[{"b":1}]}"#), "1");
    assert_eq!(eval("$['a b'].c", r#"{"a b":{"c":1}}"#), "1");
}

/// Recorded from AWS: nothing on the way is no error for a path that may select several values.
#[test]
fn indefinite_paths_give_an_array_of_all_matches() {
    for path in
        ["$.item.items[*]", "$.item.items[1:5].itemValue", "$.items[1:]", "$.items[:1].itemValue", "$[*]"]
    {
        assert_eq!(eval(path, "{}"), "[]", "{path}");
    }
    assert_eq!(eval("$.store.book[*].title", STORE), r#"["Sayings","Sword","Moby Dick"]"#);
    assert_eq!(eval("$.store.book[0,2].price", STORE), "[8.95,8.99]");
    assert_eq!(eval("$.store.book[-2:].price", STORE), "[12.99,8.99]");
    assert_eq!(eval("$.store.book[:1].price", STORE), "[8.95]");
    assert_eq!(eval("$.store.book[9:].price", STORE), "[]");
    assert_eq!(eval("$..price", STORE), "[8.95,12.99,8.99,19.95]");
    assert_eq!(eval("$..book[0].title", STORE), r#"["Sayings"]"#);
    assert_eq!(eval("$..[1]", "[[1,2],[3,4]]"), "[[3,4],2,4]");
    assert_eq!(eval("$.*", r#"{"a":1,"b":[2]}"#), "[1,[2]]");
    assert_eq!(eval("$..*", r#"{"a":[1]}"#), "[[1],1]");
}

#[test]
fn several_keys_make_one_object_at_the_end_and_branch_before() {
    assert_eq!(eval("$['a','c','x']", r#"{"a":1,"b":2,"c":3}"#), r#"{"a":1,"c":3}"#);
    assert_eq!(eval("$['a','b'].v", r#"{"a":{"v":1},"b":{"v":2}}"#), "[1,2]");
    assert_eq!(eval("$[*]['a','b']", r#"[{"a":1,"b":2},{"b":3}]"#), r#"[{"a":1,"b":2},{"b":3}]"#);
    assert_eq!(eval("$.x['a','b']", "{}"), "No results for path: $['x']['a','b']");
}

#[test]
fn filters_choose_by_comparison_and_logic() {
    let titles = |filter: &str| eval(&format!("$.store.book[?({filter})].title"), STORE);
    assert_eq!(titles("@.price < 10"), r#"["Sayings","Moby Dick"]"#);
    assert_eq!(titles("@.price<$.limit"), r#"["Sayings","Moby Dick"]"#);
    assert_eq!(titles("@.price >= 12.99"), r#"["Sword"]"#);
    assert_eq!(titles("@.isbn"), r#"["Moby Dick"]"#);
    assert_eq!(titles("!@.isbn"), r#"["Sayings","Sword"]"#);
    assert_eq!(titles("@.category == 'fiction' && @.price < 10"), r#"["Moby Dick"]"#);
    assert_eq!(titles("@.category == \"reference\" || @.isbn"), r#"["Sayings","Moby Dick"]"#);
    assert_eq!(titles("!(@.price < 10 || @.isbn)"), r#"["Sword"]"#);
    assert_eq!(titles("@.isbn != '0-553'"), r#"["Sayings","Sword"]"#);
    assert_eq!(titles("@['category'] == 'reference'"), r#"["Sayings"]"#);
    assert_eq!(titles("@.price == '8.95'"), "[]");
    assert_eq!(titles("@.category==reference"), r#"["Sayings"]"#);
    assert_eq!(titles("@.none == @.nothing"), "[]");
}

#[test]
fn filters_have_the_operators_of_jayway() {
    let titles = |filter: &str| eval(&format!("$.store.book[?({filter})].title"), STORE);
    assert_eq!(titles("@.category in ['fiction', 'poems']"), r#"["Sword","Moby Dick"]"#);
    assert_eq!(titles("@.category nin ['fiction']"), r#"["Sayings"]"#);
    assert_eq!(titles("@.tags subsetof ['new','old']"), r#"["Sword","Moby Dick"]"#);
    assert_eq!(titles("@.tags anyof ['new','short']"), r#"["Sayings","Sword"]"#);
    assert_eq!(titles("@.tags noneof ['new']"), r#"["Sayings","Moby Dick"]"#);
    assert_eq!(titles("@.tags contains 'old'"), r#"["Sayings"]"#);
    assert_eq!(titles("@.tags size 1"), r#"["Sword"]"#);
    assert_eq!(titles("@.tags empty true"), r#"["Moby Dick"]"#);
    assert_eq!(titles("@.tags empty false"), r#"["Sayings","Sword"]"#);
    assert_eq!(titles("@.title =~ /s.*/i"), r#"["Sayings","Sword"]"#);
    assert_eq!(titles("@.title =~ /Sw/"), "[]");
    assert_eq!(titles("@.tags.length() == 2"), r#"["Sayings"]"#);
}

#[test]
fn functions_end_a_path() {
    assert_eq!(eval("$.a.length()", r#"{"a":[1,2]}"#), "2");
    assert_eq!(eval("$.length()", r#"{"a":1}"#), "1");
    assert_eq!(eval("$.a.length()", r#"{"a":"a😀"}"#), "3");
    assert_eq!(eval("$.a.min()", r#"{"a":[3,1,2.5]}"#), "1.0");
    assert_eq!(eval("$.a.max()", r#"{"a":[3,1,2.5]}"#), "3.0");
    assert_eq!(eval("$.a.sum()", r#"{"a":[3,1,"x"]}"#), "4.0");
    assert_eq!(eval("$.a.avg()", r#"{"a":[3,2]}"#), "2.5");
    assert_eq!(eval("$.a.stddev()", r#"{"a":[1,3]}"#), "1.0");
    assert_eq!(eval("$.keys()", r#"{"a":1,"b":2}"#), r#"["a","b"]"#);
    assert_eq!(eval("$.a.first()", r#"{"a":[1,2]}"#), "1");
    assert_eq!(eval("$.a.last()", r#"{"a":[1,2]}"#), "2");
    assert_eq!(eval("$.a.index(-2)", r#"{"a":[1,2]}"#), "1");
    assert_eq!(eval("$..a.sum()", r#"[{"a":1},{"a":2.5}]"#), "3.5");
    assert_eq!(eval("$.a.sum()", r#"{"a":[]}"#), "The function sum() cannot take an empty array");
    assert_eq!(eval("$.b.length()", "{}"), "No results for path: $['b'].length()");
    assert_eq!(eval("$.length", r#"{"length":5}"#), "5");
}

#[test]
fn what_is_no_path_is_refused_with_its_place() {
    for (text, column) in [
        ("", 1),
        ("a.b", 1),
        ("@.a", 1),
        ("$.", 3),
        ("$.a.", 5),
        ("$..", 4),
        ("$a.", 4),
        ("$9", 2),
        ("$.a b", 4),
        ("$[", 3),
        ("$[]", 3),
        ("$['a", 5),
        ("$[a]", 3),
        ("$[1:2:3]", 6),
        ("$['a',0]", 7),
        ("$[0,'a']", 5),
        ("$[99999999999]", 3),
        ("$.a.median()", 5),
        (r"$.\é\x()", 3),
        ("$.a.concat('x')", 5),
        ("$.a.length().b", 13),
        (r"$.a\", 5),
        ("$[?(@.a ~ 1)]", 9),
        ("$[?(@.a == -b)]", 12),
        ("$[?(@.a =~ /(/)]", 12),
        ("$[?(@.a =~ /(?=a)/)]", 12),
        ("$[?(@.a =~ /a/q)]", 12),
        ("$[?(@.a == '\\ud800')]", 19),
        ("$[?(@.a", 8),
    ] {
        let error = refused(text);
        assert_eq!((error.column, error.text.as_str()), (column, text), "{error}");
    }
    assert_eq!(
        refused("$.a.median()").to_string(),
        "`median()` is not among the functions of paths: length(), size(), min(), max(), avg(), sum(), stddev(), \
         keys(), first(), last(), index(n) at character 5 of the path '$.a.median()'"
    );
}

#[test]
fn hostile_paths_end_with_an_error() {
    for hostile in [
        format!("$[?({}@.a{})]", "(".repeat(50_000), ")".repeat(50_000)),
        format!("$[?({}@.a)]", "!".repeat(50_000)),
        format!("$[?(@.a == {})]", "[".repeat(50_000)),
        format!("${}", "[?(@".repeat(50_000)),
    ] {
        assert!(refused(&hostile).reason.starts_with("filters nest deeper"), "{}", &hostile[..20]);
    }
    let wide = format!("[{}]", vec!["1"; 3_000].join(","));
    assert_eq!(
        eval("$[?(@ in $..*)]", &wide),
        format!("the path visits more than {} values of the input", evaluate::VISITS_MAX)
    );
    let deep = "[".repeat(500) + &"]".repeat(500);
    assert!(eval(&format!("${}", "..[*]".repeat(12)), &deep).starts_with("the path visits more than"));
}

/// Two lists, or two long texts, are compared for each item: each comparison is cheap and all of them are not.
#[test]
fn comparisons_cost_what_they_look_at() {
    let numbers =
        |from: usize| (from..from + 500).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    let ends = |path: &str, input: &str| {
        let (path, input) = (Path::parse(path).unwrap(), value(input));
        match path.evaluate_within(&Scope::new(&input, &Value::Null), &mut 200_000) {
            Err(error) => assert!(matches!(error, PathError::TooMuchWork(_)), "{}: {error}", path.text()),
            Ok(_) => panic!("{} is free of charge", path.text()),
        }
    };
    let lists = format!(r#"{{"a":[1],"b":[{0}],"c":[{1}],"d":[{0}]}}"#, numbers(0), numbers(1_000));
    ends("$.a[?($.b anyof $.c)]", &lists);
    ends("$.a[?($.b noneof $.c)]", &lists);
    ends("$.a[?($.b subsetof $.d)]", &format!(r#"{{"a":[1,2,3,4],"b":[{0}],"d":[{0}]}}"#, numbers(0)));
    let many = format!(r#"{{"a":[{}],"c":[{}],"t":"{}"}}"#, numbers(0), numbers(1_000), "t".repeat(20_000));
    for filter in [
        "@ in $.c",
        "@ nin $.c",
        "$.c contains @",
        "$.c == $.c",
        "$.c.sum() > @",
        "$.t < $.t",
        "$.t == $.t",
        "$.t contains 'x'",
        "$.t size @",
        "$.t.length() == @",
    ] {
        ends(&format!("$.a[?({filter})]"), &many);
    }
    let empty = format!("[{}]", vec!["{}"; 500].join(","));
    ends(&format!("$[*][{}]", vec!["'k'"; 1_000].join(",")), &empty);
    // What lists of the usual length ask for is far from the bound.
    let usual = format!(r#"{{"a":[{}],"c":[{}]}}"#, vec!["7"; 100].join(","), numbers(0));
    assert_eq!(eval("$.a[?(@ in $.c)].length()", &usual), "100");
    assert_eq!(eval("$.c[?(@ in $.a)]", &usual), "[7]");
    assert_eq!(eval("$[?($.a subsetof $.c)].length()", &usual), "2");
}

/// Matching takes time in proportion to the text times the pattern, never more; both are bounded together.
#[test]
fn a_regular_expression_costs_what_its_size_and_the_text_s_length_say() {
    let long = format!("[\"{}\"]", "a".repeat(200_000));
    assert_eq!(eval("$[?(@ =~ /(a*)*(a|aa)+b/)]", &long), "[]");
    let large = "$[?(@ =~ /(a{1,20}){1,20}b/)]";
    assert_eq!(eval(large, r#"["aab"]"#), r#"["aab"]"#);
    assert!(eval(large, &long).starts_with("the path visits more than"));
    assert!(refused("$[?(@ =~ /(a{1,99}){1,99}/)]").reason.contains("cannot be used"));
    assert!(refused("$[?(@ =~ /((((a{1,999}){1,999}){1,999}){1,999})/)]").reason.contains("cannot be used"));
}

#[test]
fn a_path_has_a_bounded_number_of_segments() {
    let path = |len: usize| Path::parse(&format!("${}", ".a".repeat(len)));
    assert!(path(parse::SEGMENTS_MAX).is_ok());
    assert_eq!(path(parse::SEGMENTS_MAX + 1).unwrap_err().reason, "a path has at most 256 segments");
}

#[test]
fn presence_is_a_value_or_a_match() {
    let input = value(r#"{"a":null,"b":[]}"#);
    let present = |path: &str| Path::parse(path).unwrap().is_present(&Scope::new(&input, &Value::Null));
    for (path, expected) in [
        ("$.a", true),
        ("$.c", false),
        ("$.b", true),
        ("$.b[*]", false),
        ("$..a", true),
        ("$.b.length()", true),
    ] {
        assert_eq!(present(path), expected, "{path}");
    }
    assert!(!Path::parse("$x").unwrap().is_present(&Scope::new(&input, &Value::Null)));
}

#[test]
fn roots_and_definiteness_are_known() {
    let path = |text| Path::parse(text).unwrap();
    assert_eq!(path("$.a").root(), &Root::Input);
    assert_eq!(path("$$.a").root(), &Root::Context);
    assert_eq!(path("$état_1.a").root(), &Root::Variable("état_1".into()));
    assert!(path("$").is_root() && path("$$").is_root() && !path("$.a").is_root());
    for (text, definite) in
        [("$.a[0]", true), ("$.a[*]", false), ("$..a", false), ("$['a','b']", true), ("$.a[0,1]", false)]
    {
        assert_eq!(path(text).is_definite(), definite, "{text}");
    }
}

fn set(path: &str, root: &str, new: &str) -> String {
    match ReferencePath::parse(path).unwrap().set(&value(root), value(new)) {
        Ok(value) => value.to_json_string(),
        Err(error) => error.to_string(),
    }
}

/// The first three are the specification's examples of `ResultPath`.
#[test]
fn a_value_is_put_where_a_reference_path_points() {
    assert_eq!(
        set("$.sum", r#"{"title":"Numbers","numbers":[3,4]}"#, "7"),
        r#"{"title":"Numbers","numbers":[3,4],"sum":7}"#
    );
    assert_eq!(set("$.b.x", r#"{"a":[1,2,3,4]}"#, "6"), r#"{"a":[1,2,3,4],"b":{"x":6}}"#);
    assert_eq!(set("$.a[0]", r#"{"a":[1,2,3,4]}"#, "6"), r#"{"a":[6,2,3,4]}"#);
    assert_eq!(set("$", "{}", "6"), "6");
    assert_eq!(set("$.a", r#"{"a":1,"b":2}"#, "{}"), r#"{"a":{},"b":2}"#);
    assert_eq!(set("$['x y'][-1].z", r#"{"x y":[{},{}]}"#, "1"), r#"{"x y":[{},{"z":1}]}"#);
}

/// The specification: an input that the path does not apply to fails with `States.ResultPathMatchFailure`.
#[test]
fn a_value_that_cannot_be_put_fails_and_changes_nothing() {
    assert!(set("$.a", "\"text\"", "1").contains("a value of type string"));
    assert!(set("$.a.b", r#"{"a":5}"#, "1").contains("a value of type number"));
    assert!(set("$.a.b", r#"{"a":null}"#, "1").contains("a value of type null"));
    assert!(set("$.a[2]", r#"{"a":[1,2]}"#, "1").contains("an array of 2"));
    assert!(set("$.a[0]", "{}", "1").contains("nothing"));
    assert!(set("$[0]", "{}", "1").contains("a value of type object"));
    let error = ReferencePath::parse("$.a").unwrap().set(&Value::Null, Value::Null).unwrap_err();
    assert_eq!(EvalError::from(error).error, "States.ResultPathMatchFailure");
}

#[test]
fn setting_copies_only_what_lies_on_the_way() {
    let root = value(r#"{"kept":{"x":[1]},"changed":{"y":1,"also kept":[2]}}"#);
    let result = ReferencePath::parse("$.changed.y").unwrap().set(&root, Value::Null).unwrap();
    let shared = |left: Option<&Value>, right: Option<&Value>| match (left, right) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => Arc::ptr_eq(left, right),
        (Some(Value::Array(left)), Some(Value::Array(right))) => Arc::ptr_eq(left, right),
        _ => false,
    };
    assert!(shared(root.get("kept"), result.get("kept")));
    assert!(shared(root.pointer("/changed/also kept"), result.pointer("/changed/also kept")));
    assert!(!shared(root.get("changed"), result.get("changed")));
    assert_eq!(root.pointer("/changed/y"), Some(&1.into()));
}

#[test]
fn a_reference_path_names_one_place_without_operators() {
    for text in [
        "$.a[*]",
        "$..a",
        "$.a[0,1]",
        "$.a[1:]",
        "$['a','b']",
        "$[?(@.a)]",
        "$.a.length()",
        "$.a@b",
        "$.a,b",
        "$.a:b",
        "$.a?",
    ] {
        assert!(ReferencePath::parse(text).is_err(), "{text}");
    }
    for text in [
        "$",
        "$.a.b[0]",
        r"$.foo\@bar",
        "$['a@b']",
        "$.&Ж中",
        "$['store'][0]['book']",
        "$$.a",
        "$.ledgers[0][22][315].foo",
    ] {
        assert!(ReferencePath::parse(text).is_ok(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_path_or_an_error_with_a_place_in_it(
        text in "[$@.\\[\\]()?!*:,'\"a0-9&|=<>~/\\\\ \u{e9}-]{0,24}",
    ) {
        if let Err(error) = Path::parse(&format!("${text}")) {
            prop_assert!((1..=text.chars().count() + 2).contains(&error.column));
        }
    }

    #[test]
    fn what_is_put_is_found_again(keys in prop::collection::vec("[a-z .'\u{e9}]{1,4}", 1..5)) {
        let text: String = keys.iter().map(|key| format!("['{}']", key.replace('\'', "\\'"))).collect();
        let path = ReferencePath::parse(&format!("${text}")).unwrap();
        let root = path.set(&Value::empty_object(), 7.into()).unwrap();
        prop_assert_eq!(path.get(&Scope::new(&root, &Value::Null)), Some(&7.into()));
    }
}
