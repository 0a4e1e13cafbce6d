//! The intrinsic functions of JSONPath, each by itself, and nested.

use std::hint::black_box;

use asl::intrinsic::Intrinsic;
use criterion::Criterion;

use super::support::{ORDER, scope, value};

const CALLS: [(&str, &str); 20] = [
    ("Format", "States.Format('{} of {}', $.order.id, $.order.customer.name)"),
    ("Array", "States.Array($.order.id, $.total, 'x')"),
    ("ArrayPartition", "States.ArrayPartition($.items, 2)"),
    ("ArrayContains", "States.ArrayContains($.tags, 'b')"),
    ("ArrayRange", "States.ArrayRange(1, 9, 2)"),
    ("ArrayGetItem", "States.ArrayGetItem($.items, 1)"),
    ("ArrayLength", "States.ArrayLength($.items)"),
    ("ArrayUnique", "States.ArrayUnique($.tags)"),
    ("Base64Encode", "States.Base64Encode($.order.customer.name)"),
    ("Base64Decode", "States.Base64Decode('QW5uIGluIFR1cmlu')"),
    ("Hash SHA-256", "States.Hash($.order.customer.name, 'SHA-256')"),
    ("Hash MD5", "States.Hash($.order.customer.name, 'MD5')"),
    ("JsonMerge", "States.JsonMerge($.order, $.items[0], false)"),
    ("StringToJson", r#"States.StringToJson('{"a":[1,2]}')"#),
    ("JsonToString", "States.JsonToString($.order)"),
    ("MathRandom", "States.MathRandom(1, 100)"),
    ("MathAdd", "States.MathAdd($.count, -1)"),
    ("StringSplit", "States.StringSplit($.order.placed, '-T:')"),
    ("UUID", "States.UUID()"),
    (
        "nested",
        "States.Format('{}', States.JsonToString(States.ArrayPartition(States.ArrayUnique($.tags), 1)))",
    ),
];

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("intrinsic");
    let order = value(ORDER);
    let scope = scope(&order);
    for (name, text) in CALLS {
        let intrinsic = Intrinsic::parse(text).expect("an intrinsic function");
        intrinsic.evaluate(&scope).expect("arguments that it takes");
        group.bench_function(name, |b| b.iter(|| black_box(&intrinsic).evaluate(&scope)));
    }
    group.bench_function("parse", |b| b.iter(|| Intrinsic::parse(black_box(CALLS[0].1))));
    group.finish();
}
