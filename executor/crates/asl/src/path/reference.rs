//! Reference paths: they name exactly one place, and a value can be put there.

use std::sync::Arc;

use super::syntax::{Step, resolve};
use super::{EvalError, Path, PathSyntaxError, Plan, Root, Scope};
use crate::value::{Map, Value};

/// A path that names exactly one place, where a value can be put. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ReferencePath {
    path: Path,
    steps: Arc<[Step]>,
}

/// A value cannot be put at a reference path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Unable to apply step \"{step}\" of the reference path '{path}' to the input: it is {found} there")]
pub struct SetError {
    /// The whole path.
    pub path: String,
    /// The step that cannot be taken, in bracket notation.
    pub step: String,
    /// What stands in the way.
    pub found: String,
}

impl From<SetError> for EvalError {
    fn from(error: SetError) -> Self {
        Self::new(Self::RESULT_PATH_MATCH_FAILURE, error.to_string())
    }
}

impl ReferencePath {
    /// Compiles a reference path.
    ///
    /// # Errors
    /// When the text is no path, selects more than one value, or has an unescaped `@`, `,`, `:` or `?` in a
    /// name.
    pub fn parse(text: &str) -> Result<Self, PathSyntaxError> {
        let path = Path::parse(text)?;
        let refused = |column: usize, reason: &str| {
            Err(PathSyntaxError { text: text.to_owned(), column, reason: reason.to_owned() })
        };
        let Plan::Walk(steps) = &path.plan else {
            return refused(
                1,
                "a reference path names exactly one place: no wildcard, slice, filter or function",
            );
        };
        if let Some(column) = unescaped_operator(text) {
            return refused(
                column,
                "a name in a reference path has `@ , : ?` only behind a backslash or in quotes",
            );
        }
        let steps = steps.clone();
        Ok(Self { path, steps })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        self.path.text()
    }

    /// Where it starts; only [`Root::Input`] can be set.
    pub fn root(&self) -> &Root {
        self.path.root()
    }

    /// The same, to be read.
    pub fn as_path(&self) -> &Path {
        &self.path
    }

    /// What stands at the place.
    pub fn get<'a>(&self, scope: &Scope<'a>) -> Option<&'a Value> {
        self.path.evaluate_ref(scope)
    }

    /// The root with another value at the place. Objects that are missing on the way are made; only what lies
    /// on the way is copied, all else is shared with `root`.
    ///
    /// # Errors
    /// When a scalar stands in the way, an array has no such index, or a missing array would have to be made.
    pub fn set(&self, root: &Value, new: Value) -> Result<Value, SetError> {
        let mut result = root.clone();
        self.put(&mut result, new)?;
        Ok(result)
    }

    /// Like [`ReferencePath::set`] on a root of one's own: what is not shared is changed in place.
    ///
    /// # Errors
    /// As [`ReferencePath::set`]; then `root` is as it was, but for objects made on the way.
    pub fn put(&self, root: &mut Value, new: Value) -> Result<(), SetError> {
        let mut place = root;
        for (at, step) in self.steps.iter().enumerate() {
            place = match (step, place) {
                (Step::Key(key), Value::Object(members)) => {
                    let members = Arc::make_mut(members);
                    if !members.contains_key(key) {
                        let made = self.steps.get(at + 1).map_or(Ok(Value::Null), |next| self.make(next))?;
                        members.insert(key.clone(), made);
                    }
                    match members.get_mut(key) {
                        Some(member) => member,
                        None => return Err(self.error(step, "nothing".to_owned())),
                    }
                }
                (Step::Index(index), Value::Array(items)) => {
                    let len = items.len();
                    let slot = resolve(*index, len).and_then(|at| Arc::make_mut(items).get_mut(at));
                    slot.ok_or_else(|| self.error(step, format!("an array of {len}")))?
                }
                (step, found) => return Err(self.error(step, format!("a value of type {}", found.kind()))),
            };
        }
        *place = new;
        Ok(())
    }

    /// What is made where nothing is, so that `next` can be taken from it.
    fn make(&self, next: &Step) -> Result<Value, SetError> {
        match next {
            Step::Key(_) => Ok(Value::from(Map::default())),
            Step::Index(_) => Err(self.error(next, "nothing".to_owned())),
        }
    }

    fn error(&self, step: &Step, found: String) -> SetError {
        let mut text = String::new();
        step.write(&mut text);
        SetError { path: self.text().to_owned(), step: text, found }
    }
}

/// Column of the first of `@ , : ?` that is neither escaped nor in brackets.
fn unescaped_operator(text: &str) -> Option<usize> {
    let mut bracketed = false;
    let mut escaped = false;
    let mut quote = None;
    for (at, character) in text.chars().enumerate() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match (character, quote) {
            ('\\', _) => escaped = true,
            ('\'' | '"', None) if bracketed => quote = Some(character),
            (end, Some(open)) if end == open => quote = None,
            (_, Some(_)) => {}
            ('[', None) => bracketed = true,
            (']', None) => bracketed = false,
            ('@' | ',' | ':' | '?', None) if !bracketed => return Some(at + 1),
            _ => {}
        }
    }
    None
}
