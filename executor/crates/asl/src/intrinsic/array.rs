//! `States.Array`, `ArrayPartition`, `ArrayContains`, `ArrayRange`, `ArrayGetItem`, `ArrayLength`, `ArrayUnique`.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use smallvec::SmallVec;

use super::error::Failure;
use super::function::Arguments;
use crate::value::Value;

/// The most items that `States.ArrayRange` makes.
const RANGE_ITEMS_MAX: usize = 1_000;

/// The arguments in their order.
pub(super) fn array(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    given.work.items(given.values.len())?;
    Ok(Value::from(given.values.to_vec()))
}

/// Chunks of a size; the last one may be smaller.
pub(super) fn partition(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let items = given.array(0)?;
    let size = match given.rounded(1)? {
        size @ 1.. => usize::try_from(size).unwrap_or(usize::MAX),
        _ => {
            let (expected, found) = ("a positive integer", given.value(1).to_string());
            return Err(Failure::Value { position: 2, expected, found });
        }
    };
    given.work.walk(1, given.value(0))?;
    // A chunk is an item and an allocation, dearer than an item.
    given.work.items(items.len().saturating_add(items.len().div_ceil(size).saturating_mul(3)))?;
    Ok(items.chunks(size).map(|chunk| Value::from(chunk.to_vec())).collect::<Vec<_>>().into())
}

/// Whether an item is equal to the value.
pub(super) fn contains(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let items = given.array(0)?;
    given.work.walk(1, given.value(0))?;
    Ok(items.contains(given.value(1)).into())
}

/// From start to end, both included.
pub(super) fn range(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let (start, end, step) = (given.rounded(0)?, given.rounded(1)?, given.rounded(2)?);
    if step == 0 {
        return Err(Failure::Value {
            position: 3,
            expected: "an integer other than zero",
            found: "0".to_owned(),
        });
    }
    let (distance, stride) = (i128::from(end) - i128::from(start), i128::from(step));
    if distance.signum() * stride.signum() < 0 {
        return Ok(Value::array([]));
    }
    let count = (distance / stride).unsigned_abs() + 1;
    if usize::try_from(count).map_or(true, |count| count > RANGE_ITEMS_MAX) {
        return Err(Failure::Items { limit: RANGE_ITEMS_MAX, found: count });
    }
    given.work.items(RANGE_ITEMS_MAX)?;
    // No item lies beyond `end`, so the sum overflows only where nothing follows any more.
    let items = std::iter::successors(Some(start), |last| last.checked_add(step));
    let count = usize::try_from(count).unwrap_or(RANGE_ITEMS_MAX);
    Ok(Value::array(items.take(count).map(Value::from)))
}

/// The item at an index from 0.
pub(super) fn get_item(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let items = given.array(0)?;
    let index = given.number(1)?;
    let Some(index) = index.as_i64() else {
        return Err(Failure::Value { position: 2, expected: "an integer", found: index.to_string() });
    };
    let item = usize::try_from(index).ok().and_then(|at| items.get(at));
    item.cloned().ok_or(Failure::Index { index, length: items.len() })
}

/// How many items.
pub(super) fn length(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    given.array(0).map(|items| items.len().into())
}

/// The items without those that are equal to an earlier one.
pub(super) fn unique(given: &mut Arguments<'_>) -> Result<Value, Failure> {
    let items = given.array(0)?;
    given.work.walk(1, given.value(0))?;
    given.work.items(items.len().saturating_mul(3))?;
    // By hash, because comparing each with each is quadratic. Seeded, so that no input can make it so again; the result
    // does not depend on the seed.
    let state = foldhash::fast::RandomState::default();
    let mut places: HashMap<u64, SmallVec<[usize; 1]>, foldhash::fast::RandomState> = HashMap::default();
    let mut kept: Vec<Value> = Vec::new();
    for item in items {
        let same_hash = places.entry(hash(item, &state)).or_default();
        if same_hash.iter().all(|at| kept[*at] != *item) {
            same_hash.push(kept.len());
            kept.push(item.clone());
        }
    }
    Ok(kept.into())
}

/// Equal values have equal hashes: numbers by their value, objects without regard to the order of their members.
/// Recursion is as deep as the value, which has been measured.
fn hash(value: &Value, state: &foldhash::fast::RandomState) -> u64 {
    let mut hasher = state.build_hasher();
    match value {
        Value::Null => 0_u8.hash(&mut hasher),
        Value::Bool(truth) => (1_u8, truth).hash(&mut hasher),
        // Adding zero makes -0.0 and 0.0 one.
        Value::Number(number) => (2_u8, (number.as_f64() + 0.0).to_bits()).hash(&mut hasher),
        Value::String(text) => (3_u8, text.as_str()).hash(&mut hasher),
        Value::Array(items) => {
            (4_u8, items.len()).hash(&mut hasher);
            items.iter().for_each(|item| hash(item, state).hash(&mut hasher));
        }
        Value::Object(members) => {
            let member = |(key, value): (&crate::value::Str, &Value)| {
                state.hash_one((key.as_str(), hash(value, state)))
            };
            let sum = members.iter().map(member).fold(0_u64, u64::wrapping_add);
            (5_u8, members.len(), sum).hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{any_value, evaluate, fails, gives, value};
    use super::*;

    #[test]
    fn an_array_holds_its_arguments_in_order() {
        assert_eq!(gives("States.Array()", "{}"), "[]");
        assert_eq!(
            gives("States.Array('Foo', 2020, $.json, null)", r#"{"json":{"a":1}}"#),
            r#"["Foo",2020,{"a":1},null]"#
        );
    }

    /// The first is the developer guide's example; the last chunk is what is left.
    #[test]
    fn an_array_is_partitioned_into_chunks() {
        let partition =
            |size: &str| gives(&format!("States.ArrayPartition($, {size})"), "[1,2,3,4,5,6,7,8,9]");
        assert_eq!(partition("4"), "[[1,2,3,4],[5,6,7,8],[9]]");
        assert_eq!(partition("9"), "[[1,2,3,4,5,6,7,8,9]]");
        assert_eq!(partition("9223372036854775807"), "[[1,2,3,4,5,6,7,8,9]]");
        assert_eq!(gives("States.ArrayPartition($, 2)", "[]"), "[]");
        assert_eq!(partition("3.5"), partition("4"));
        assert_eq!(partition("3.4"), partition("3"));
    }

    #[test]
    fn a_chunk_has_at_least_one_item() {
        for size in ["0", "0.4", "-1"] {
            let call = format!("States.ArrayPartition($, {size})");
            assert_eq!(
                fails(&call, "[]"),
                format!("Argument 2 must be a positive integer, but it is {size}")
            );
        }
        assert_eq!(
            fails("States.ArrayPartition($, '2')", "[]"),
            "Argument 2 must be a number, but it is of type string"
        );
        assert_eq!(
            fails("States.ArrayPartition($, 2)", "{}"),
            "Argument 1 must be an array, but it is of type object"
        );
    }

    #[test]
    fn an_item_is_contained_if_it_is_equal_at_any_depth() {
        let contains =
            |item: &str| gives(&format!("States.ArrayContains($, {item})"), r#"[1,"a",[2,{"b":null}],2.0]"#);
        assert_eq!(contains("1"), "true");
        assert_eq!(contains("2"), "true");
        assert_eq!(contains("'a'"), "true");
        assert_eq!(contains("$[2]"), "true");
        assert_eq!(contains("States.Array(2)"), "false");
        assert_eq!(contains("null"), "false");
        assert_eq!(contains("'1'"), "false");
        assert_eq!(
            fails("States.ArrayContains('abc', 'a')", "{}"),
            "Argument 1 must be an array, but it is of type string"
        );
    }

    /// The first is the developer guide's example.
    #[test]
    fn a_range_includes_both_ends() {
        assert_eq!(gives("States.ArrayRange(1, 9, 2)", "{}"), "[1,3,5,7,9]");
        assert_eq!(gives("States.ArrayRange(0, 10, 3)", "{}"), "[0,3,6,9]");
        assert_eq!(gives("States.ArrayRange(3, -3, -2)", "{}"), "[3,1,-1,-3]");
        assert_eq!(gives("States.ArrayRange(5, 5, 1)", "{}"), "[5]");
        assert_eq!(gives("States.ArrayRange(1, 9, -1)", "{}"), "[]");
        assert_eq!(gives("States.ArrayRange(9, 1, 1)", "{}"), "[]");
        assert_eq!(gives("States.ArrayRange(0.5, 2.5, 0.6)", "{}"), "[1,2,3]");
    }

    #[test]
    fn a_range_has_at_most_a_thousand_items_and_a_step() {
        let length = |end: &str| format!("States.ArrayLength(States.ArrayRange(1, {end}, 1))");
        assert_eq!(gives(&length("1000"), "{}"), "1000");
        assert_eq!(fails(&length("1001"), "{}"), "The array would have 1001 items; at most 1000 are allowed");
        assert_eq!(
            fails("States.ArrayRange(-9223372036854775808, 9223372036854775807, 1)", "{}"),
            "The array would have 18446744073709551616 items; at most 1000 are allowed"
        );
        assert_eq!(
            gives("States.ArrayRange(9223372036854775806, 9223372036854775807, 9)", "{}"),
            "[9223372036854775806]"
        );
        for step in ["0", "0.4", "-0.5"] {
            assert_eq!(
                fails(&format!("States.ArrayRange(1, 2, {step})"), "{}"),
                "Argument 3 must be an integer other than zero, but it is 0"
            );
        }
        assert_eq!(
            fails("States.ArrayRange(1, 1e300, 1)", "{}"),
            "Argument 2 must be an integer, but it is 1.0E300"
        );
    }

    #[test]
    fn an_item_is_got_by_its_index_from_zero() {
        assert_eq!(gives("States.ArrayGetItem($, 0)", "[[1],2]"), "[1]");
        assert_eq!(gives("States.ArrayGetItem($, 1.0)", "[[1],2]"), "2");
        for (index, length) in [("2", 2), ("-1", 2)] {
            assert_eq!(
                fails(&format!("States.ArrayGetItem($, {index})"), "[[1],2]"),
                format!("The index {index} is out of bounds for an array of length {length}")
            );
        }
        assert_eq!(
            fails("States.ArrayGetItem($, 0.5)", "[1]"),
            "Argument 2 must be an integer, but it is 0.5"
        );
        assert_eq!(
            fails("States.ArrayGetItem($, null)", "[1]"),
            "Argument 2 must be a number, but it is of type null"
        );
    }

    #[test]
    fn the_length_counts_items() {
        assert_eq!(gives("States.ArrayLength($)", "[]"), "0");
        assert_eq!(gives("States.ArrayLength($)", "[1,[2,3]]"), "2");
        assert_eq!(
            fails("States.ArrayLength($)", "\"ab\""),
            "Argument 1 must be an array, but it is of type string"
        );
    }

    #[test]
    fn of_equal_items_the_first_is_kept_in_its_place() {
        assert_eq!(gives("States.ArrayUnique($)", "[1,2,3,3,3,3,3,3,4]"), "[1,2,3,4]");
        assert_eq!(
            gives(
                "States.ArrayUnique($)",
                r#"[null,true,null,"a",1,false,1.0,"1",[],[null],[],{"a":1,"b":2},{"b":2,"a":1},{"a":1},"a",-0.0,0]"#
            ),
            r#"[null,true,"a",1,false,"1",[],[null],{"a":1,"b":2},{"a":1},-0.0]"#
        );
        assert_eq!(
            fails("States.ArrayUnique($)", "{}"),
            "Argument 1 must be an array, but it is of type object"
        );
    }

    #[test]
    fn many_distinct_items_are_no_trouble() {
        let items: Vec<String> = (0..30_000).map(|number| (number % 20_000).to_string()).collect();
        let input = format!("[{}]", items.join(","));
        assert_eq!(gives("States.ArrayLength(States.ArrayUnique($))", &input), "20000");
    }

    proptest! {
        #[test]
        fn the_chunks_of_an_array_make_the_array(
            items in prop::collection::vec(any_value(), 0..20),
            size in 1_i64..25,
        ) {
            let input = Value::object([("items", Value::from(items.clone())), ("size", Value::from(size))]);
            let chunks = evaluate("States.ArrayPartition($.items, $.size)", &input).unwrap();
            let chunks = chunks.as_array().unwrap();
            let lengths: Vec<usize> = chunks.iter().map(|chunk| chunk.as_array().unwrap().len()).collect();
            let size = usize::try_from(size).unwrap();
            prop_assert!(lengths.iter().rev().skip(1).all(|length| *length == size));
            prop_assert!(lengths.iter().all(|length| (1..=size).contains(length)));
            let joined: Vec<Value> = chunks.iter().flat_map(|chunk| chunk.as_array().unwrap().to_vec()).collect();
            prop_assert_eq!(joined, items);
        }

        /// The rule, quadratic and plain.
        #[test]
        fn unique_items_are_those_that_no_earlier_item_equals(items in prop::collection::vec(any_value(), 0..20)) {
            let mut expected: Vec<Value> = Vec::new();
            for item in &items {
                if !expected.contains(item) {
                    expected.push(item.clone());
                }
            }
            prop_assert_eq!(evaluate("States.ArrayUnique($)", &items.into()).unwrap(), Value::from(expected));
        }

        #[test]
        fn a_range_is_an_arithmetic_sequence(
            start in -500_i64..500,
            count in 1_i64..400,
            step in -9_i64..9,
            over in 0_i64..9,
        ) {
            prop_assume!(step != 0 && over < step.abs());
            let end = start + (count - 1) * step + over * step.signum();
            let range = evaluate(&format!("States.ArrayRange({start}, {end}, {step})"), &value("{}")).unwrap();
            prop_assert_eq!(range, Value::array((0..count).map(|at| Value::from(start + at * step))));
        }
    }
}
