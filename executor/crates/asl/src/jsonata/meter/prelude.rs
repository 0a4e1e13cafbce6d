//! Functions of the language that are used as values.

use jsonata_core::ast::{AstNode, BinaryOp};

use super::super::names;
use super::{Weaver, Woven};

/// Where the engine finds the variable that has the name of a function, if there is one. No expression can spell it.
pub(in super::super) fn variable(function: &str) -> String {
    format!("variable {function}")
}

/// `ast`, behind bindings of the functions that it uses as values to functions that pay for what they do.
///
/// There are two scopes: in the outer one the paying functions are made, and their bodies still see the language's; in
/// the inner one they get its names, and the expression sees them, unless a variable has the name.
pub(super) fn before(weaver: &mut Weaver<'_>, ast: AstNode) -> Woven {
    if weaver.values.is_empty() {
        return Ok(ast);
    }
    let mut outer = Vec::new();
    let mut inner = Vec::new();
    for name in weaver.values.clone() {
        let paying = format!("paying {name}");
        let variable = AstNode::Variable(variable(name));
        let otherwise = AstNode::Variable(paying.clone());
        inner.push(bind(name.to_owned(), binary(BinaryOp::Coalesce, variable, otherwise)));
        outer.push(bind(paying, function(weaver, name)?));
    }
    inner.push(ast);
    outer.push(AstNode::Block(inner));
    Ok(AstNode::Block(outer))
}

/// A function that calls the language's with as many arguments as that takes from a function that applies it.
fn function(weaver: &mut Weaver<'_>, name: &str) -> Woven {
    let count = match name {
        // Takes any number.
        "zip" => 2,
        name => names::function(name).map_or(0, |(_, count)| count),
    };
    let params: Vec<String> = (0..count).map(|place| format!("argument {place}")).collect();
    let args: Vec<AstNode> = params.iter().cloned().map(AstNode::Variable).collect();
    let body = match (name, args.split_last()) {
        // To these a last argument that is nothing is not the same as none: `$list ~> $sort`.
        ("reduce" | "single" | "sort", Some((last, others))) => AstNode::Conditional {
            condition: Box::new(call("exists", vec![last.clone()])),
            then_branch: Box::new(call(name, args.clone())),
            else_branch: Some(Box::new(call(name, others.to_vec()))),
        },
        _ => call(name, args),
    };
    let body = Box::new(weaver.body(body)?);
    Ok(AstNode::Lambda { params, body, signature: None, thunk: false })
}

fn call(name: &str, args: Vec<AstNode>) -> AstNode {
    AstNode::Function { name: name.to_owned(), args, is_builtin: true }
}

fn bind(name: String, value: AstNode) -> AstNode {
    binary(BinaryOp::ColonEqual, AstNode::Variable(name), value)
}

fn binary(op: BinaryOp, lhs: AstNode, rhs: AstNode) -> AstNode {
    AstNode::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs) }
}
