//! The state out of its machine: a program that begins with it, and in which nothing else happens.

use std::sync::Arc;

use super::{Rejection, TestState};
use crate::program::{Graph, Kind, Next, Program, State, StateIndex};

/// The program of a request: its first state is the tested one, the others beside it are never left. And what the state
/// is in.
pub(super) fn compile(request: &TestState<'_>) -> Result<(Program, Around), Rejection> {
    let compiled = match &request.state_name {
        None => Program::compile_state(request.definition, request.dialect),
        Some(_) => Program::compile(request.definition, request.dialect),
    };
    let program = owned(compiled.map_err(Rejection::definition)?.program)?;
    let Program { root, timeout_seconds, .. } = program;
    let (mut root, timeout_seconds, around) = match &request.state_name {
        None => (owned(root)?, timeout_seconds, Around::Nothing),
        Some(name) => {
            let (root, around) = isolated(owned(root)?, name)
                .ok_or_else(|| Rejection::validation(format!("The definition has no state '{name}'")))?;
            (root, None, around)
        }
    };
    if request.configuration.map_item_reader_data.is_none() {
        take_items_from_input(&mut root);
    }
    lead_away(&mut root).ok_or_else(|| Rejection::validation("The definition has too many states"))?;
    Ok((Program { root: Arc::new(root), timeout_seconds, ..program }, around))
}

/// A state that leads to itself would be entered again: another one of its name stands for it.
fn lead_away(graph: &mut Graph) -> Option<()> {
    let itself = graph.start;
    let parked = StateIndex::try_from(graph.states.len()).ok()?;
    let state = graph.states.get_mut(usize::from(itself))?;
    let away = |next: &mut StateIndex| {
        if *next == itself {
            *next = parked;
        }
    };
    if let Next::State(next) = &mut state.next {
        away(next);
    }
    if let Kind::Choice { rules, default } = &mut state.kind {
        rules.iter_mut().map(|rule| &mut rule.next).chain(default).for_each(away);
    }
    state.catch.iter_mut().map(|catcher| &mut catcher.next).for_each(away);
    let parked = State::parked(state.name.clone());
    graph.states = std::mem::take(&mut graph.states).into_iter().chain([parked]).collect();
    Some(())
}

/// What the innermost Map around a state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Around {
    /// There is none.
    Nothing,
    Inline,
    Distributed,
}

/// Where nobody says what the reader reads, the input may hold it already; then `ItemsPath` says where.
fn take_items_from_input(graph: &mut Graph) {
    if let Some(State { kind: Kind::Map(map), .. }) = graph.states.get_mut(usize::from(graph.start))
        && map.items_path.is_some()
        && let Some(distributed) = &mut map.distributed
    {
        distributed.reader = None;
    }
}

/// The tested state of such a program.
pub(super) fn tested(program: &Program) -> &State {
    &program.root.states[usize::from(program.root.start)]
}

/// Nobody else has a program that was just compiled.
fn owned<T>(shared: Arc<T>) -> Result<T, Rejection> {
    Arc::into_inner(shared).ok_or_else(|| Rejection::validation("The definition is in use"))
}

fn isolated(graph: Graph, name: &str) -> Option<(Graph, Around)> {
    let (mut graph, mut around) = (graph, Around::Nothing);
    if position(&graph, name).is_none() {
        let (nested, map) = nested(&graph, name, Around::Nothing)?;
        drop(graph);
        (graph, around) = (Arc::into_inner(nested)?, map);
    }
    let start = position(&graph, name)?;
    for state in graph.states.iter_mut().filter(|state| state.name != name) {
        *state = State::parked(state.name.clone());
    }
    Some((Graph { start, ..graph }, around))
}

fn position(graph: &Graph, name: &str) -> Option<StateIndex> {
    let at = graph.states.iter().position(|state| state.name == name)?;
    StateIndex::try_from(at).ok()
}

/// The branch or item processor that has this state, as deep as the definition nests them, and the Map around it.
fn nested(graph: &Graph, name: &str, around: Around) -> Option<(Arc<Graph>, Around)> {
    graph.states.iter().find_map(|state| inside(state, name, around))
}

fn inside(state: &State, name: &str, around: Around) -> Option<(Arc<Graph>, Around)> {
    match &state.kind {
        Kind::Parallel { branches } => branches.iter().find_map(|branch| within(branch, name, around)),
        Kind::Map(map) if map.distributed.is_some() => within(&map.processor, name, Around::Distributed),
        Kind::Map(map) => within(&map.processor, name, Around::Inline),
        _ => None,
    }
}

fn within(graph: &Arc<Graph>, name: &str, around: Around) -> Option<(Arc<Graph>, Around)> {
    match position(graph, name) {
        Some(_) => Some((Arc::clone(graph), around)),
        None => nested(graph, name, around),
    }
}

/// Whether a Parallel or Map state has a state of this name inside.
pub(super) fn holds(state: &State, name: &str) -> bool {
    inside(state, name, Around::Nothing).is_some()
}
