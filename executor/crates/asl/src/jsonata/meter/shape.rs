//! What the weaver asks of a node before it puts something around it.

use jsonata_core::ast::{AstNode, BinaryOp};

use super::super::fuel::Guard;
use super::super::names;
use super::item;

/// Whether it is an array, or may be one in the engine's eyes, that stays one item of the path: then nothing may be put
/// around it.
pub(super) fn is_written_array(node: &AstNode) -> bool {
    match node {
        AstNode::Array(_) | AstNode::ArrayGroup(_) | AstNode::ObjectTransform { .. } => true,
        AstNode::Block(nodes) => nodes.iter().any(|node| match node {
            AstNode::Path { steps } => steps.first().is_some_and(|first| is_written_array(&first.node)),
            AstNode::Sort { input, .. } => is_written_array(input) || matches!(**input, AstNode::Path { .. }),
            inner => matches!(inner, AstNode::Block(_)) && is_written_array(inner),
        }),
        _ => false,
    }
}

/// If this step looks something up in each item before it: a filter that weighs the items, and how to measure a value
/// that is about to become them.
pub(super) fn look_up(node: &AstNode) -> (Option<AstNode>, Guard) {
    match node {
        AstNode::Name(name) => (Some(Guard::looking_up(name)), Guard::Fields),
        AstNode::Wildcard | AstNode::Descendant => (Some(Guard::WholeItem.around(item())), Guard::All),
        AstNode::Parent(_) => (Some(Guard::Item(1).around(item())), Guard::Items),
        _ => (None, Guard::Items),
    }
}

/// A literal index: the engine takes it without looking at each item.
pub(super) fn is_index(predicate: &AstNode) -> bool {
    match predicate {
        AstNode::Number(_) => true,
        AstNode::Unary { operand, .. } => matches!(**operand, AstNode::Number(_)),
        _ => false,
    }
}

/// Whether its value is a number, a truth value, a literal or a function.
pub(super) fn is_small(node: &AstNode, bound: &[String]) -> bool {
    match node {
        AstNode::String(_)
        | AstNode::Number(_)
        | AstNode::Boolean(_)
        | AstNode::Null
        | AstNode::Undefined
        | AstNode::Placeholder
        | AstNode::Regex { .. }
        | AstNode::Lambda { .. }
        | AstNode::Transform { .. }
        | AstNode::Unary { .. } => true,
        AstNode::Binary { op, .. } => !matches!(
            op,
            BinaryOp::Concatenate
                | BinaryOp::ColonEqual
                | BinaryOp::Coalesce
                | BinaryOp::ChainPipe
                | BinaryOp::Range
        ),
        AstNode::Function { name, args, .. } => {
            names::is_scalar(name) && !bound.contains(name) && !args.contains(&AstNode::Placeholder)
        }
        _ => false,
    }
}
