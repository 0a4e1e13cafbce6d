//! Payload templates, and the fields that data goes through around a state's work.

use std::hint::black_box;

use asl::template::Template;
use criterion::Criterion;

use super::support::{FUNCTION, ORDER, one_state, parsed, run, scope, succeeds, value};

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("template");
    let order = value(ORDER);
    let scope = scope(&order);
    let templates = [
        ("constant", r#"{"kind":"order","list":[1,2,3]}"#),
        (
            "four paths",
            r#"{"id.$":"$.order.id","name.$":"$.order.customer.name","total.$":"$.total","kind":"order",
                "city.$":"$.order.customer.city"}"#,
        ),
        ("an intrinsic function", r#"{"text.$":"States.Format('{}', $.order.id)"}"#),
        ("nested", r#"{"a":{"b":{"c":[{"id.$":"$.order.id"}]}}}"#),
    ];
    for (name, text) in templates {
        let template = Template::compile(&value(text)).expect("a template");
        template.evaluate(&scope).expect("paths that lead somewhere");
        group.bench_function(name, |b| b.iter(|| black_box(&template).evaluate(&scope)));
    }
    group.finish();
    fields(criterion);
}

/// Each field alone, in a Task whose function gives back what it gets.
fn fields(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("field");
    let input = parsed(ORDER);
    let fields = [
        ("none", ""),
        ("InputPath", r#""InputPath":"$.order","#),
        ("Parameters", r#""Parameters":{"id.$":"$.order.id"},"#),
        ("ResultSelector", r#""ResultSelector":{"id.$":"$.order.id"},"#),
        ("ResultPath", r#""ResultPath":"$.result","#),
        ("OutputPath", r#""OutputPath":"$.order","#),
        (
            "all",
            r#""InputPath":"$.order","Parameters":{"id.$":"$.id"},"ResultSelector":{"id.$":"$.id"},
                "ResultPath":"$.result","OutputPath":"$.result","#,
        ),
    ];
    for (name, field) in fields {
        let machine = one_state(&format!(r#"{{"Type":"Task","Resource":"{FUNCTION}",{field}"End":true}}"#));
        succeeds(&machine, &input);
        group.bench_function(name, |b| b.iter(|| run(&machine, input.clone())));
    }
    group.finish();
}
