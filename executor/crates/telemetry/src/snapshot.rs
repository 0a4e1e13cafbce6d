//! One typed picture of all metrics of a node or a scheduler at one moment, which text and pushed metrics are made from.

use std::time::SystemTime;

use crate::cells::HistogramSnapshot;
use crate::inventory::Metric;
use crate::labels::Label;
use crate::text::{self, Form};

/// All families, in the order of the inventory; each metric of the inventory stands here once, with or without series.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When its counters began to count: when the node began.
    pub since: SystemTime,
    /// When it was taken.
    pub at: SystemTime,
    /// What there is.
    pub families: Vec<Family>,
}

impl Snapshot {
    /// Its text.
    #[must_use]
    pub fn text(&self, form: Form) -> String {
        text::write(self, form)
    }
}

/// A metric with its series.
#[derive(Debug, Clone)]
pub struct Family {
    /// Name, kind, unit, names of the labels and help.
    pub metric: &'static Metric,
    /// One for each combination of label values.
    pub series: Vec<Series>,
}

/// A series at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Values of the labels, in the order in which [`Metric::labels`] names them.
    pub labels: Vec<Label>,
    /// Its value.
    pub value: Value,
}

/// The value of a series.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A count of a counter or a gauge; 1 for an info.
    Count(u64),
    /// A measure of a counter or a gauge, in the metric's unit.
    Measure(f64),
    /// A distribution; boxed, since most values are none.
    Histogram(Box<HistogramSnapshot>),
}
