//! The state out of its machine: a program that begins with it, and in which nothing else happens.

use std::sync::Arc;

use super::{Rejection, TestState};
use crate::program::{Graph, Kind, Program, State, StateIndex};

/// The program of a request: its first state is the tested one, the others beside it are never left.
pub(super) fn compile(request: &TestState<'_>) -> Result<Program, Rejection> {
    let compiled = match &request.state_name {
        None => Program::compile_state(request.definition, request.dialect),
        Some(_) => Program::compile(request.definition, request.dialect),
    };
    let program = compiled.map_err(Rejection::definition)?.program;
    let Some(name) = &request.state_name else { return owned(program) };
    let program = owned(program)?;
    let root = isolated(owned(program.root)?, name)
        .ok_or_else(|| Rejection::validation(format!("The definition has no state '{name}'")))?;
    Ok(Program { root: Arc::new(root), timeout_seconds: None, ..program })
}

/// The tested state of such a program.
pub(super) fn tested(program: &Program) -> &State {
    &program.root.states[usize::from(program.root.start)]
}

/// Nobody else has a program that was just compiled.
fn owned<T>(shared: Arc<T>) -> Result<T, Rejection> {
    Arc::into_inner(shared).ok_or_else(|| Rejection::validation("The definition is in use"))
}

fn isolated(graph: Graph, name: &str) -> Option<Graph> {
    let mut graph = graph;
    if position(&graph, name).is_none() {
        let around = nested(&graph, name)?;
        drop(graph);
        graph = Arc::into_inner(around)?;
    }
    let start = position(&graph, name)?;
    for state in graph.states.iter_mut().filter(|state| state.name != name) {
        *state = State::parked(state.name.clone());
    }
    Some(Graph { start, ..graph })
}

fn position(graph: &Graph, name: &str) -> Option<StateIndex> {
    let at = graph.states.iter().position(|state| state.name == name)?;
    StateIndex::try_from(at).ok()
}

/// The branch or item processor that has this state, as deep as the definition nests them.
fn nested(graph: &Graph, name: &str) -> Option<Arc<Graph>> {
    graph.states.iter().find_map(|state| match &state.kind {
        Kind::Parallel { branches } => branches.iter().find_map(|branch| within(branch, name)),
        Kind::Map(map) => within(&map.processor, name),
        _ => None,
    })
}

fn within(graph: &Arc<Graph>, name: &str) -> Option<Arc<Graph>> {
    if position(graph, name).is_some() { Some(Arc::clone(graph)) } else { nested(graph, name) }
}

/// Whether a Parallel or Map state has a state of this name inside.
pub(super) fn holds(state: &State, name: &str) -> bool {
    match &state.kind {
        Kind::Parallel { branches } => branches.iter().any(|branch| within(branch, name).is_some()),
        Kind::Map(map) => within(&map.processor, name).is_some(),
        _ => false,
    }
}
