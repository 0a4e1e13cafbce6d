//! Choice rules, read while they are tested.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::path::{Missing, Roots, value};

/// Whether a rule holds; a path that names nothing is the state's failure, except for `IsPresent`.
pub fn holds(rule: &Json, roots: &Roots<'_>) -> Result<bool, Missing> {
    if let Some(rules) = rule["And"].as_array() {
        for rule in rules {
            if !holds(rule, roots)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if let Some(rules) = rule["Or"].as_array() {
        for rule in rules {
            if holds(rule, roots)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    if rule["Not"].is_object() {
        return Ok(!holds(&rule["Not"], roots)?);
    }
    let members = rule.as_object().expect("a rule is an object");
    let path = rule["Variable"].as_str().expect("a rule has a variable");
    let is_operator = |name: &&String| !["Variable", "Next", "Comment", "Assign"].contains(&name.as_str());
    let operator = members.keys().find(is_operator).expect("a rule has an operator");
    test(operator, path, &rule[operator], roots)
}

fn test(operator: &str, path: &str, operand: &Json, roots: &Roots<'_>) -> Result<bool, Missing> {
    let found = value(path, roots);
    if operator == "IsPresent" {
        return Ok(Some(found.is_ok()) == operand.as_bool());
    }
    let found = found?;
    let is = match operator {
        "IsNull" => Some(found.is_null()),
        "IsNumeric" => Some(found.is_number()),
        "IsString" => Some(found.is_string()),
        "IsBoolean" => Some(found.is_boolean()),
        "IsTimestamp" => Some(found.as_str().is_some_and(|text| instant(text).is_some())),
        _ => None,
    };
    if let Some(is) = is {
        return Ok(Some(is) == operand.as_bool());
    }
    if operator == "StringMatches" {
        let pattern: Vec<char> = operand.as_str().expect("a pattern").chars().collect();
        return Ok(found.as_str().is_some_and(|text| matches(&pattern, &text.chars().collect::<Vec<_>>())));
    }
    let (name, expected) = match operator.strip_suffix("Path") {
        Some(name) => (name, value(operand.as_str().expect("a path"), roots)?),
        None => (operator, operand.clone()),
    };
    Ok(order(name, &found, &expected).is_some_and(|order| ordered(name, order)))
}

/// How two values stand to each other, if both are of the operator's type.
fn order(operator: &str, left: &Json, right: &Json) -> Option<Ordering> {
    match operator {
        _ if operator.starts_with("String") => {
            Some(left.as_str()?.encode_utf16().cmp(right.as_str()?.encode_utf16()))
        }
        _ if operator.starts_with("Numeric") => left.as_f64()?.partial_cmp(&right.as_f64()?),
        _ if operator.starts_with("Boolean") => Some(left.as_bool()?.cmp(&right.as_bool()?)),
        _ => Some(instant(left.as_str()?)?.cmp(&instant(right.as_str()?)?)),
    }
}

fn ordered(operator: &str, order: Ordering) -> bool {
    match operator {
        _ if operator.ends_with("LessThanEquals") => order.is_le(),
        _ if operator.ends_with("GreaterThanEquals") => order.is_ge(),
        _ if operator.ends_with("LessThan") => order.is_lt(),
        _ if operator.ends_with("GreaterThan") => order.is_gt(),
        _ => order.is_eq(),
    }
}

/// Milliseconds since the day began, of the one day that the generators know: `2024-05-01T12:30:00Z`, with a fraction of
/// three digits or none, and an offset or none.
fn instant(text: &str) -> Option<i64> {
    let time = text.strip_prefix("2024-05-01T")?;
    let number = |from: usize, to: usize| time.get(from..to)?.parse::<i64>().ok();
    let (fraction, zone) = match time.get(8..9)? {
        "." => (number(9, 12)?, time.get(12..)?),
        _ => (0, time.get(8..)?),
    };
    let minutes = match zone {
        "Z" => 0,
        zone => {
            let (hours, minutes) = zone.strip_prefix('+')?.split_once(':')?;
            hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?
        }
    };
    Some((((number(0, 2)? * 60 + number(3, 5)? - minutes) * 60) + number(6, 8)?) * 1_000 + fraction)
}

/// `*` is any text, a backslash takes the next character as it is.
fn matches(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
        ['\\', literal, rest @ ..] | [literal, rest @ ..] => {
            text.first() == Some(literal) && matches(rest, &text[1..])
        }
    }
}
