//! Map: one thread of control for each item.
//!
//! Invariant: a Map has at most its concurrency of iterations alive, so its memory is bounded by that, its items and its
//! results.

use super::context::{Context, MapItem};
use super::dynamic::{self, integer};
use super::flow;
use super::run::{Run, Step};
use super::threads::{Join, Thread, Work};
use crate::history::{EventKind, Iteration, Observer, Stage};
use crate::map::STATE_DATA;
use crate::path::{EvalError, Path};
use crate::program::{DataFlow, Dynamic, MapState, State};
use crate::template::Template;
use crate::value::{Payload, Value};

/// Iterations of an inline Map that run at once where its definition sets no limit.
const INLINE_CONCURRENCY: u32 = 40;
/// Children of a distributed Map that run at once where its definition sets no limit.
const DISTRIBUTED_CONCURRENCY: u32 = 10_000;

impl<'a, O: Observer> Run<'a, O> {
    pub(super) fn begin_map(
        &mut self,
        slot: u32,
        state: &'a State,
        map: &'a MapState,
    ) -> Result<Step, EvalError> {
        let (context, input) = self.effective_input(slot, state)?;
        let input = input.into_value();
        let reads = map.distributed.as_ref().is_some_and(|distributed| distributed.reader.is_some());
        let items = if reads { Value::Null } else { items(map, &input, &context)? };
        let length = match &items {
            Value::Array(items) => items.len(),
            Value::Object(members) if map.distributed.is_some() => members.len(),
            _ if reads => 0,
            _ => return Err(not_an_array(state, map, &items)),
        };
        if !reads && matches!(state.flow, DataFlow::JsonPath(_)) {
            self.log.stage(&Stage::ItemsPath(&items));
        }
        let wanted = wanted_concurrency(map, &input, &context)?;
        self.log.stage(&Stage::MaxConcurrency(wanted));
        let concurrency = concurrency(map, wanted);
        let event = EventKind::MapStateStarted { length: u64::try_from(length).unwrap_or(u64::MAX) };
        let Thread { previous, .. } = self.threads.at_mut(slot);
        self.log.advance(previous, event);
        if let Some(distributed) = &map.distributed {
            return self.begin_map_run(slot, state, distributed, concurrency, input, items);
        }
        let results = vec![Value::Null; length];
        let join = Join { results, kept: 0, ended: 0, next: 0, input, items, map: true, run: None };
        let thread = self.threads.at_mut(slot);
        thread.work = Work::Joining(Box::new(join));
        if O::INSPECTS {
            return self.inspect_iterations(slot, state, map, length);
        }
        if length == 0 {
            return Ok(self.joined(slot));
        }
        let previous = thread.previous;
        let first = (concurrency as usize).min(length);
        for _ in 0..first {
            self.begin_iteration(slot, state, map, previous)?;
        }
        Ok(Step::Idle)
    }

    /// Begins a Map's next iteration, whose first event follows `previous`.
    pub(super) fn begin_iteration(
        &mut self,
        slot: u32,
        state: &'a State,
        map: &'a MapState,
        previous: u32,
    ) -> Result<(), EvalError> {
        let thread = self.threads.at(slot);
        let Work::Joining(join) = &thread.work else { return Ok(()) };
        let index = join.next;
        let Some(input) = self.iteration_input(thread, state, map, index)? else { return Ok(()) };
        let mut child = Thread::new(map.processor.start, Payload::from_value(input), slot, index);
        child.previous = previous;
        child.variables.clone_from(&thread.variables);
        let event = EventKind::MapIterationStarted(Iteration { name: &state.name, index });
        self.log.advance(&mut child.previous, event);
        if let Work::Joining(join) = &mut self.threads.at_mut(slot).work {
            join.next += 1;
        }
        self.insert(child)
    }

    /// What an iteration begins with; `None` where there are no items left.
    fn iteration_input(
        &self,
        thread: &Thread,
        state: &'a State,
        map: &'a MapState,
        index: u32,
    ) -> Result<Option<Value>, EvalError> {
        let Work::Joining(join) = &thread.work else { return Ok(None) };
        let Some(item) = join.items.at(index as usize) else { return Ok(None) };
        let Some(selector) = &map.item_selector else { return Ok(Some(item.clone())) };
        let mut context = self.context(thread, state);
        context.item = Some(MapItem { index: u64::from(index), value: item, key: None, source: STATE_DATA });
        let input = selector.evaluate(&context.scope(&join.input))?;
        flow::bounded(Payload::from_value(input), &state.name, self.spent)
            .map(|input| Some(input.into_value()))
    }

    /// What the iterations would begin with.
    fn inspect_iterations(
        &mut self,
        slot: u32,
        state: &'a State,
        map: &'a MapState,
        length: usize,
    ) -> Result<Step, EvalError> {
        for index in 0..u32::try_from(length).unwrap_or(u32::MAX) {
            let input = self.iteration_input(self.threads.at(slot), state, map, index)?;
            self.log.stage(&Stage::ItemSelected(&input.unwrap_or_default()));
        }
        Ok(Step::Idle)
    }
}

/// `MaxConcurrency` or `MaxConcurrencyPath`.
pub(super) fn wanted_concurrency(
    map: &MapState,
    input: &Value,
    context: &Context<'_>,
) -> Result<u32, EvalError> {
    match &map.max_concurrency {
        Dynamic::Constant(concurrency) => Ok(*concurrency),
        Dynamic::Expression(expression) => {
            let range = 0..=u64::from(u32::MAX);
            let count = dynamic::count(expression, "MaxConcurrency", &range, &context.scope(input))?;
            Ok(u32::try_from(count).unwrap_or(u32::MAX))
        }
        Dynamic::Path(path) => {
            let count = count_at(path, "MaxConcurrency", input, context)?;
            Ok(u32::try_from(count).unwrap_or(u32::MAX))
        }
    }
}

/// How many run at once.
pub(super) fn concurrency(map: &MapState, wanted: u32) -> u32 {
    let longest = if map.distributed.is_some() { DISTRIBUTED_CONCURRENCY } else { INLINE_CONCURRENCY };
    if wanted == 0 { longest } else { wanted.min(longest) }
}

/// The integer that a `...Path` field leads to; a text that spells one will do.
pub(super) fn integer_at(
    path: &Path,
    field: &str,
    input: &Value,
    context: &Context<'_>,
) -> Result<i64, EvalError> {
    let found = flow::at(path, input, context)?;
    integer(&found).ok_or_else(|| EvalError::not_an_integer(path, &format!("{field}Path"), &found))
}

/// Like [`integer_at`], for what may not be negative.
pub(super) fn count_at(
    path: &Path,
    field: &str,
    input: &Value,
    context: &Context<'_>,
) -> Result<u64, EvalError> {
    let count = integer_at(path, field, input, context)?;
    u64::try_from(count).map_err(|_| EvalError::runtime(format!("{field} cannot be negative.")))
}

/// `ItemsPath` or `Items`.
fn items(map: &MapState, input: &Value, context: &Context<'_>) -> Result<Value, EvalError> {
    match (&map.items_path, &map.items) {
        (Some(path), _) => flow::at(path, input, context),
        (None, Some(items)) => items.evaluate(&context.scope(input)),
        (None, None) => Ok(input.clone()),
    }
}

fn not_an_array(state: &State, map: &MapState, found: &Value) -> EvalError {
    const FIELD: &str = "Items";
    match (&state.flow, map.items.as_ref().and_then(Template::as_expression)) {
        (DataFlow::JsonPath(_), _) => {
            let path = map.items_path.as_ref().map_or("$", Path::text);
            EvalError::runtime(format!("Reference path \"{path}\" must point to array."))
        }
        (DataFlow::Jsonata(_), Some(expression)) => expression.unexpected("array", found).in_field(FIELD),
        (DataFlow::Jsonata(_), None) => EvalError::query(
            FIELD,
            format!("The items have to be an array, but are of the type '{}': {found}", found.kind()),
        ),
    }
}
