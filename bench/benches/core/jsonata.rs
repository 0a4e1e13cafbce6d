//! JSONata: expressions by what they do.

use std::hint::black_box;

use asl::jsonata::Expression;
use criterion::Criterion;

use super::support::{ORDER, one_state, parsed, run, scope, succeeds, value};

const EXPRESSIONS: [(&str, &str); 16] = [
    ("plain path", "$states.input.order.customer.name"),
    ("path over items", "$states.input.items.price"),
    ("predicate", "$states.input.items[price > 15].sku"),
    ("arithmetic", "$states.input.total * 2 + 1"),
    ("comparison", "$states.input.total > 10 and $states.input.express"),
    ("conditional", "$states.input.total > 10 ? 'large' : 'small'"),
    ("concatenation", "$states.input.order.id & ' of ' & $states.input.order.customer.name"),
    ("object construction", "{'id': $states.input.order.id, 'total': $states.input.total}"),
    ("grouping", "$states.input.items{sku: price}"),
    ("$map", "$map($states.input.items, function($item) { $item.price * $item.count })"),
    ("$filter", "$filter($states.input.items, function($item) { $item.price > 15 })"),
    ("$reduce", "$reduce($states.input.items.price, function($sum, $price) { $sum + $price }, 0)"),
    ("$sum", "$sum($states.input.items.price)"),
    ("$merge", "$merge([$states.input.order, {'total': 1}])"),
    ("$partition", "$partition($states.input.items, 2)"),
    ("$hash", "$hash($states.input.order.id, 'SHA-256')"),
];

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("jsonata");
    let order = value(ORDER);
    let scope = scope(&order);
    for (name, text) in EXPRESSIONS {
        let expression = Expression::compile(text).expect("an expression");
        expression.evaluate(&scope).expect("a value");
        group.bench_function(name, |b| b.iter(|| black_box(&expression).evaluate(&scope)));
    }
    group.bench_function("compile", |b| b.iter(|| Expression::compile(black_box(EXPRESSIONS[2].1))));
    let input = parsed(ORDER);
    let state = r#"{"Type":"Pass","QueryLanguage":"JSONata","End":true,
        "Output":{"id":"{% $states.input.order.id %}","city":"{% $states.input.order.customer.city %}"}}"#;
    let machine = one_state(state);
    succeeds(&machine, &input);
    group.bench_function("state with Output", |b| b.iter(|| run(&machine, input.clone())));
    group.finish();
}
