//! Times the data plane: checking, parsing, paths, templates. Each figure is the best of several rounds.
//!
//! `cargo run -p asl --profile fast --example data_plane`

use std::hint::black_box;
use std::time::Instant;

use asl::condition::Condition;
use asl::path::{Path, ReferencePath, Scope};
use asl::template::Template;
use asl::value::{JsonLimits, Payload, Value};
use bytes::Bytes;

const ROUNDS: usize = 15;

fn time<T>(name: &str, iterations: u32, mut work: impl FnMut() -> T) {
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..iterations {
                black_box(work());
            }
            start.elapsed() / iterations
        })
        .min()
        .unwrap_or_default();
    let nanos = best.as_nanos();
    println!("{name:<44} {nanos:>9} ns");
}

/// An order with this many items, about 62 bytes each.
fn order(items: usize) -> String {
    let items: Vec<String> = (0..items)
        .map(|at| {
            format!(r#"{{"sku":"A-{at:04}","title":"A thing, number {at}","price":{at}.25,"count":{at}}}"#)
        })
        .collect();
    let items = items.join(",");
    format!(
        r#"{{"order":{{"id":"o-1","customer":{{"name":"Ann","city":"Turin"}}}},"total":12.5,"items":[{items}]}}"#
    )
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for items in [2, 16, 250] {
        let text = Bytes::from(order(items));
        let len = text.len();
        time(&format!("check {len} bytes"), 2_000, || Payload::check(text.clone(), JsonLimits::PAYLOAD));
        time(&format!("parse {len} bytes, drop"), 1_000, || Value::parse(&text, JsonLimits::PAYLOAD));
        let value = Value::parse(&text, JsonLimits::PAYLOAD)?;
        let mut out = Vec::with_capacity(len);
        time(&format!("write {len} bytes"), 1_000, || {
            out.clear();
            value.write_json(&mut out);
        });
        time(&format!("json_len of {len} bytes"), 1_000, || value.json_len());
    }
    let input = Value::parse(order(3).as_bytes(), JsonLimits::PAYLOAD)?;
    let scope = Scope::new(&input, &Value::Null);
    let path = Path::parse("$.order.customer.name")?;
    time("$.order.customer.name, by reference", 100_000, || black_box(&path).evaluate_ref(&scope).is_some());
    time("$.order.customer.name, cloned", 100_000, || black_box(&path).evaluate(&scope));
    let path = Path::parse("$.items[*].price")?;
    time("$.items[*].price, 3 items", 20_000, || path.evaluate(&scope));
    let path = Path::parse("$.items[?(@.price > 1)].sku")?;
    time("$.items[?(@.price > 1)].sku, 3 items", 20_000, || path.evaluate(&scope));
    let template = br#"{"id.$":"$.order.id","name.$":"$.order.customer.name","total.$":"$.total",
        "city.$":"$.order.customer.city","kind":"order"}"#;
    let template = Template::compile(&Value::parse(template, JsonLimits::PAYLOAD)?)
        .map_err(|errors| errors[0].clone())?;
    time("template of 5 fields, 4 paths", 50_000, || template.evaluate(&scope));
    let rule = br#"{"Variable":"$.total","NumericGreaterThan":10}"#;
    let rule =
        Condition::compile(&Value::parse(rule, JsonLimits::PAYLOAD)?).map_err(|errors| errors[0].clone())?;
    time("choice rule, one comparison", 100_000, || black_box(&rule).evaluate(&scope));
    let place = ReferencePath::parse("$.order.result")?;
    time("ResultPath $.order.result", 50_000, || place.set(&input, Value::Null));
    Ok(())
}
