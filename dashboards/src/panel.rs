//! What a dashboard is made of, before it is Grafana's.

use crate::query::{expand, quantile};

/// Columns of a dashboard.
pub const COLUMNS: u32 = 24;

/// A dashboard.
#[derive(Debug, Clone)]
pub struct Dashboard {
    /// Never changes: links and bookmarks name it.
    pub uid: &'static str,
    /// In lists.
    pub title: &'static str,
    /// One sentence or two.
    pub description: &'static str,
    /// The metric that each instance has whose jobs and instances can be selected.
    pub instances: &'static str,
    /// What can be selected besides data source, job and instance.
    pub variables: Vec<Variable>,
    /// From symptom to cause.
    pub rows: Vec<Row>,
}

/// A label by whose values a dashboard is filtered.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// In queries.
    pub name: &'static str,
    /// For people.
    pub label: &'static str,
    /// The metric that has the label of the same name.
    pub of: &'static str,
    /// Several at once, or exactly one.
    pub multi: bool,
}

/// Panels under a heading.
#[derive(Debug, Clone)]
pub struct Row {
    /// The heading.
    pub title: &'static str,
    /// Left to right, then down.
    pub panels: Vec<Panel>,
}

/// A row.
#[must_use]
pub fn row(title: &'static str, panels: impl Into<Vec<Panel>>) -> Row {
    Row { title, panels: panels.into() }
}

/// How a panel shows its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The last value, large, with a colour.
    Stat,
    /// Lines over time.
    Lines,
    /// One row for each combination of labels, one column for each query.
    Table,
    /// One bar for each combination of labels.
    Bars,
}

/// What the numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Things a second.
    PerSecond,
    /// Time.
    Seconds,
    /// Sizes.
    Bytes,
    /// Sizes a second.
    BytesPerSecond,
    /// Shares of one.
    Ratio,
    /// Times of something, as "6 times as fast as allowed".
    Times,
}

/// From this value on the colour is this one.
pub type Step = (f64, Colour);

/// Good or bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// As it should be.
    Green,
    /// Look when there is time.
    Orange,
    /// Look now.
    Red,
    /// Neither good nor bad.
    Blue,
}

/// A panel.
#[derive(Debug, Clone)]
pub struct Panel {
    /// What it shows.
    pub title: &'static str,
    /// What that means, what is usual, where to look next.
    pub description: &'static str,
    /// See [`Kind`].
    pub kind: Kind,
    /// See [`Unit`].
    pub unit: Unit,
    /// Of [`COLUMNS`].
    pub width: u32,
    /// In Grafana's units of 30 pixels and their gap.
    pub height: u32,
    /// The queries.
    pub targets: Vec<Target>,
    /// The first is that of values below the second's.
    pub colours: Vec<Step>,
    /// The top of the axis, where there is a natural one.
    pub max: Option<f64>,
    /// The label of a table whose values lead to the dashboard of the same variable.
    pub leads_to: Option<(&'static str, &'static str)>,
}

/// A query.
#[derive(Debug, Clone)]
pub struct Target {
    /// PromQL with Grafana's variables.
    pub expr: String,
    /// The name of a series, with labels in `{{}}`; of a table's column, its heading.
    pub legend: String,
    /// The unit of a table's column, where it is another than the panel's.
    pub unit: Option<Unit>,
}

fn panel(kind: Kind, title: &'static str, unit: Unit, description: &'static str) -> Panel {
    let (width, height) = match kind {
        Kind::Stat => (4, 4),
        Kind::Lines => (8, 8),
        Kind::Table => (24, 9),
        Kind::Bars => (8, 9),
    };
    let plain = if kind == Kind::Stat { Colour::Blue } else { Colour::Green };
    Panel {
        title,
        description,
        kind,
        unit,
        width,
        height,
        targets: Vec::new(),
        colours: vec![(f64::NEG_INFINITY, plain)],
        max: (unit == Unit::Ratio).then_some(1.0),
        leads_to: None,
    }
}

/// A panel of one value.
#[must_use]
pub fn stat(title: &'static str, unit: Unit, description: &'static str) -> Panel {
    panel(Kind::Stat, title, unit, description)
}

/// A panel of lines.
#[must_use]
pub fn lines(title: &'static str, unit: Unit, description: &'static str) -> Panel {
    panel(Kind::Lines, title, unit, description)
}

/// A panel of rows and columns.
#[must_use]
pub fn table(title: &'static str, unit: Unit, description: &'static str) -> Panel {
    panel(Kind::Table, title, unit, description)
}

/// A panel of bars.
#[must_use]
pub fn bars(title: &'static str, unit: Unit, description: &'static str) -> Panel {
    panel(Kind::Bars, title, unit, description)
}

impl Panel {
    /// Asks this, in the short form of [`expand`].
    #[must_use]
    pub fn ask(mut self, legend: impl Into<String>, expr: impl AsRef<str>) -> Self {
        self.targets.push(Target { expr: expand(expr.as_ref()), legend: legend.into(), unit: None });
        self
    }

    /// Asks for a column that has a unit of its own.
    #[must_use]
    pub fn column(self, heading: &str, unit: Unit, expr: impl AsRef<str>) -> Self {
        let mut panel = self.ask(heading, expr);
        panel.targets.last_mut().into_iter().for_each(|target| target.unit = Some(unit));
        panel
    }

    /// Asks for p50, p99 and p99.9 of a histogram.
    #[must_use]
    pub fn quantiles(self, of: &str) -> Self {
        [("p50", "0.5"), ("p99", "0.99"), ("p99.9", "0.999")]
            .into_iter()
            .fold(self, |panel, (name, q)| panel.ask(name, quantile(q, "", of)))
    }

    /// So wide and so high.
    #[must_use]
    pub fn size(mut self, width: u32, height: u32) -> Self {
        (self.width, self.height) = (width, height);
        self
    }

    /// Green up to `orange`, red from `red` on; where `red` is the smaller one, green is above.
    #[must_use]
    pub fn good_below(mut self, orange: f64, red: f64) -> Self {
        self.colours = if orange <= red {
            vec![(f64::NEG_INFINITY, Colour::Green), (orange, Colour::Orange), (red, Colour::Red)]
        } else {
            vec![(f64::NEG_INFINITY, Colour::Red), (red, Colour::Orange), (orange, Colour::Green)]
        };
        self
    }

    /// The axis ends where the values do.
    #[must_use]
    pub fn open_axis(mut self) -> Self {
        self.max = None;
        self
    }

    /// Values of this label lead to the dashboard with this uid.
    #[must_use]
    pub fn leads_to(mut self, label: &'static str, uid: &'static str) -> Self {
        self.leads_to = Some((label, uid));
        self
    }
}
