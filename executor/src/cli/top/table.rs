//! Tables of numbers, which both the terminal and the plain text are made from.

use std::cmp::Ordering;
use std::fmt::{self, Write};

/// A table, in the order of its rows' names.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub title: &'static str,
    pub columns: &'static [&'static str],
    pub rows: Vec<Row>,
    /// By which column it is sorted where nobody says.
    pub order: Order,
    /// The columns that are left out where a terminal is too narrow for all, the least important one first.
    pub drops: &'static [usize],
}

/// A row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub cells: Vec<Cell>,
    /// Somebody should look at it.
    pub alarming: bool,
}

/// How rows are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub column: usize,
    /// The highest first.
    pub descending: bool,
}

/// What stands in a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// A name.
    Text(String),
    /// By the second; nothing as long as there is none.
    Rate(Option<f64>),
    /// Things.
    Count(f64),
    /// A time in seconds; nothing where nothing was observed.
    Time(Option<f64>),
    /// A part of 1.
    Share(Option<f64>),
    /// A size.
    Bytes(f64),
}

impl Cell {
    fn number(&self) -> Option<f64> {
        match self {
            Self::Text(_) => None,
            Self::Rate(number) | Self::Time(number) | Self::Share(number) => *number,
            Self::Count(number) | Self::Bytes(number) => Some(*number),
        }
    }

    /// Names stand on the left of their column, numbers on the right.
    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            // What there is none of is below everything.
            _ => self.number().unwrap_or(-1.0).total_cmp(&other.number().unwrap_or(-1.0)),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Rate(None) | Self::Time(None) | Self::Share(None) => f.write_str("-"),
            Self::Rate(Some(rate)) if *rate >= 1_000.0 => write!(f, "{rate:.0}"),
            Self::Rate(Some(rate)) => write!(f, "{rate:.1}"),
            Self::Count(count) => write!(f, "{count:.0}"),
            Self::Time(Some(seconds)) => time(f, *seconds),
            Self::Share(Some(part)) => write!(f, "{:.0}%", part * 100.0),
            Self::Bytes(bytes) => write!(f, "{:.0}MiB", bytes / f64::from(1 << 20)),
        }
    }
}

fn time(f: &mut fmt::Formatter<'_>, seconds: f64) -> fmt::Result {
    match seconds {
        s if s < 0.0995 => write!(f, "{:.1}ms", s * 1e3),
        s if s < 0.9995 => write!(f, "{:.0}ms", s * 1e3),
        s if s < 99.95 => write!(f, "{s:.1}s"),
        s if s < 7_200.0 => write!(f, "{:.0}min", s / 60.0),
        s => write!(f, "{:.1}h", s / 3_600.0),
    }
}

impl Table {
    /// The rows in this order; equal ones stay in that of their names.
    pub(super) fn sorted(&self, order: Order) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by(|one, other| {
            let compared = match (one.cells.get(order.column), other.cells.get(order.column)) {
                (Some(one), Some(other)) => one.compare(other),
                _ => Ordering::Equal,
            };
            if order.descending { compared.reverse() } else { compared }
        });
        rows
    }

    /// How wide each column has to be.
    pub(super) fn widths(&self) -> Vec<usize> {
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.cells.get(column));
        let width = |(column, name): (usize, &&str)| {
            let widest = cells(column).map(|cell| cell.to_string().chars().count()).max().unwrap_or(0);
            widest.max(name.chars().count())
        };
        self.columns.iter().enumerate().map(width).collect()
    }

    /// Whether a column holds names.
    pub(super) fn is_text(&self, column: usize) -> bool {
        self.rows.first().and_then(|row| row.cells.get(column)).is_none_or(Cell::is_text)
    }

    /// As plain text: a title, a line of names, a line for each row.
    pub(super) fn write(&self, text: &mut String) {
        let widths = self.widths();
        let mut line = |cells: &mut dyn Iterator<Item = String>| {
            let mut line = String::new();
            for (column, cell) in cells.enumerate() {
                let width = widths.get(column).copied().unwrap_or(0);
                // Strings grow.
                let _ = if self.is_text(column) {
                    write!(line, "{cell:<width$}  ")
                } else {
                    write!(line, "{cell:>width$}  ")
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        };
        line(&mut std::iter::once(self.title.to_owned()));
        line(&mut self.columns.iter().map(|name| (*name).to_owned()));
        for row in self.sorted(self.order) {
            line(&mut row.cells.iter().map(ToString::to_string));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |name: &str, rate, time| Row {
            cells: vec![Cell::Text(name.to_owned()), Cell::Rate(rate), Cell::Time(time)],
            alarming: false,
        };
        Table {
            title: "THINGS",
            columns: &["NAME", "RATE/S", "P50"],
            rows: vec![
                row("a", Some(2.0), None),
                row("bb", Some(12_345.6), Some(0.0042)),
                row("c", Some(2.0), Some(1.5)),
                row("d", None, Some(90_000.0)),
            ],
            order: Order { column: 1, descending: true },
            drops: &[2, 1],
        }
    }

    #[test]
    fn the_highest_come_first_and_equal_ones_by_name() {
        let table = table();
        let names = |order| -> Vec<String> {
            table.sorted(order).iter().map(|row| row.cells[0].to_string()).collect()
        };
        assert_eq!(names(table.order), ["bb", "a", "c", "d"]);
        assert_eq!(names(Order { column: 2, descending: false }), ["a", "bb", "c", "d"]);
        assert_eq!(names(Order { column: 0, descending: true }), ["d", "c", "bb", "a"]);
    }

    #[test]
    fn plain_text_has_columns() {
        let mut text = String::new();
        table().write(&mut text);
        let wanted = "THINGS\nNAME  RATE/S    P50\nbb     12346  4.2ms\na        2.0      -\nc        2.0   1.5s\nd          -  25.0h\n";
        assert_eq!(text, wanted);
    }
}
