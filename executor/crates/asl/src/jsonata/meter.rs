//! Weaves the guards of [`super::fuel`] into a syntax tree, so that whatever an expression does is paid for.
//!
//! What is paid, and where: a function's body and whatever is evaluated item by item (a step, a filter, a sort term, a
//! group) begin with a tick that weighs as much as it has nodes; a step whose items the next one only looks up has a
//! filter that weighs each item and keeps it; arguments of functions and operands of operators are measured as far as the
//! function or operator will look at them; where work is a product (a regular expression and its text, a separator and
//! its list), the product is. Invariants: the woven tree has the same result as the one before; a tail call stays one;
//! nothing is woven between nodes that the engine looks at together (a path and its sort, an array in an array). Two
//! exceptions are known. An empty list that a function passes on raw from a call in its last place (`function() { $keys({})
//! }`) may become nothing one block earlier. And a name looked up in an array that is written as a step (`x.[a, b].c`) gives
//! what is in a list of one list where it would give that list. One is meant: `$reduce` of an empty list without a beginning
//! is nothing, as the language has it, where the engine gives null.
//!
//! A function of the language used as a value (`$map($list, $string)`) would be called without being paid for. So a
//! prelude binds its name to a function that calls it and pays.

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};
use jsonata_core::value::with_stack;

use super::fuel::Guard;
use super::functions::Function;
use super::names;
use super::plain;
use super::references::Inside;

mod arguments;
pub(super) mod hoist;
pub(super) mod prelude;
mod regex;
mod shape;

pub(super) use arguments::LOOSE_WEIGHT;
use hoist::Hoisted;
use shape::{is_index, is_small, is_written_array, look_up};

/// What came of weaving.
#[derive(Debug)]
pub(super) struct Metered {
    pub ast: AstNode,
    /// Functions of ours that it calls.
    pub functions: Vec<Function>,
    /// Functions of the language that it uses as values.
    pub values: Vec<&'static str>,
    /// Plain paths that were replaced by variables with the names of [`hoist::variable`].
    pub hoisted: Vec<Hoisted>,
}

/// Weaves, or says what cannot be paid for. With `hoists`, plain paths are taken out.
pub(super) fn weave(ast: AstNode, inside: &Inside, hoists: bool) -> Result<Metered, String> {
    let mut weaver = Weaver { bound: &inside.bound, loose: inside.loose_regex, hoists, ..Weaver::default() };
    let mut ast = weaver.expression(ast)?;
    if weaver.binds {
        // The engine goes through the whole result once more, for what is left of its bindings.
        ast = Guard::All.around(ast);
    }
    let ast = prelude::before(&mut weaver, ast)?;
    let Weaver { functions, values, hoisted, .. } = weaver;
    Ok(Metered { ast, functions, values, hoisted })
}

#[derive(Default)]
struct Weaver<'a> {
    /// Of the nodes so far.
    weight: u64,
    bound: &'a [String],
    /// A regular expression may be called like a function.
    loose: bool,
    functions: Vec<Function>,
    values: Vec<&'static str>,
    hoists: bool,
    hoisted: Vec<Hoisted>,
    /// A step binds a variable (`@`, `#`), or something below it a parent (`%`).
    binds: bool,
}

/// Making a function copies its body, which its nodes pay for, and what it sees.
const LAMBDA: u64 = 16;

type Woven<T = AstNode> = Result<T, String>;

/// A node as `x ~> f` and paths hold it.
fn boxed(woven: Woven) -> Woven<Box<AstNode>> {
    woven.map(Box::new)
}

/// Where something is evaluated for each item, `$` is the item.
fn tick(weight: u64, context: AstNode) -> AstNode {
    Guard::Tick(u32::try_from(weight + 2).unwrap_or(u32::MAX)).around(context)
}

/// `$`
fn item() -> AstNode {
    AstNode::Variable(String::new())
}

impl Weaver<'_> {
    fn is_bound(&self, name: &str) -> bool {
        self.bound.iter().any(|bound| bound == name)
    }

    /// A function of ours is called.
    fn uses(&mut self, name: &str) {
        if let Some(function) = Function::named(name)
            && !self.functions.contains(&function)
        {
            self.functions.push(function);
        }
    }

    /// A variable's value is wanted: it may be a function.
    fn value(&mut self, name: &str) {
        if let Some((name, _)) = names::function(name)
            && !self.values.contains(&name)
        {
            self.values.push(name);
        }
    }

    /// A node whose value is wanted. It goes on on another stack when this one is nearly used up: a level takes much in
    /// builds without optimisation.
    fn expression(&mut self, node: AstNode) -> Woven {
        with_stack(|| self.node(node))
    }

    fn node(&mut self, node: AstNode) -> Woven {
        self.weight += 1;
        Ok(match node {
            AstNode::Path { steps } => self.lone_path(steps)?,
            AstNode::Binary { op, lhs, rhs } => self.binary(op, *lhs, *rhs)?,
            AstNode::Unary { op, operand } => {
                AstNode::Unary { op, operand: boxed(self.expression(*operand))? }
            }
            AstNode::Function { name, args, is_builtin } => self.call(name, args, is_builtin)?,
            AstNode::Call { procedure, args } => {
                AstNode::Call { procedure: boxed(self.expression(*procedure))?, args: self.all(args)? }
            }
            AstNode::Lambda { params, body, signature, thunk } => {
                self.weight += LAMBDA;
                AstNode::Lambda { params, body: boxed(self.body(*body))?, signature, thunk }
            }
            AstNode::Array(items) => AstNode::Array(self.elements(items)?),
            AstNode::ArrayGroup(items) => AstNode::ArrayGroup(self.elements(items)?),
            AstNode::Object(pairs) => AstNode::Object(self.pairs(pairs)?),
            AstNode::ObjectTransform { input, pattern } => {
                AstNode::ObjectTransform { input: boxed(self.input(*input))?, pattern: self.groups(pattern)? }
            }
            AstNode::Block(nodes) => AstNode::Block(self.all(nodes)?),
            AstNode::Conditional { condition, then_branch, else_branch } => AstNode::Conditional {
                condition: boxed(self.truth(*condition))?,
                then_branch: boxed(self.expression(*then_branch))?,
                else_branch: else_branch.map(|branch| boxed(self.expression(*branch))).transpose()?,
            },
            AstNode::FunctionApplication(inner) => {
                AstNode::FunctionApplication(boxed(self.expression(*inner))?)
            }
            AstNode::Sort { input, terms } => self.sort(*input, terms)?,
            AstNode::Transform { location, update, delete } => self.transform(*location, *update, delete)?,
            AstNode::Variable(name) => {
                self.value(&name);
                AstNode::Variable(name)
            }
            AstNode::Regex { pattern, flags } => {
                AstNode::Regex { pattern: regex::for_engine(&pattern), flags }
            }
            leaf => leaf,
        })
    }

    fn all(&mut self, nodes: Vec<AstNode>) -> Woven<Vec<AstNode>> {
        nodes.into_iter().map(|node| self.expression(node)).collect()
    }

    /// What `weave` gives and is evaluated for each item, behind a tick that weighs it.
    fn ticked(&mut self, weave: impl FnOnce(&mut Self) -> Woven) -> Woven {
        self.ticked_in(item(), weave)
    }

    fn ticked_in(&mut self, context: AstNode, weave: impl FnOnce(&mut Self) -> Woven) -> Woven {
        let before = self.weight;
        let woven = weave(self)?;
        let tick = tick(self.weight - before, context);
        Ok(match woven {
            AstNode::Block(mut nodes) => {
                nodes.insert(0, tick);
                AstNode::Block(nodes)
            }
            other => AstNode::Block(vec![tick, other]),
        })
    }

    fn binary(&mut self, op: BinaryOp, lhs: AstNode, rhs: AstNode) -> Woven {
        let (lhs, rhs) = match op {
            BinaryOp::ChainPipe => return self.chain(lhs, rhs),
            // The name is no value here.
            BinaryOp::ColonEqual => (lhs, self.expression(rhs)?),
            BinaryOp::And | BinaryOp::Or => (self.truth(lhs)?, self.truth(rhs)?),
            BinaryOp::Equal
            | BinaryOp::NotEqual
            | BinaryOp::LessThan
            | BinaryOp::LessThanOrEqual
            | BinaryOp::GreaterThan
            | BinaryOp::GreaterThanOrEqual
            | BinaryOp::Concatenate
            | BinaryOp::In => (self.guarded(Guard::All, lhs)?, self.guarded(Guard::All, rhs)?),
            _ => (self.expression(lhs)?, self.expression(rhs)?),
        };
        let woven = AstNode::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs) };
        Ok(if op == BinaryOp::Range { Guard::Items.around(woven) } else { woven })
    }

    /// A node behind a guard, unless its value is known to be small.
    fn guarded(&mut self, guard: Guard, node: AstNode) -> Woven {
        let small = is_small(&node, self.bound);
        let woven = self.expression(node)?;
        Ok(if small || guard.is_there(&woven) { woven } else { guard.around(woven) })
    }

    /// A node that is asked whether it is true: an array is if one of its items is.
    fn truth(&mut self, node: AstNode) -> Woven {
        self.guarded(Guard::Items, node)
    }

    /// The items of an array are spliced into it, unless they are arrays that are written there.
    fn elements(&mut self, items: Vec<AstNode>) -> Woven<Vec<AstNode>> {
        let is_array = |item: &AstNode| match item {
            AstNode::Path { steps } => steps.len() == 1 && matches!(steps[0].node, AstNode::Array(_)),
            item => matches!(item, AstNode::Array(_)),
        };
        let weave =
            |item| if is_array(&item) { self.expression(item) } else { self.guarded(Guard::Items, item) };
        items.into_iter().map(weave).collect()
    }

    fn pairs(&mut self, pairs: Vec<(AstNode, AstNode)>) -> Woven<Vec<(AstNode, AstNode)>> {
        // A member takes more memory than a node takes time.
        self.weight += 4 * pairs.len() as u64;
        pairs
            .into_iter()
            .map(|(key, value)| Ok((self.guarded(Guard::All, key)?, self.expression(value)?)))
            .collect()
    }

    /// What a sort, a group or a `%` reads. A path stays one, for its bindings.
    fn input(&mut self, input: AstNode) -> Woven {
        match input {
            AstNode::Path { steps } => {
                self.weight += 1;
                Ok(AstNode::Path { steps: self.path(steps)? })
            }
            other => self.expression(other),
        }
    }

    /// Keys are evaluated for each item, values for each group.
    fn groups(&mut self, pairs: Vec<(AstNode, AstNode)>) -> Woven<Vec<(AstNode, AstNode)>> {
        let weave = |(key, value): (AstNode, AstNode)| {
            let key = match key {
                AstNode::String(_) => key,
                key => self.ticked(|weaver| weaver.guarded(Guard::All, key))?,
            };
            Ok((key, self.ticked(|weaver| weaver.expression(value))?))
        };
        pairs.into_iter().map(weave).collect()
    }

    /// A function's body.
    fn body(&mut self, body: AstNode) -> Woven {
        self.ticked_in(AstNode::Null, |weaver| weaver.tail(body))
    }

    /// What a function gives. A call stays the last thing that it does, so that the engine reuses the frame; whatever else
    /// it gives is paid for.
    fn tail(&mut self, node: AstNode) -> Woven {
        match node {
            AstNode::Conditional { condition, then_branch, else_branch } => Ok(AstNode::Conditional {
                condition: boxed(self.truth(*condition))?,
                then_branch: boxed(self.tail(*then_branch))?,
                else_branch: else_branch.map(|branch| boxed(self.tail(*branch))).transpose()?,
            }),
            AstNode::Block(mut nodes) => {
                let last = nodes.pop();
                let mut woven = self.all(nodes)?;
                if let Some(last) = last {
                    woven.push(self.tail(last)?);
                }
                Ok(AstNode::Block(woven))
            }
            call @ (AstNode::Function { .. }
            | AstNode::Call { .. }
            | AstNode::Binary { op: BinaryOp::ColonEqual, .. }) => self.expression(call),
            other => self.guarded(Guard::Items, other),
        }
    }

    fn sort(&mut self, input: AstNode, terms: Vec<(AstNode, bool)>) -> Woven {
        let input = boxed(self.input(input))?;
        let weave = |(term, ascending): (AstNode, bool)| {
            Ok((self.ticked(|weaver| weaver.guarded(Guard::All, term))?, ascending))
        };
        let terms = terms.into_iter().map(weave).collect::<Woven<_>>()?;
        Ok(AstNode::Sort { input, terms })
    }

    /// A transformation compares each value inside of its input with each one that it has found there. So it becomes a
    /// function that measures its input first.
    fn transform(&mut self, location: AstNode, update: AstNode, delete: Option<Box<AstNode>>) -> Woven {
        let location = Box::new(Guard::Targets.around(self.expression(location)?));
        let update = boxed(self.ticked(|weaver| weaver.expression(update)))?;
        let delete = delete.map(|delete| boxed(self.expression(*delete))).transpose()?;
        let input = "input of a transformation".to_owned();
        let lhs = Box::new(Guard::Remember.around(AstNode::Variable(input.clone())));
        let rhs = Box::new(AstNode::Transform { location, update, delete });
        let body = Box::new(AstNode::Binary { op: BinaryOp::ChainPipe, lhs, rhs });
        Ok(AstNode::Lambda { params: vec![input], body, signature: None, thunk: false })
    }

    /// A path whose value is wanted. A variable that it begins with is weighed before it, not by a filter, which would take
    /// an array apart that is one item.
    fn lone_path(&mut self, steps: Vec<PathStep>) -> Woven {
        let mut steps = self.path(steps)?;
        let [first, rest @ ..] = steps.as_mut_slice() else { return Ok(AstNode::Path { steps }) };
        if !matches!(first.node, AstNode::Variable(_)) || !plain::is_simple(first) {
            return Ok(AstNode::Path { steps });
        }
        match (rest.is_empty(), first.stages.as_slice()) {
            (true, []) => Ok(std::mem::replace(&mut first.node, AstNode::Undefined)),
            (false, [Stage::Filter(filter)]) => Ok(match Guard::of_filter(filter, &first.node) {
                Some(guard) => {
                    first.stages.clear();
                    AstNode::Block(vec![guard, AstNode::Path { steps }])
                }
                None => AstNode::Path { steps },
            }),
            _ => Ok(AstNode::Path { steps }),
        }
    }

    fn path(&mut self, steps: Vec<PathStep>) -> Woven<Vec<PathStep>> {
        let steps = self.hoist(steps);
        let mut next: Vec<(Option<AstNode>, Guard)> =
            steps.iter().skip(1).map(|next| look_up(&next.node)).collect();
        next.push((None, Guard::Items));
        let mut woven = Vec::with_capacity(steps.len());
        let mut behind_array = false;
        for (at, (mut step, (filter, value))) in steps.into_iter().zip(next).enumerate() {
            let node = std::mem::replace(&mut step.node, AstNode::Undefined);
            let is_array = is_written_array(&node);
            let is_found = look_up(&node).0.is_some() || matches!(node, AstNode::Variable(_));
            step.node = match node {
                node @ (AstNode::Block(_) | AstNode::FunctionApplication(_)) if step.inner_tuple => {
                    self.stream(node, at > 0)?
                }
                node if at == 0 => self.first(node, value, filter.is_some())?,
                // Nothing could be put between the array and these.
                AstNode::Name(_) if behind_array => {
                    self.ticked(|weaver| weaver.guarded(Guard::Items, node))?
                }
                AstNode::Wildcard | AstNode::Descendant if behind_array => {
                    self.ticked(|_| Ok(AstNode::Block(vec![Guard::All.around(item()), node])))?
                }
                node => self.step(node, value)?,
            };
            behind_array = is_array;
            let stages = std::mem::take(&mut step.stages).into_iter();
            step.stages = stages.map(|stage| self.stage(stage)).collect::<Woven<_>>()?;
            if let Some(filter) = filter.filter(|_| is_found) {
                step.stages.push(Stage::Filter(Box::new(filter)));
            }
            // A step that binds makes an object for each item.
            if !plain::is_simple(&step) {
                self.binds = true;
                step.stages.push(Stage::Filter(Box::new(Guard::Item(16).around(item()))));
            }
            woven.push(step);
        }
        Ok(woven)
    }

    /// A step in parentheses through which a `%` looks: the path at its end hands on what it binds, so nothing may be put
    /// around that path. What it gives is paid for item by item.
    fn stream(&mut self, node: AstNode, for_each: bool) -> Woven {
        match node {
            AstNode::FunctionApplication(inner) => {
                Ok(AstNode::FunctionApplication(boxed(self.stream(*inner, for_each))?))
            }
            node if for_each => self.ticked(|weaver| weaver.stream(node, false)),
            AstNode::Block(mut nodes) => {
                self.weight += 1;
                let last = nodes.pop();
                let mut woven = self.all(nodes)?;
                woven.extend(last.map(|last| self.stream(last, false)).transpose()?);
                Ok(AstNode::Block(woven))
            }
            other => self.input(other),
        }
    }

    fn stage(&mut self, stage: Stage) -> Woven<Stage> {
        Ok(match stage {
            Stage::Filter(predicate) if !is_index(&predicate) => {
                Stage::Filter(Box::new(self.ticked(|weaver| weaver.guarded(Guard::All, *predicate))?))
            }
            other => other,
        })
    }

    /// The first step. What it gives is measured if the next one looks something up in it.
    fn first(&mut self, node: AstNode, value: Guard, is_looked_into: bool) -> Woven {
        let passes =
            look_up(&node).0.is_some() || matches!(node, AstNode::Variable(_) | AstNode::Sort { .. });
        if passes || !is_looked_into || is_written_array(&node) {
            return self.expression(node);
        }
        Ok(match self.expression(node)? {
            AstNode::Block(mut nodes) => {
                if let Some(last) = nodes.pop() {
                    nodes.push(value.around(last));
                }
                AstNode::Block(nodes)
            }
            other => value.around(other),
        })
    }

    /// A step behind the first: it is evaluated for each item, and what it gives is spliced, or looked into.
    fn step(&mut self, node: AstNode, value: Guard) -> Woven {
        let before = self.weight;
        let mut woven = match node {
            AstNode::FunctionApplication(inner) => {
                let inner = self.ticked(|weaver| weaver.guarded(value, *inner))?;
                return Ok(AstNode::FunctionApplication(Box::new(inner)));
            }
            AstNode::Variable(name) if name.is_empty() => return Ok(AstNode::Variable(name)),
            node @ (AstNode::Block(_)
            | AstNode::Variable(_)
            | AstNode::Function { .. }
            | AstNode::Call { .. }
            | AstNode::Conditional { .. }
            | AstNode::Binary { .. }
            | AstNode::Unary { .. }) => return self.ticked(|weaver| weaver.guarded(value, node)),
            other => self.expression(other)?,
        };
        let tick = tick(self.weight - before, item());
        match &mut woven {
            AstNode::Array(items) | AstNode::ArrayGroup(items) => items.insert(0, tick),
            AstNode::Object(pairs) => {
                if let Some((_, value)) = pairs.first_mut() {
                    let inside = std::mem::replace(value, AstNode::Undefined);
                    *value = AstNode::Block(vec![tick, inside]);
                }
            }
            _ => {}
        }
        Ok(woven)
    }
}
