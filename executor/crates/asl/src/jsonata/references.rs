//! What an expression reads from outside, and what Step Functions forbids in it.
//!
//! A walk over the syntax tree in order of text. Invariant: a name that is bound inside of the expression (by `:=`, a
//! parameter, `@` or `#`) is not a reference where that binding is visible. There is no document: `$`, a bare name, `*`
//! and `**` mean something only below a step, a filter, a sort or a group, where there is an item.

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};
use jsonata_core::value::with_stack;

use super::NESTING_MAX;
use super::fuel;
use super::meter::LOOSE_WEIGHT;
use super::names;
use crate::value::Str;

/// What an expression reads from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Workflow variables, each once, in order of text. A name that is no variable may still be a function used as a
    /// value, see [`super::is_function`].
    pub variables: Vec<Str>,
    /// `$states` as a whole.
    pub states: bool,
    /// `$states.input`
    pub input: bool,
    /// `$states.context`
    pub context: bool,
    /// `$states.result`
    pub result: bool,
    /// `$states.errorOutput`
    pub error_output: bool,
}

/// What an expression does inside, as far as it is of interest outside.
#[derive(Debug, Default)]
pub(super) struct Inside {
    /// Names that are bound somewhere.
    pub bound: Vec<String>,
    /// A regular expression is used as a value, so it may be called like a function.
    pub loose_regex: bool,
    /// Functions that it calls by their names, each once.
    called: Vec<String>,
    /// Operators that order two values, each once.
    compared: Vec<&'static str>,
}

/// What an expression does in one way alone, so that an error of that kind is known to come from it.
#[derive(Debug, Default)]
pub(super) struct Only {
    /// The function that it calls, where it calls no other, and uses none as a value.
    pub function: Option<String>,
    /// The operator that orders two values, where there is no other.
    pub comparison: Option<&'static str>,
}

impl Inside {
    pub(super) fn only(&self, reads: &References) -> Only {
        let function = match self.called.as_slice() {
            [only] if !reads.variables.iter().any(|name| names::is_function(name)) => Some(only.clone()),
            _ => None,
        };
        let comparison = match self.compared[..] {
            [only] => Some(only),
            _ => None,
        };
        Only { function, comparison }
    }
}

/// Why an expression is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The language that Step Functions has, JSONata 2.0.6, does not read it.
    Grammar(String),
    /// Step Functions does not have it, or it is more than an expression may be.
    Forbidden(String),
}

/// Finds what an expression reads and does, and refuses what is forbidden.
pub(super) fn find(ast: &AstNode) -> Result<(References, Inside), Refusal> {
    find_in(ast, true)
}

/// The same for a tree that was checked before it was woven.
pub(super) fn of_woven(ast: &AstNode) -> Result<References, Refusal> {
    find_in(ast, false).map(|(references, _)| references)
}

fn find_in(ast: &AstNode, written: bool) -> Result<(References, Inside), Refusal> {
    let (found, inside) = (References::default(), Inside::default());
    let mut walk = Walk { bound: vec![Vec::new()], found, inside, parents: false, depth: 0, written };
    walk.node(ast, Around::Nothing)?;
    let (mut found, inside) = (walk.found, walk.inside);
    // What is above a member of `$states` is all of it.
    found.states |= walk.parents && (found.input || found.context || found.result || found.error_output);
    Ok((found, inside))
}

/// Whether there is an item that `$` and bare names mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Around {
    Nothing,
    Item,
}

struct Walk<'a> {
    /// Names bound inside, by scope, the innermost last.
    bound: Vec<Vec<&'a str>>,
    found: References,
    inside: Inside,
    /// A `%` is somewhere.
    parents: bool,
    depth: usize,
    /// The tree is as its author wrote it: its depth and operators are to be checked.
    written: bool,
}

type Checked = Result<(), Refusal>;

impl<'a> Walk<'a> {
    fn is_bound(&self, name: &str) -> bool {
        self.bound.iter().any(|scope| scope.contains(&name))
    }

    fn bind(&mut self, name: &'a str) {
        if let Some(scope) = self.bound.last_mut() {
            scope.push(name);
        }
        if !self.inside.bound.iter().any(|known| known == name) {
            self.inside.bound.push(name.to_owned());
        }
    }

    fn scoped(&mut self, inside: impl FnOnce(&mut Self) -> Checked) -> Checked {
        self.bound.push(Vec::new());
        let checked = inside(self);
        self.bound.pop();
        checked
    }

    fn all(&mut self, nodes: impl IntoIterator<Item = &'a AstNode>, around: Around) -> Checked {
        nodes.into_iter().try_for_each(|node| self.node(node, around))
    }

    fn pairs(&mut self, pairs: &'a [(AstNode, AstNode)], around: Around) -> Checked {
        self.all(pairs.iter().flat_map(|(key, value)| [key, value]), around)
    }

    /// Goes on on another stack when this one is nearly used up: a level takes much in builds without optimisation.
    fn node(&mut self, node: &'a AstNode, around: Around) -> Checked {
        if self.written && self.depth == NESTING_MAX {
            return Err(forbidden(TOO_DEEP));
        }
        self.depth += 1;
        let checked = with_stack(|| self.inside_of(node, around));
        self.depth -= 1;
        checked
    }

    fn inside_of(&mut self, node: &'a AstNode, around: Around) -> Checked {
        match node {
            AstNode::String(_)
            | AstNode::Number(_)
            | AstNode::Boolean(_)
            | AstNode::Null
            | AstNode::Undefined
            | AstNode::Placeholder => Ok(()),
            AstNode::Regex { pattern, flags } => {
                regex(pattern, flags)?;
                self.inside.loose_regex = true;
                // In a woven tree a guard is around a pattern that was no value.
                if self.written && fuel::pattern_weight(pattern, 10) > LOOSE_WEIGHT {
                    return Err(Refusal::Forbidden(format!(
                        "/{pattern}/ is too large for a regular expression that is used as a value"
                    )));
                }
                Ok(())
            }
            AstNode::Name(_) if around == Around::Item => Ok(()),
            // In the words of Step Functions.
            AstNode::Name(name) => {
                Err(Refusal::Forbidden(format!("Reference to '{name}' at the top level is not supported.")))
            }
            AstNode::Wildcard => needs_item(around, || "'*' belongs to no value".to_owned()),
            AstNode::Descendant => needs_item(around, || "'**' belongs to no value".to_owned()),
            AstNode::Parent(_) => {
                self.parents = true;
                needs_item(around, || "'%' belongs to no value".to_owned())
            }
            AstNode::Variable(name) => self.variable(name, around),
            AstNode::ParentVariable(_) => Err(forbidden(NO_DOCUMENT)),
            AstNode::Path { steps } => self.scoped(|walk| walk.steps(steps, around)),
            AstNode::Binary { op, lhs, rhs } => self.binary(*op, lhs, rhs, around),
            AstNode::Unary { operand, .. } => self.node(operand, around),
            AstNode::Function { name, args, is_builtin } => self.call(name, args, *is_builtin, around),
            AstNode::Call { procedure, args } => {
                self.node(procedure, around)?;
                self.all(args, around)
            }
            AstNode::Lambda { params, body, .. } => self.scoped(|walk| {
                params.iter().for_each(|name| walk.bind(name));
                walk.node(body, around)
            }),
            AstNode::Array(items) | AstNode::ArrayGroup(items) => {
                items.iter().try_for_each(|item| self.item(item, around))
            }
            AstNode::Object(pairs) => self.pairs(pairs, around),
            AstNode::ObjectTransform { input, pattern } => self.scoped(|walk| {
                walk.input(input, around)?;
                walk.pairs(pattern, Around::Item)
            }),
            AstNode::Block(nodes) => self.scoped(|walk| walk.all(nodes, around)),
            AstNode::Conditional { condition, then_branch, else_branch } => {
                self.node(condition, around)?;
                self.node(then_branch, around)?;
                self.all(else_branch.as_deref(), around)
            }
            AstNode::FunctionApplication(inner) => self.node(inner, around),
            AstNode::Sort { input, terms } => self.scoped(|walk| {
                walk.input(input, around)?;
                walk.all(terms.iter().map(|(term, _)| term), Around::Item)
            }),
            AstNode::Transform { location, update, delete } => {
                self.all([&**location, &**update], Around::Item)?;
                self.all(delete.as_deref(), Around::Item)
            }
        }
    }

    fn variable(&mut self, name: &'a str, around: Around) -> Checked {
        match name {
            "" => needs_item(around, || "'$' is not available outside of a step or a filter".to_owned()),
            "$" => Err(forbidden(NO_DOCUMENT)),
            "eval" if !self.is_bound(name) => Err(forbidden(NO_EVAL)),
            "states" if !self.is_bound(name) => {
                self.found.states = true;
                Ok(())
            }
            _ => {
                if !self.is_bound(name) && !self.found.variables.iter().any(|known| known == name) {
                    self.found.variables.push(name.into());
                }
                Ok(())
            }
        }
    }

    fn call(&mut self, name: &str, args: &'a [AstNode], with_sigil: bool, around: Around) -> Checked {
        if with_sigil && name == "eval" && !self.is_bound(name) {
            return Err(forbidden(NO_EVAL));
        }
        if !with_sigil {
            needs_item(around, || format!("'{name}' is no function; write ${name}(...)"))?;
        }
        if !self.inside.called.iter().any(|known| known == name) {
            self.inside.called.push(name.to_owned());
        }
        let patterns = matches!(name, "contains" | "match" | "replace" | "split");
        args.iter().try_for_each(|arg| match arg {
            // Not used as a value.
            AstNode::Regex { pattern, flags } if patterns => regex(pattern, flags),
            arg => self.node(arg, around),
        })
    }

    /// An item of an array that is written: the only place of a range.
    fn item(&mut self, item: &'a AstNode, around: Around) -> Checked {
        match item {
            AstNode::Binary { op: BinaryOp::Range, lhs, rhs } => self.all([&**lhs, &**rhs], around),
            other => self.node(other, around),
        }
    }

    fn binary(&mut self, op: BinaryOp, lhs: &'a AstNode, rhs: &'a AstNode, around: Around) -> Checked {
        if let Some(reason) = not_in_language(op).filter(|_| self.written) {
            return Err(Refusal::Grammar(reason.to_owned()));
        }
        if let Some(operator) = ordering(op).filter(|operator| !self.inside.compared.contains(operator)) {
            self.inside.compared.push(operator);
        }
        let name = match (op, lhs) {
            (BinaryOp::ColonEqual, AstNode::Variable(name)) => name,
            (BinaryOp::ColonEqual, _) => {
                let reason = "S0212: The left side of := must be a variable name (start with $)";
                return Err(Refusal::Grammar(reason.to_owned()));
            }
            _ => return self.all([lhs, rhs], around),
        };
        // A function sees its own name; any other value is made before the name exists.
        if matches!(rhs, AstNode::Lambda { .. }) {
            self.bind(name);
            return self.node(rhs, around);
        }
        self.node(rhs, around)?;
        self.bind(name);
        Ok(())
    }

    /// The input of a sort or a group: what its path binds is seen by the terms.
    fn input(&mut self, input: &'a AstNode, around: Around) -> Checked {
        match input {
            AstNode::Path { steps } => self.steps(steps, around),
            other => self.node(other, around),
        }
    }

    fn steps(&mut self, steps: &'a [PathStep], around: Around) -> Checked {
        let mut around = around;
        for (at, step) in steps.iter().enumerate() {
            match (at, &step.node, steps.get(1).map(|next| &next.node)) {
                (0, AstNode::Variable(root), Some(AstNode::Name(member)))
                    if root == "states" && step.stages.is_empty() && !self.is_bound("states") =>
                {
                    self.states_member(member);
                }
                (_, AstNode::Sort { input, terms }, _) => {
                    self.input(input, around)?;
                    self.all(terms.iter().map(|(term, _)| term), Around::Item)?;
                }
                _ => self.node(&step.node, around)?,
            }
            around = Around::Item;
            step.focus.iter().chain(&step.index_var).for_each(|name| self.bind(name));
            for stage in &step.stages {
                match stage {
                    Stage::Filter(predicate) => self.node(predicate, Around::Item)?,
                    Stage::KeepArray => {}
                    Stage::Index(name) => self.bind(name),
                }
            }
        }
        Ok(())
    }

    fn states_member(&mut self, member: &str) {
        match member {
            "input" => self.found.input = true,
            "context" => self.found.context = true,
            "result" => self.found.result = true,
            "errorOutput" => self.found.error_output = true,
            // Nothing else is ever there: the path gives nothing.
            _ => {}
        }
    }
}

/// Why an expression is refused that nests deeper than [`NESTING_MAX`].
const TOO_DEEP: &str = "more than 256 expressions are nested";

const NO_EVAL: &str = "$eval is not available";

const NO_DOCUMENT: &str = "'$$' is not available; use $states.input or a variable";

/// What the parser reads and JSONata 2.0.6 does not, with the language's code and sentence for what it sees there.
fn not_in_language(op: BinaryOp) -> Option<&'static str> {
    match op {
        BinaryOp::Coalesce => Some(
            "S0211: The symbol \"?\" cannot be used as a unary operator ('??' came with JSONata 2.1; write $exists(a) ? a : \
             b)",
        ),
        BinaryOp::Default => Some(
            "S0211: The symbol \":\" cannot be used as a unary operator ('?:' came with JSONata 2.1; write a ? a : b)",
        ),
        BinaryOp::Range => Some("S0201: Syntax error: \"..\" (a range stands in brackets: [1..3])"),
        _ => None,
    }
}

/// A regular expression as the language reads it: not empty, with the flags `i` and `m`.
fn regex(pattern: &str, flags: &str) -> Checked {
    let flag = flags.chars().find(|flag| !matches!(flag, 'i' | 'm'));
    match (pattern.is_empty(), flag) {
        (true, _) => Err(Refusal::Grammar("S0301: Empty regular expressions are not allowed".to_owned())),
        (_, Some(flag)) => Err(Refusal::Grammar(format!("S0201: Syntax error: \"{flag}\""))),
        _ => Ok(()),
    }
}

fn ordering(op: BinaryOp) -> Option<&'static str> {
    match op {
        BinaryOp::LessThan => Some("<"),
        BinaryOp::LessThanOrEqual => Some("<="),
        BinaryOp::GreaterThan => Some(">"),
        BinaryOp::GreaterThanOrEqual => Some(">="),
        _ => None,
    }
}

fn forbidden(reason: &str) -> Refusal {
    Refusal::Forbidden(reason.to_owned())
}

fn needs_item(around: Around, reason: impl FnOnce() -> String) -> Checked {
    match around {
        Around::Item => Ok(()),
        Around::Nothing => {
            Err(Refusal::Forbidden(format!("{}; data is read from $states or a variable", reason())))
        }
    }
}
