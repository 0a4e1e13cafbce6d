//! What happens to the data of a state between its events, for whoever inspects one state.

use super::Fault;
use crate::value::{Payload, Value};

/// The data after one field has been applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `InputPath`
    InputPath,
    /// `Parameters`
    Parameters,
    /// `Arguments`
    Arguments,
    /// Not a field: the result of the state's work, or a Pass state's `Result`.
    Result,
    /// `ResultSelector`
    ResultSelector,
    /// `ResultPath`
    ResultPath,
}

/// What an inspected state has come to.
#[derive(Debug, Clone)]
pub enum Stage<'a> {
    /// Its data, after this field.
    Data(Field, &'a Payload),
    /// Of a Map, the items that `ItemsPath` selects.
    ItemsPath(&'a Value),
    /// Of a Map, the next item that its reader gives.
    ItemRead(&'a Value),
    /// Of a Map, what `ItemSelector` makes of the next item.
    ItemSelected(&'a Value),
    /// Of a Map, the next batch.
    Batch(&'a Value),
    /// Of a Map, `MaxConcurrency`; 0 is no limit.
    MaxConcurrency(u32),
    /// Of a Map, how many of its items may fail, and which share of them in percent.
    Tolerance(Option<u64>, Option<f64>),
    /// It failed, for now or for good.
    Failed(Fault<'a>),
    /// A retrier takes the error: the next attempt begins after so many milliseconds, or never, when it has made its last
    /// one.
    Retried {
        /// Which entry of `Retry`.
        index: usize,
        /// `None` when it is exhausted.
        after_millis: Option<u64>,
    },
    /// A catcher takes the error.
    Caught {
        /// Which entry of `Catch`.
        index: usize,
    },
}
