//! JSONPath: definite paths, all other kinds, the context object, variables, and reference paths that are set.

use std::hint::black_box;

use asl::path::{Path, ReferencePath, Scope};
use asl::variables::Variables;
use asl::{Str, Value};
use criterion::{BenchmarkId, Criterion};
use jsonpath_rust::JsonPath;

use super::support::{ORDER, one_state, parsed, run, scope, succeeds, value};

/// Kinds of paths by the names of their benches.
const KINDS: [(&str, &str); 10] = [
    ("definite, one key", "$.total"),
    ("definite", "$.order.customer.name"),
    ("definite, with an index", "$.items[1].sku"),
    ("wildcard", "$.items[*].price"),
    ("slice", "$.items[1:3]"),
    ("union", "$.items[0,2]"),
    ("recursive descent", "$..price"),
    ("filter", "$.items[?(@.price > 15)].sku"),
    ("filter of two conditions", "$.items[?(@.price > 15 && @.count < 4)].sku"),
    ("function", "$.items.length()"),
];

pub fn benches(criterion: &mut Criterion) {
    kinds(criterion);
    roots(criterion);
    setting(criterion);
    beside_a_library(criterion);
}

fn kinds(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("path");
    let order = value(ORDER);
    let scope = scope(&order);
    for (name, text) in KINDS {
        let path = Path::parse(text).expect("a path");
        path.evaluate(&scope).expect("a match");
        group.bench_function(name, |b| b.iter(|| black_box(&path).evaluate(&scope)));
    }
    group.bench_function("parse, definite", |b| {
        b.iter(|| Path::parse(black_box("$.order.customer.name")));
    });
    group.bench_function("parse, filter", |b| {
        b.iter(|| Path::parse(black_box("$.items[?(@.price > 15)].sku")));
    });
    group.finish();
}

fn roots(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("path");
    let order = value(ORDER);
    let mut variables = Variables::default();
    variables.assign(Str::from("order"), order.clone());
    let scope = Scope { variables: Some(&variables), ..Scope::new(&order, &Value::Null) };
    let path = Path::parse("$order.total").expect("a path");
    path.evaluate(&scope).expect("a match");
    group.bench_function("variable", |b| b.iter(|| black_box(&path).evaluate(&scope)));
    // The context object is built when a state first looks at it, so it is measured with the state around it.
    let input = parsed(ORDER);
    for (name, path) in [("state with a path", "$.total"), ("state with a context path", "$$.State.Name")] {
        let machine = one_state(&format!(r#"{{"Type":"Pass","Parameters":{{"it.$":"{path}"}},"End":true}}"#));
        succeeds(&machine, &input);
        group.bench_function(name, |b| b.iter(|| run(&machine, input.clone())));
    }
    group.finish();
}

fn setting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reference path");
    let order = value(ORDER);
    for (name, text) in
        [("set a member", "$.result"), ("set below", "$.order.result"), ("make the way", "$.a.b.c")]
    {
        let path = ReferencePath::parse(text).expect("a reference path");
        path.set(&order, Value::Null).expect("a place");
        group.bench_function(name, |b| b.iter(|| black_box(&path).set(&order, Value::Null)));
    }
    group.finish();
}

fn beside_a_library(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("path, beside jsonpath-rust");
    let text = r#"{"a":{"b":{"c":7}},"items":[{"price":1},{"price":2},{"price":3},{"price":4}]}"#;
    let ours = value(text);
    let theirs: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let scope = scope(&ours);
    for path in ["$.a.b.c", "$.items[*].price"] {
        let compiled = Path::parse(path).expect("a path");
        group.bench_function(BenchmarkId::new("ours", path), |b| {
            b.iter(|| black_box(&compiled).evaluate(&scope));
        });
        group.bench_function(BenchmarkId::new("jsonpath-rust, parsed each time", path), |b| {
            b.iter(|| theirs.query(black_box(path)).map(|found| found.len()));
        });
    }
    group.finish();
}
