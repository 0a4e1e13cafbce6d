//! Choice: rules in JSONPath, conditions in JSONata.

use std::hint::black_box;

use asl::condition::Condition;
use criterion::Criterion;

use super::support::{ORDER, machine, parsed, run, scope, succeeds, value};

const RULES: [(&str, &str); 10] = [
    ("NumericGreaterThan", r#"{"Variable":"$.total","NumericGreaterThan":10}"#),
    ("NumericEqualsPath", r#"{"Variable":"$.total","NumericEqualsPath":"$.count"}"#),
    ("StringEquals", r#"{"Variable":"$.order.id","StringEquals":"o-1"}"#),
    ("StringMatches", r#"{"Variable":"$.order.placed","StringMatches":"2026-*T*Z"}"#),
    ("BooleanEquals", r#"{"Variable":"$.express","BooleanEquals":true}"#),
    ("TimestampLessThan", r#"{"Variable":"$.order.placed","TimestampLessThan":"2026-02-01T00:00:00Z"}"#),
    ("IsPresent", r#"{"Variable":"$.order.customer.name","IsPresent":true}"#),
    ("IsTimestamp", r#"{"Variable":"$.order.placed","IsTimestamp":true}"#),
    (
        "And of three",
        r#"{"And":[{"Variable":"$.total","NumericGreaterThan":10},{"Variable":"$.express","BooleanEquals":true},
            {"Variable":"$.order.id","StringEquals":"o-1"}]}"#,
    ),
    ("Not", r#"{"Not":{"Variable":"$.total","NumericGreaterThan":100}}"#),
];

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("choice");
    let order = value(ORDER);
    let scope = scope(&order);
    for (name, text) in RULES {
        let rule = Condition::compile(&value(text)).expect("a rule");
        rule.evaluate(&scope).expect("a truth value");
        group.bench_function(name, |b| b.iter(|| black_box(&rule).evaluate(&scope)));
    }
    let input = parsed(ORDER);
    let states = [
        ("state, JSONPath", "JSONPath", r#"{"Variable":"$.total","NumericGreaterThan":10,"Next":"End"}"#),
        ("state, JSONata", "JSONata", r#"{"Condition":"{% $states.input.total > 10 %}","Next":"End"}"#),
    ];
    for (name, language, rule) in states {
        let machine = machine(&format!(
            r#"{{"StartAt":"C","QueryLanguage":"{language}","States":{{
                "C":{{"Type":"Choice","Choices":[{rule}],"Default":"No"}},
                "No":{{"Type":"Fail"}},"End":{{"Type":"Succeed"}}}}}}"#
        ));
        succeeds(&machine, &input);
        group.bench_function(name, |b| b.iter(|| run(&machine, input.clone())));
    }
    group.finish();
}
