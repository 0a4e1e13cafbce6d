//! From a definition's text to a program: parsing, validation and compilation are one pass, with its findings.

use std::hint::black_box;

use asl::{Dialect, Program};
use bench::profile::Profile;
use criterion::{Criterion, Throughput};

/// States in a row that each have a template, a path and a retrier.
fn row(states: usize) -> String {
    let state = |at: usize| {
        let next =
            if at + 1 < states { format!(r#""Next":"S{}""#, at + 1) } else { r#""End":true"#.to_owned() };
        format!(
            r#""S{at}":{{"Type":"Task","Resource":"arn:aws:lambda:local:000000000000:function:f",
                "Parameters":{{"id.$":"$.order.id","text.$":"States.Format('{{}}', $.order.id)"}},"ResultPath":"$.r{at}",
                "Retry":[{{"ErrorEquals":["States.ALL"],"MaxAttempts":3}}],{next}}}"#
        )
    };
    let states: Vec<String> = (0..states).map(state).collect();
    format!(r#"{{"StartAt":"S0","States":{{{}}}}}"#, states.join(","))
}

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("definition");
    let jsonata = r#"{"StartAt":"A","QueryLanguage":"JSONata","States":{"A":{"Type":"Pass","End":true,
        "Assign":{"n":"{% $count($states.input.items) %}"},
        "Output":{"id":"{% $states.input.order.id %}","large":"{% $states.input.items[price > 15].sku %}"}}}}"#;
    let good = [
        ("one Pass", Profile::Pass.definition()),
        ("five states", Profile::FiveState.definition()),
        ("100 Tasks", row(100)),
        ("in JSONata", jsonata.to_owned()),
    ];
    for (name, text) in good {
        Program::compile(text.as_bytes(), Dialect::Asl).expect("a valid definition");
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| b.iter(|| Program::compile(black_box(text.as_bytes()), Dialect::Asl)));
    }
    let broken = row(100).replace(r#""Next":"S50""#, r#""Nxt":"S50""#);
    Program::compile(broken.as_bytes(), Dialect::Asl).expect_err("a field that there is not");
    group.throughput(Throughput::Bytes(broken.len() as u64));
    group.bench_function("100 Tasks, with a mistake", |b| {
        b.iter(|| Program::compile(black_box(broken.as_bytes()), Dialect::Asl));
    });
    group.finish();
}
