//! Map: iterations of an inline one, children of a distributed one, items and batches. Figures are for each item: with the
//! input a tree already, so that they are those of the iteration alone.

use std::hint::black_box;
use std::sync::Arc;

use asl::Value;
use asl::execution::Machine;
use asl::map::Batcher;
use bench::profile::Profile;
use criterion::{Criterion, Throughput};

use super::executions::input;
use super::support::{machine, one_state, parsed, run, succeeds};

const ITEMS: usize = 100;

const SELECTOR: &str = r#""ItemSelector":{"index.$":"$$.Map.Item.Index","sku.$":"$$.Map.Item.Value.sku"},"#;

fn map(mode: &str, fields: &str) -> Arc<Machine> {
    one_state(&format!(
        r#"{{"Type":"Map","ItemsPath":"$.items",{fields}"ItemProcessor":{{"ProcessorConfig":{{{mode}}},
            "StartAt":"P","States":{{"P":{{"Type":"Pass","End":true}}}}}},"End":true}}"#
    ))
}

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("map");
    group.throughput(Throughput::Elements(ITEMS as u64));
    let text = input(Profile::Map100, 200);
    let text = std::str::from_utf8(&text).expect("UTF-8");
    let input = parsed(text);
    let mut bench = |name: &str, machine: &Arc<Machine>| {
        succeeds(machine, &input);
        group.bench_function(name, |b| b.iter(|| run(machine, input.clone())));
    };
    let inline = r#""Mode":"INLINE""#;
    bench("inline", &map(inline, ""));
    bench("inline, one at a time", &map(inline, r#""MaxConcurrency":1,"#));
    bench("inline, with a selector", &map(inline, SELECTOR));
    bench(
        "inline, in JSONata",
        &machine(
            r#"{"StartAt":"S","QueryLanguage":"JSONata","States":{"S":{"Type":"Map","End":true,
                "Items":"{% $states.input.items %}",
                "ItemProcessor":{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}}}}"#,
        ),
    );
    let distributed = r#""Mode":"DISTRIBUTED","ExecutionType":"EXPRESS""#;
    bench("distributed", &map(distributed, ""));
    bench("distributed, with a selector", &map(distributed, SELECTOR));
    bench("distributed, in batches of 10", &map(distributed, r#""ItemBatcher":{"MaxItemsPerBatch":10},"#));
    group.bench_function("batcher alone", |b| {
        let items = input.value().get("items").and_then(Value::as_array).expect("items");
        b.iter(|| {
            let mut batcher = Batcher::new(Some(10), None, None);
            let full = items.iter().filter_map(|item| batcher.push(item.clone()).ok().flatten()).count();
            (full, black_box(batcher.finish()))
        });
    });
    group.finish();
}
