//! Evaluating a query: segment by segment over a list of nodes.
//!
//! Invariants: matches come in document order, parents before children; nothing is cloned but the result. The
//! number of values visited is bounded, so that no path over any input runs away.

use smallvec::{SmallVec, smallvec};

use super::PathError;
use super::syntax::{Query, Segment, resolve};
use crate::value::{Map, Value};

/// How many values one evaluation may visit: thirty times the values that a payload of the largest size can
/// hold.
pub(crate) const VISITS_MAX: usize = 4_000_000;

pub(super) type Nodes<'a> = SmallVec<[&'a Value; 8]>;

/// What is left of the visits, and what `$` means inside filters.
pub(super) struct Work<'a> {
    pub root: &'a Value,
    pub visits_left: usize,
}

/// How much text is read for the price of a visit, in bytes.
const BYTES_PER_VISIT: usize = 32;

impl Work<'_> {
    /// Takes the visits of what is about to be looked at.
    pub fn visit(&mut self, count: usize) -> Result<(), PathError> {
        let left = self.visits_left.checked_sub(count);
        self.visits_left = left.unwrap_or(0);
        left.map(|_| ()).ok_or(PathError::TooMuchWork(VISITS_MAX))
    }

    /// Takes the visits of a text that is about to be read, or compared, from its beginning to its end.
    pub fn read(&mut self, bytes: usize) -> Result<(), PathError> {
        self.visit(bytes / BYTES_PER_VISIT)
    }
}

/// Evaluates a query from its root, and takes its visits from what is left of them.
pub(super) fn evaluate(
    query: &Query,
    root: &Value,
    visits_left: &mut usize,
    missing: &dyn Fn() -> String,
) -> Result<Value, PathError> {
    let mut work = Work { root, visits_left: *visits_left };
    let result = value_of(query, root, &mut work);
    *visits_left = work.visits_left;
    result?.ok_or_else(|| PathError::Missing(missing()))
}

/// The result of a query from this node; `None` when a definite one names nothing.
pub(super) fn value_of<'a>(
    query: &Query,
    from: &'a Value,
    work: &mut Work<'a>,
) -> Result<Option<Value>, PathError> {
    let (segments, merged) = match query.segments.split_last() {
        Some((Segment::Keys(keys), before)) => (before, Some(keys)),
        _ => (&*query.segments, None),
    };
    let nodes = select(segments, from, work)?;
    let matches: Vec<Value> = match merged {
        None => nodes.into_iter().cloned().collect(),
        Some(keys) => {
            work.visit(nodes.len().saturating_mul(keys.len()))?;
            nodes.into_iter().filter_map(Value::as_object).map(|members| pick(members, keys)).collect()
        }
    };
    let base = if query.base_is_definite() { matches.into_iter().next() } else { Some(Value::from(matches)) };
    match (query.function, base) {
        (Some(function), Some(value)) => {
            match &value {
                Value::Array(items) => work.visit(items.len())?,
                Value::Object(members) => work.visit(members.len())?,
                Value::String(text) => work.read(text.len())?,
                _ => {}
            }
            function.apply(&value).map(Some)
        }
        (_, base) => Ok(base),
    }
}

/// The members with these keys, as one object.
fn pick(members: &Map, keys: &[crate::value::Str]) -> Value {
    Value::object(keys.iter().filter_map(|key| Some((key.clone(), members.get(key)?.clone()))))
}

/// The nodes that the segments select from this one.
pub(super) fn select<'a>(
    segments: &[Segment],
    from: &'a Value,
    work: &mut Work<'a>,
) -> Result<Nodes<'a>, PathError> {
    let mut nodes: Nodes<'a> = smallvec![from];
    for segment in segments {
        let mut next = Nodes::new();
        for node in nodes {
            apply(segment, node, work, &mut next)?;
        }
        nodes = next;
    }
    Ok(nodes)
}

fn apply<'a>(
    segment: &Segment,
    node: &'a Value,
    work: &mut Work<'a>,
    out: &mut Nodes<'a>,
) -> Result<(), PathError> {
    work.visit(1)?;
    match (segment, node) {
        (Segment::Step(step), node) => out.extend(step.of(node)),
        (Segment::Keys(keys), Value::Object(members)) => {
            work.visit(keys.len())?;
            out.extend(keys.iter().filter_map(|key| members.get(key)));
        }
        (Segment::Indexes(indexes), Value::Array(items)) => {
            work.visit(indexes.len())?;
            out.extend(indexes.iter().filter_map(|index| items.get(resolve(*index, items.len())?)));
        }
        (Segment::Slice(from, to), Value::Array(items)) => {
            let bound = |bound: i64| {
                let len = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let at = if bound < 0 { len + bound } else { bound };
                usize::try_from(at.clamp(0, len)).unwrap_or(0)
            };
            let (from, to) = (from.map_or(0, bound), to.map_or(items.len(), bound));
            work.visit(to.saturating_sub(from))?;
            out.extend(items.get(from..to).unwrap_or_default());
        }
        (Segment::Wildcard, node) => each_child(node, work, &mut |child, _| {
            out.push(child);
            Ok(())
        })?,
        (Segment::Filter(filter), node) => each_child(node, work, &mut |child, work| {
            if filter.matches(child, work)? {
                out.push(child);
            }
            Ok(())
        })?,
        (Segment::Descend, node) => descend(node, work, out)?,
        _ => {}
    }
    Ok(())
}

type Visit<'v, 'a> = &'v mut dyn FnMut(&'a Value, &mut Work<'a>) -> Result<(), PathError>;

fn each_child<'a>(node: &'a Value, work: &mut Work<'a>, visit: Visit<'_, 'a>) -> Result<(), PathError> {
    match node {
        Value::Array(items) => {
            work.visit(items.len())?;
            items.iter().try_for_each(|item| visit(item, work))
        }
        Value::Object(members) => {
            work.visit(members.len())?;
            members.values().try_for_each(|value| visit(value, work))
        }
        _ => Ok(()),
    }
}

/// The node and everything below it, parents first. Recursion is as deep as the value.
fn descend<'a>(node: &'a Value, work: &mut Work<'a>, out: &mut Nodes<'a>) -> Result<(), PathError> {
    out.push(node);
    each_child(node, work, &mut |child, work| descend(child, work, out))
}
