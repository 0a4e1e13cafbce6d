//! Paths, read while they are followed: no plan, no sharing, every node copied.
//!
//! Jayway's dialect as the specification refers to it, as far as the generators write it: names, indexes, slices, unions,
//! wildcards, descent, filters of one comparison or several with `&&` and `||`, functions at the end.

use std::cell::Cell;

use serde_json::{Map, Value as Json};

/// What `$`, `$$` and `$name` mean.
pub struct Roots<'a> {
    pub input: &'a Json,
    pub context: &'a Json,
    pub variables: &'a Map<String, Json>,
    /// Set where a result depends on the order of an object's members, which this implementation does not keep.
    pub unordered: &'a Cell<bool>,
}

/// A definite path names nothing, or a function cannot take what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing;

#[derive(Debug, Clone)]
enum Segment {
    Names(Vec<String>),
    Indexes(Vec<i64>),
    Slice(Option<i64>, Option<i64>),
    All,
    Descend,
    Filter(String),
    Function(String, String),
}

/// The value of a definite path, the array of all matches of any other.
pub fn value(text: &str, roots: &Roots<'_>) -> Result<Json, Missing> {
    let (root, rest) = root(text, roots)?;
    value_from(&segments(rest), root, root, roots)
}

fn root<'a, 't>(text: &'t str, roots: &Roots<'a>) -> Result<(&'a Json, &'t str), Missing> {
    if let Some(rest) = text.strip_prefix("$$") {
        return Ok((roots.context, rest));
    }
    let rest = text.strip_prefix('$').expect("a path starts with a dollar");
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    match &rest[..end] {
        "" => Ok((roots.input, rest)),
        name => Ok((roots.variables.get(name).ok_or(Missing)?, &rest[end..])),
    }
}

fn value_from(path: &[Segment], from: &Json, root: &Json, roots: &Roots<'_>) -> Result<Json, Missing> {
    if let Some((Segment::Function(name, argument), before)) = path.split_last() {
        return function(name, argument, &value_from(before, from, root, roots)?);
    }
    let found = select(path, from, root, roots);
    if is_definite(path) { found.into_iter().next().ok_or(Missing) } else { Ok(Json::Array(found)) }
}

/// One value at most: names and indexes one by one; several names at the end make one object.
fn is_definite(path: &[Segment]) -> bool {
    let single = |segment: &Segment| match segment {
        Segment::Names(names) => names.len() == 1,
        Segment::Indexes(indexes) => indexes.len() == 1,
        _ => false,
    };
    match path.split_last() {
        None => true,
        Some((last, before)) => {
            (single(last) || matches!(last, Segment::Names(_))) && before.iter().all(single)
        }
    }
}

fn select(path: &[Segment], node: &Json, root: &Json, roots: &Roots<'_>) -> Vec<Json> {
    let Some((segment, rest)) = path.split_first() else { return vec![node.clone()] };
    if let (Segment::Names(names), [], Json::Object(members)) = (segment, rest, node)
        && names.len() > 1
    {
        let kept = names.iter().filter_map(|name| Some((name.clone(), members.get(name)?.clone())));
        return vec![Json::Object(kept.collect())];
    }
    let next: Vec<Json> = match segment {
        Segment::Names(names) => match node {
            Json::Object(_) if names.len() > 1 && rest.is_empty() => Vec::new(),
            Json::Object(members) => names.iter().filter_map(|name| members.get(name).cloned()).collect(),
            _ => Vec::new(),
        },
        Segment::Indexes(indexes) => match node {
            Json::Array(items) => indexes.iter().filter_map(|index| item(items, *index)).collect(),
            _ => Vec::new(),
        },
        Segment::Slice(from, to) => match node {
            Json::Array(items) => slice(items, *from, *to),
            _ => Vec::new(),
        },
        Segment::All => children(node, roots),
        Segment::Descend => below(node, roots),
        Segment::Filter(filter) => {
            children(node, roots).into_iter().filter(|child| holds(filter, child, root, roots)).collect()
        }
        Segment::Function(..) => panic!("a function ends a path"),
    };
    next.iter().flat_map(|node| select(rest, node, root, roots)).collect()
}

/// The place of an index in a list, counting negative ones from the end.
pub fn place(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let at = if index < 0 { length + index } else { index };
    usize::try_from(at).ok().filter(|at| i64::try_from(*at).is_ok_and(|at| at < length))
}

fn item(items: &[Json], index: i64) -> Option<Json> {
    place(index, items.len()).map(|at| items[at].clone())
}

/// An item is in a slice if it stands at or behind its begin and before its end.
fn slice(items: &[Json], from: Option<i64>, to: Option<i64>) -> Vec<Json> {
    let length = items.len() as i64;
    let counted = |bound: i64| if bound < 0 { length + bound } else { bound };
    let inside =
        |at: i64| from.is_none_or(|from| at >= counted(from)) && to.is_none_or(|to| at < counted(to));
    (0..length).zip(items).filter(|(at, _)| inside(*at)).map(|(_, item)| item.clone()).collect()
}

fn children(node: &Json, roots: &Roots<'_>) -> Vec<Json> {
    match node {
        Json::Array(items) => items.clone(),
        Json::Object(members) => {
            if members.len() > 1 {
                roots.unordered.set(true);
            }
            members.values().cloned().collect()
        }
        _ => Vec::new(),
    }
}

fn below(node: &Json, roots: &Roots<'_>) -> Vec<Json> {
    let inner = children(node, roots).into_iter().flat_map(|child| below(&child, roots));
    std::iter::once(node.clone()).chain(inner).collect()
}

/// `||` binds weaker than `&&`, which binds weaker than `!`.
fn holds(filter: &str, node: &Json, root: &Json, roots: &Roots<'_>) -> bool {
    let filter = filter.trim();
    if let Some((left, right)) = filter.split_once(" || ") {
        return holds(left, node, root, roots) || holds(right, node, root, roots);
    }
    if let Some((left, right)) = filter.split_once(" && ") {
        return holds(left, node, root, roots) && holds(right, node, root, roots);
    }
    if let Some(inner) = filter.strip_prefix('!') {
        return !holds(inner, node, root, roots);
    }
    let operators = [" == ", " != ", " <= ", " >= ", " < ", " > ", " in ", " nin ", " size ", " empty "];
    for operator in operators {
        if let Some((left, right)) = filter.split_once(operator) {
            let (left, right) = (operand(left, node, root, roots), operand(right, node, root, roots));
            return compare(left, operator.trim(), right);
        }
    }
    match operand(filter, node, root, roots) {
        Some(Json::Array(found)) if !is_definite(&segments(&filter.trim()[1..])) => !found.is_empty(),
        found => found.is_some(),
    }
}

/// A side of a comparison; `None` for a path that names nothing.
fn operand(text: &str, node: &Json, root: &Json, roots: &Roots<'_>) -> Option<Json> {
    match text.trim() {
        path if path.starts_with('@') => value_from(&segments(&path[1..]), node, root, roots).ok(),
        path if path.starts_with('$') => value_from(&segments(&path[1..]), root, root, roots).ok(),
        literal => Some(serde_json::from_str(&literal.replace('\'', "\"")).expect("a literal")),
    }
}

fn compare(left: Option<Json>, operator: &str, right: Option<Json>) -> bool {
    let (Some(left), Some(right)) = (left, right) else { return ["!=", "nin"].contains(&operator) };
    let order = match (&left, &right) {
        (Json::Number(left), Json::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
        (Json::String(left), Json::String(right)) => Some(left.encode_utf16().cmp(right.encode_utf16())),
        _ => None,
    };
    let length = |value: &Json| match value {
        Json::Array(items) => Some(items.len()),
        Json::String(text) => Some(text.encode_utf16().count()),
        _ => None,
    };
    match operator {
        "==" => equal(&left, &right),
        "!=" => !equal(&left, &right),
        "<" => order.is_some_and(|order| order.is_lt()),
        "<=" => order.is_some_and(|order| order.is_le()),
        ">" => order.is_some_and(|order| order.is_gt()),
        ">=" => order.is_some_and(|order| order.is_ge()),
        "in" | "nin" => {
            let found = right.as_array().is_some_and(|items| items.iter().any(|item| equal(item, &left)));
            found == (operator == "in")
        }
        "size" => length(&left).is_some_and(|length| right.as_u64() == Some(length as u64)),
        _ => length(&left).is_some_and(|length| right.as_bool() == Some(length == 0)),
    }
}

/// Equal as JSON: numbers by their value, members in any order.
pub fn equal(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Number(left), Json::Number(right)) => left.as_f64() == right.as_f64(),
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Json::Object(left), Json::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, value)| right.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => left == right,
    }
}

fn function(name: &str, argument: &str, value: &Json) -> Result<Json, Missing> {
    let items = value.as_array().ok_or(Missing);
    let numbers = || -> Result<Vec<f64>, Missing> {
        let numbers: Vec<f64> = items?.iter().filter_map(Json::as_f64).collect();
        if numbers.is_empty() { Err(Missing) } else { Ok(numbers) }
    };
    Ok(match (name, value) {
        ("length", Json::Array(items)) => items.len().into(),
        ("length", Json::Object(members)) => members.len().into(),
        ("length", Json::String(text)) => text.encode_utf16().count().into(),
        ("min", _) => numbers()?.into_iter().fold(f64::INFINITY, f64::min).into(),
        ("max", _) => numbers()?.into_iter().fold(f64::NEG_INFINITY, f64::max).into(),
        ("sum", _) => numbers()?.into_iter().sum::<f64>().into(),
        ("first", _) => items?.first().cloned().ok_or(Missing)?,
        ("last", _) => items?.last().cloned().ok_or(Missing)?,
        ("index", _) => item(items?, argument.parse().expect("an index")).ok_or(Missing)?,
        _ => return Err(Missing),
    })
}

/// The segments of a path behind its root.
fn segments(text: &str) -> Vec<Segment> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix("..") {
            found.push(Segment::Descend);
            rest = behind;
            if rest.starts_with('[') {
                continue;
            }
        } else if let Some(behind) = rest.strip_prefix('.') {
            rest = behind;
        }
        let (segment, behind) = if rest.starts_with('[') { bracket(rest) } else { dotted(rest) };
        found.push(segment);
        rest = behind;
    }
    found
}

fn dotted(text: &str) -> (Segment, &str) {
    let end = text.find(['.', '[', '(']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    match (name, rest.strip_prefix('(')) {
        ("*", _) => (Segment::All, rest),
        (_, Some(call)) => {
            let (argument, rest) = call.split_once(')').expect("a closed call");
            (Segment::Function(name.to_owned(), argument.to_owned()), rest)
        }
        _ => (Segment::Names(vec![name.to_owned()]), rest),
    }
}

fn bracket(text: &str) -> (Segment, &str) {
    let mut depth = 0;
    let end = text.find(|character| {
        depth += match character {
            '[' => 1,
            ']' => -1,
            _ => 0,
        };
        depth == 0
    });
    let end = end.expect("a closed bracket");
    let (inside, rest) = (&text[1..end], &text[end + 1..]);
    let bound = |text: &str| text.parse::<i64>().ok();
    let segment = if let Some(filter) = inside.strip_prefix("?(") {
        Segment::Filter(filter.strip_suffix(')').expect("a closed filter").to_owned())
    } else if inside == "*" {
        Segment::All
    } else if inside.starts_with('\'') {
        Segment::Names(inside.split(',').map(|name| name.trim_matches('\'').to_owned()).collect())
    } else if let Some((from, to)) = inside.split_once(':') {
        Segment::Slice(bound(from), bound(to))
    } else {
        Segment::Indexes(inside.split(',').filter_map(bound).collect())
    };
    (segment, rest)
}

/// Puts a value where a reference path points. Objects that are missing on the way are made.
pub fn put(text: &str, input: &Json, new: Json) -> Result<Json, Missing> {
    let rest = text.strip_prefix('$').expect("a reference path starts with a dollar");
    put_below(&segments(rest), Some(input), new)
}

fn put_below(path: &[Segment], input: Option<&Json>, new: Json) -> Result<Json, Missing> {
    let Some((segment, rest)) = path.split_first() else { return Ok(new) };
    match (segment, input) {
        (Segment::Names(names), None) => {
            Ok(Json::Object(Map::from_iter([(names[0].clone(), put_below(rest, None, new)?)])))
        }
        (Segment::Names(names), Some(Json::Object(members))) => {
            let mut members = members.clone();
            let member = put_below(rest, members.get(&names[0]), new)?;
            members.insert(names[0].clone(), member);
            Ok(Json::Object(members))
        }
        (Segment::Indexes(indexes), Some(Json::Array(items))) => {
            let at = place(indexes[0], items.len()).ok_or(Missing)?;
            let mut items = items.clone();
            items[at] = put_below(rest, Some(&items[at]), new)?;
            Ok(Json::Array(items))
        }
        _ => Err(Missing),
    }
}
