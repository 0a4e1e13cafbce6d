//! Which columns of a table fit into a terminal, and how wide they are there.
//!
//! Invariants: a number is seen whole or not at all; what is dropped are whole columns, the least important ones first, the one
//! that somebody sorts by last; names get what is left. Machines are seen by their names alone where not all of their
//! ARNs and QRNs fit.

use super::table::{Cell, Table};

/// Between two columns.
pub(super) const SPACING: u16 = 2;
/// A name is seen this wide at least, if it is as long.
const NAME_MIN: u16 = 24;

/// A column that is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fitted {
    pub column: usize,
    pub width: u16,
    /// Machines are seen by their names alone.
    brief: bool,
}

/// The columns that are seen, from the left.
pub(super) fn fit(table: &Table, sorted: Option<usize>, width: u16) -> Vec<Fitted> {
    let full: Vec<u16> = table.widths().into_iter().map(cells).collect();
    let least: Vec<u16> = (0..full.len()).map(|column| least(table, column, full[column])).collect();
    let mut seen: Vec<usize> = (0..full.len()).collect();
    let unsorted = table.drops.iter().copied().filter(|column| Some(*column) != sorted);
    for dropped in unsorted.chain(sorted).chain((0..full.len()).rev()) {
        if needed(&seen, &least) <= width || seen.len() == 1 {
            break;
        }
        // The first column says what a row is of.
        seen.retain(|column| *column != dropped || dropped == 0);
    }
    if let [only] = seen[..]
        && least[only] > width
    {
        let text = table.is_text(only);
        return text.then_some(Fitted { column: only, width, brief: true }).into_iter().collect();
    }
    let mut spare = width - needed(&seen, &least);
    let widen = |column: usize| {
        let wanted = full[column] - least[column];
        let brief = wanted > spare;
        let wanted =
            if brief { cells(brief_width(table, column)).saturating_sub(least[column]) } else { wanted };
        let more = wanted.min(spare);
        spare -= more;
        Fitted { column, width: least[column] + more, brief }
    };
    seen.into_iter().map(widen).collect()
}

/// A cell as its column shows it.
pub(super) fn shown(cell: &Cell, fitted: Fitted) -> String {
    let whole = cell.to_string();
    let width = usize::from(fitted.width);
    let text = if fitted.brief { brief(&whole) } else { &whole };
    let long = text.chars().count();
    if long <= width {
        return text.to_owned();
    }
    // The ends of machines' names differ.
    if text.len() < whole.len() {
        return std::iter::once('…').chain(text.chars().skip(long + 1 - width)).collect();
    }
    cut(text, width)
}

/// A text without its end, where it is too long.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

/// The name of a machine without what most machines have in common; other names as they are.
fn brief(name: &str) -> &str {
    let after = |kind| name.split_once(kind).map(|(_, name)| name);
    after(":stateMachine:").or_else(|| after(":flowmachine:")).unwrap_or(name)
}

/// How wide a column has to be when its machines are seen by the ends of their names.
fn brief_width(table: &Table, column: usize) -> usize {
    let names = table.rows.iter().filter_map(|row| row.cells.get(column)).map(ToString::to_string);
    let widest = names.map(|name| brief(&name).chars().count()).max().unwrap_or(0);
    widest.max(table.columns[column].chars().count())
}

/// Below this width a column is dropped.
fn least(table: &Table, column: usize, full: u16) -> u16 {
    if table.is_text(column) { cells(brief_width(table, column)).min(NAME_MIN) } else { full }
}

fn needed(seen: &[usize], widths: &[u16]) -> u16 {
    let spaces = cells(seen.len().saturating_sub(1)).saturating_mul(SPACING);
    seen.iter().fold(spaces, |sum, column| sum.saturating_add(widths[*column]))
}

fn cells(width: usize) -> u16 {
    u16::try_from(width).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::table::{Order, Row};
    use super::*;

    const ORDERS: &str = "arn:aws:states:us-east-1:123456789012:stateMachine:orders";

    fn table() -> Table {
        let row = |name: &str, rate| Row {
            cells: vec![
                Cell::Text(name.to_owned()),
                Cell::Rate(Some(rate)),
                Cell::Count(rate),
                Cell::Text("confirms".to_owned()),
            ],
            alarming: false,
        };
        Table {
            title: "THINGS",
            columns: &["NAME", "RATE/S", "OPEN", "STORE"],
            rows: vec![row(ORDERS, 119_930.0), row("other", 2.0)],
            order: Order { column: 1, descending: true },
            drops: &[2, 3, 1],
        }
    }

    fn seen(width: u16, sorted: Option<usize>) -> Vec<usize> {
        fit(&table(), sorted, width).iter().map(|fitted| fitted.column).collect()
    }

    #[test]
    fn the_least_important_columns_go_first_and_the_one_that_is_sorted_by_last() {
        // orders 6, 119930 6, 119930 6, confirms 8, and three spaces of 2.
        assert_eq!(seen(32, None), [0, 1, 2, 3]);
        assert_eq!(seen(31, None), [0, 1, 3]);
        assert_eq!(seen(23, None), [0, 1]);
        assert_eq!(seen(13, None), [0]);
        assert_eq!(seen(31, Some(2)), [0, 1, 2]);
        assert_eq!(seen(14, Some(2)), [0, 2]);
        assert_eq!(seen(13, Some(2)), [0]);
    }

    #[test]
    fn whatever_the_width_columns_fit_and_numbers_are_whole() {
        let table = table();
        for width in 1..120 {
            let fitted = fit(&table, Some(1), width);
            let spaces = SPACING * cells(fitted.len() - 1);
            assert!(fitted.iter().map(|fitted| fitted.width).sum::<u16>() + spaces <= width);
            for (row, fitted) in
                table.rows.iter().flat_map(|row| fitted.iter().map(move |fitted| (row, *fitted)))
            {
                let cell = &row.cells[fitted.column];
                let text = shown(cell, fitted);
                assert!(text.chars().count() <= usize::from(fitted.width), "{width}: {text}");
                assert!(cell.is_text() || text == cell.to_string(), "{width}: {text}");
            }
        }
    }

    #[test]
    fn a_number_that_does_not_fit_alone_is_not_seen() {
        let mut table = table();
        table.columns = &["OPEN"];
        table.rows.iter_mut().for_each(|row| row.cells = vec![Cell::Count(119_930.0)]);
        table.drops = &[];
        assert_eq!(fit(&table, None, 6).len(), 1);
        assert_eq!(fit(&table, None, 5), []);
    }

    #[test]
    fn machines_are_seen_by_their_names_alone_unless_all_arns_fit() {
        let name = |width| shown(&table().rows[0].cells[0], fit(&table(), None, width)[0]);
        assert_eq!(name(120), ORDERS);
        assert_eq!(name(60), "orders");
        assert_eq!(name(6), "orders");
        assert_eq!(name(5), "…ders");
        let fitted = Fitted { column: 0, width: 8, brief: true };
        assert_eq!(shown(&Cell::Text("https://a.example".to_owned()), fitted), "https:/…");
        assert_eq!(
            brief("qrn:qcs:asw:ap-guangzhou:1300000000:http:json:flowmachine:orders:ab12"),
            "orders:ab12"
        );
    }
}
