//! Calls: how far each function looks at its arguments, and what its result costs.

use jsonata_core::ast::{AstNode, BinaryOp, PathStep};

use super::super::fuel::Guard;
use super::super::functions::Function;
use super::super::names;
use super::{LAMBDA, Weaver, Woven};

/// How far a function looks at each of its arguments; where no letter is left the last one counts. Functions that are not
/// here look at no argument in proportion to its size.
///
/// `a` at all that is inside, four times for `q` and 32 times for `l` (sorting, pairing; writing line by line); `i` at the
/// items, `m` at the items and their members, `p` at all pairs of items, `k` at all keys and each other; `r` at all, and
/// the size is remembered for an argument behind: a pattern that is matched against it (`t`, or `T` where another one
/// follows), or what is repeated for each item or place of it (`x`); `w` as a width; `d` as a picture of a date; `?` a
/// function that says which items stay; `s` at the items, of which there have to be some; `-` not at all.
const LOOKS: [(&str, &str); 54] = [
    ("append", "i"),
    ("assert", "-a"),
    ("average", "i"),
    ("base64decode", "a"),
    ("base64encode", "a"),
    ("boolean", "i"),
    ("contains", "rt-"),
    ("count", "i"),
    ("decodeUrl", "a"),
    ("decodeUrlComponent", "a"),
    ("distinct", "p"),
    ("each", "m-"),
    ("encodeUrl", "a"),
    ("encodeUrlComponent", "a"),
    ("error", "a"),
    ("filter", "i?-"),
    ("formatInteger", "-a"),
    ("formatNumber", "-a"),
    ("fromMillis", "-a"),
    ("hash", "a"),
    ("join", "rx"),
    ("keys", "k"),
    ("length", "a"),
    ("lookup", "ia"),
    ("lowercase", "a"),
    ("map", "i-"),
    ("match", "rt-"),
    ("max", "i"),
    ("merge", "m"),
    ("min", "i"),
    ("not", "i"),
    ("number", "a"),
    ("pad", "awa"),
    ("parse", "a"),
    ("parseInteger", "a"),
    ("partition", "i-"),
    ("reduce", "i-"),
    ("replace", "rTx-"),
    ("reverse", "i"),
    ("shuffle", "i"),
    ("sift", "m?-"),
    ("single", "i?-"),
    ("sort", "q-"),
    ("split", "rt-"),
    ("spread", "m"),
    ("string", "a-"),
    ("substring", "a-"),
    ("substringAfter", "a"),
    ("substringBefore", "a"),
    ("sum", "i"),
    ("toMillis", "ad"),
    ("trim", "a"),
    ("uppercase", "a"),
    ("zip", "q"),
];

/// The same for one unit.
const LOOSE_TIMES: u32 = 640;

/// Functions that give something back without looking at it; a text may be long.
const RESULTS: [&str; 3] = ["lookup", "reduce", "single"];

/// Functions that apply another one to each item or member.
const APPLY: [&str; 7] = ["each", "filter", "map", "reduce", "sift", "single", "sort"];

/// A regular expression may be used as a function when it has at most this weight; what it is applied to is paid as if it
/// had.
pub(in super::super) const LOOSE_WEIGHT: u64 = 640;

impl Weaver<'_> {
    pub(super) fn call(&mut self, mut name: String, mut args: Vec<AstNode>, is_builtin: bool) -> Woven {
        if args.contains(&AstNode::Placeholder) {
            self.value(&name);
            return Ok(AstNode::Function { name, args: self.all(args)?, is_builtin });
        }
        // With a picture it is a date like any other.
        if name == "now" && !args.is_empty() && !self.is_bound("now") {
            args.insert(0, AstNode::Function { name: "millis".to_owned(), args: Vec::new(), is_builtin });
            "fromMillis".clone_into(&mut name);
        }
        // The text is what stands around; it has to be seen to be paid for.
        let takes_context = match args.len() {
            0 => matches!(Function::named(&name), Some(function) if function.takes_context()),
            1 => matches!(name.as_str(), "contains" | "match" | "split"),
            _ => false,
        };
        if takes_context && !self.is_bound(&name) {
            args.insert(0, AstNode::Variable(String::new()));
        }
        self.uses(&name);
        let args = self.arguments(&name, args)?;
        let pays = RESULTS.contains(&name.as_str());
        let call = AstNode::Function { name, args, is_builtin };
        Ok(if pays { Guard::Items.around(call) } else { call })
    }

    /// `lhs ~> rhs`: a call on the right takes the left side as its first argument.
    pub(super) fn chain(&mut self, lhs: AstNode, rhs: AstNode) -> Woven {
        // The engine copies the left side each time.
        let before = self.weight;
        let (lhs, rhs) = match rhs {
            AstNode::Function { name, args, is_builtin } if !args.contains(&AstNode::Placeholder) => {
                self.chained_call(lhs, name, args, is_builtin)?
            }
            AstNode::Path { steps } => self.chained_path(lhs, steps)?,
            other => (self.applied(lhs)?, self.expression(other)?),
        };
        self.weight += self.weight - before;
        Ok(AstNode::Binary { op: BinaryOp::ChainPipe, lhs: Box::new(lhs), rhs: Box::new(rhs) })
    }

    fn chained_call(
        &mut self,
        lhs: AstNode,
        name: String,
        mut args: Vec<AstNode>,
        is_builtin: bool,
    ) -> Woven<(AstNode, AstNode)> {
        self.uses(&name);
        args.insert(0, lhs);
        let mut args = self.arguments(&name, args)?;
        let lhs = args.remove(0);
        Ok((lhs, AstNode::Function { name, args, is_builtin }))
    }

    /// A call with a filter or `[]` behind it is a path of one step.
    fn chained_path(&mut self, lhs: AstNode, mut steps: Vec<PathStep>) -> Woven<(AstNode, AstNode)> {
        let [step] = steps.as_mut_slice() else {
            return Ok((self.applied(lhs)?, self.expression(AstNode::Path { steps })?));
        };
        match std::mem::replace(&mut step.node, AstNode::Undefined) {
            AstNode::Function { name, args, is_builtin } if !args.contains(&AstNode::Placeholder) => {
                let (lhs, call) = self.chained_call(lhs, name, args, is_builtin)?;
                let stages = std::mem::take(&mut step.stages).into_iter();
                step.stages = stages.map(|stage| self.stage(stage)).collect::<Woven<_>>()?;
                step.node = call;
                Ok((lhs, AstNode::Path { steps }))
            }
            node => {
                step.node = node;
                Ok((self.applied(lhs)?, self.expression(AstNode::Path { steps })?))
            }
        }
    }

    fn arguments(&mut self, name: &str, args: Vec<AstNode>) -> Woven<Vec<AstNode>> {
        let Some(looks) = looks(name, args.len()) else {
            return args.into_iter().map(|arg| self.argument_of_unknown(name, arg)).collect();
        };
        let written = |arg: &AstNode| matches!(arg, AstNode::Lambda { .. });
        let applies = self.loose && APPLY.contains(&name) && !args.iter().skip(1).take(1).all(written);
        let last = looks.as_bytes()[looks.len() - 1];
        let letters = looks.bytes().chain(std::iter::repeat(last));
        let weave = |(at, (arg, letter)): (usize, (AstNode, u8))| {
            if applies && at == 0 { self.applied(arg) } else { self.argument(name, letter, arg) }
        };
        args.into_iter().zip(letters).enumerate().map(weave).collect()
    }

    fn argument(&mut self, name: &str, letter: u8, arg: AstNode) -> Woven {
        let guard = match letter {
            b'a' => Guard::All,
            b'q' => Guard::Heavily(4),
            b'l' => Guard::Heavily(32),
            b'i' => Guard::Items,
            b's' => return self.expression(arg).map(|arg| Guard::SomeItems.around(arg)),
            b'm' => Guard::Members,
            b'p' => Guard::Pairs,
            b'k' => Guard::Keys,
            // These are asked for whatever the argument is.
            b'r' => return self.expression(arg).map(|arg| Guard::Remember.around(arg)),
            b't' => return self.expression(arg).map(|arg| Guard::Pattern(of_match(name)).around(arg)),
            b'T' => return self.expression(arg).map(|arg| Guard::FirstPattern(of_match(name)).around(arg)),
            b'x' => return self.expression(arg).map(|arg| Guard::Times.around(arg)),
            b'w' => return self.expression(arg).map(|arg| Guard::Width.around(arg)),
            b'd' => return self.expression(arg).map(|arg| Guard::Dated.around(arg)),
            b'?' => return self.predicate(arg),
            _ => return self.expression(arg),
        };
        self.guarded(guard, arg)
    }

    /// A function whose results are only asked whether they are true: what that takes is paid for.
    fn predicate(&mut self, function: AstNode) -> Woven {
        match function {
            AstNode::Lambda { params, body, signature, thunk: _ } => {
                self.weight += LAMBDA;
                let body = Box::new(self.ticked_in(AstNode::Null, |weaver| weaver.truth(*body))?);
                Ok(AstNode::Lambda { params, body, signature, thunk: false })
            }
            AstNode::Placeholder => Ok(function),
            other => {
                let params: Vec<String> = (0..3).map(|place| format!("argument {place}")).collect();
                let args = params.iter().cloned().map(AstNode::Variable).collect();
                let body = Box::new(AstNode::Call { procedure: Box::new(other), args });
                self.predicate(AstNode::Lambda { params, body, signature: None, thunk: false })
            }
        }
    }

    /// A function of the expression's own may be a regular expression.
    fn argument_of_unknown(&mut self, name: &str, arg: AstNode) -> Woven {
        if self.loose && !names::is_function(name) { self.applied(arg) } else { self.expression(arg) }
    }

    /// What a function is applied to that may be a regular expression.
    fn applied(&mut self, arg: AstNode) -> Woven {
        let guard = if self.loose { Guard::Heavily(LOOSE_TIMES) } else { Guard::Items };
        self.guarded(guard, arg)
    }
}

/// How far a function looks at this many arguments.
fn looks(name: &str, count: usize) -> Option<&'static str> {
    match (name, count) {
        ("join" | "contains" | "match" | "split", 0 | 1) | ("replace", 0..=2) => return Some("a"),
        ("string", 2..) => return Some("l-"),
        // The engine's own answer to an empty list without a beginning is null, the language's nothing.
        ("reduce", 2) => return Some("s-"),
        _ => {}
    }
    LOOKS.binary_search_by_key(&name, |(known, _)| known).ok().map(|at| LOOKS[at].1)
}

/// What a byte of text may cost at least, in sixteenths: pieces and matches take memory.
fn of_match(function: &str) -> u32 {
    match function {
        "match" => 256,
        "split" => 64,
        _ => 1,
    }
}
