//! Pictures of dashboards, from the answers of a real Prometheus: for people without a Grafana at hand.
//!
//! They are ours: an SVG with each panel at the place that the dashboard gives it, in the shapes that Grafana would take.
//! Invariants: what the answers do not hold is not drawn, and a panel without data says so; the head says who drew it.

mod number;
mod shapes;

use std::fmt::Write;

use crate::grafana::{height, places};
use crate::panel::{COLUMNS, Dashboard, Panel};
use crate::prometheus::{Range, Series};

/// Pixels of a column, and of a unit of height.
const CELL: (f64, f64) = (54.0, 29.0);
const HEAD: f64 = 46.0;

/// The answers to the queries of a panel, in their order.
pub type Answers = Vec<Vec<Series>>;

/// The picture of a dashboard; `ask` gives the answers to a panel.
pub fn svg(dashboard: &Dashboard, range: Range, mut ask: impl FnMut(&Panel) -> Answers) -> String {
    let heights = dashboard.rows.iter().map(|row| f64::from(height(row) + 1));
    let (wide, high) = (f64::from(COLUMNS) * CELL.0, HEAD + heights.sum::<f64>() * CELL.1);
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" font-family="DejaVu Sans" font-size="11">
<rect width="100%" height="100%" fill="#111217"/>"##
    );
    text(&mut out, (12.0, 28.0), "font-size=\"17\" fill=\"#ffffff\"", dashboard.title);
    let by = format!(
        "{:.0} s of a node under a load that fails now and then. Drawn by Myriad's renderer from Prometheus' answers, not by Grafana",
        range.end - range.start
    );
    text(&mut out, (wide - 12.0, 28.0), "fill=\"#9fa3ad\" text-anchor=\"end\"", &by);
    let mut y = HEAD;
    for row in &dashboard.rows {
        text(&mut out, (12.0, y + 19.0), "font-size=\"13\" fill=\"#d0d3da\"", row.title);
        y += CELL.1;
        for (panel, column, line) in places(row) {
            let place = Frame {
                x: f64::from(column) * CELL.0 + 2.0,
                y: y + f64::from(line) * CELL.1 + 2.0,
                w: f64::from(panel.width) * CELL.0 - 4.0,
                h: f64::from(panel.height) * CELL.1 - 4.0,
            };
            shapes::draw(&mut out, panel, place, range, &ask(panel));
        }
        y += f64::from(height(row)) * CELL.1;
    }
    out.push_str("</svg>");
    out
}

/// Where something is drawn.
#[derive(Debug, Clone, Copy)]
struct Frame {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

fn text(out: &mut String, (x, y): (f64, f64), style: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(out, r#"<text x="{x:.0}" y="{y:.0}" {style}>{words}</text>"#);
}

/// What fits into so many pixels, about.
fn cut(words: &str, pixels: f64) -> String {
    let fits = (pixels / 6.3).max(4.0) as usize;
    if words.chars().count() <= fits {
        return words.to_owned();
    }
    // The end of an ARN says more than its beginning.
    let tail: Vec<char> = words.chars().rev().take(fits - 1).collect();
    std::iter::once('…').chain(tail.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panel::{Unit, lines, row, stat, table};

    fn drawn(panel: Panel, answers: &Answers) -> String {
        let dashboard = Dashboard {
            instances: "executor_ready",
            uid: "of-a-test",
            title: "Of a test",
            description: "",
            variables: Vec::new(),
            rows: vec![row("A row", [panel])],
        };
        svg(&dashboard, Range { start: 0.0, end: 90.0, step: 1.0 }, |_| answers.clone())
    }

    fn series(machine: &str, points: &[(f64, f64)]) -> Series {
        let labels = vec![("machine".to_owned(), machine.to_owned())];
        Series { labels, points: points.to_vec(), others: 0 }
    }

    #[test]
    fn a_picture_names_its_lines_and_says_who_drew_it() {
        let panel = lines("Starts", Unit::PerSecond, "").ask("{{machine}}", "x");
        let picture = drawn(panel, &vec![vec![series("a<b", &[(0.0, 1.0), (1.0, 3.0), (60.0, 2.0)])]]);
        for words in [">Starts<", ">a&lt;b<", ">2/s<", ">3/s<", "not by Grafana"] {
            assert!(picture.contains(words), "{words}: {picture}");
        }
        // The gap from 1 to 60 is not drawn over.
        let path = picture.lines().find(|line| line.contains("stroke-width=\"1.3\"")).expect("a line");
        assert_eq!(path.matches('M').count(), 2, "{path}");
    }

    #[test]
    fn a_panel_without_data_says_so_and_shows_no_value() {
        let picture = drawn(stat("Ratio", Unit::Ratio, "").ask("ratio", "x"), &vec![Vec::new()]);
        assert!(picture.contains(">No data<") && !picture.contains(">0%<"), "{picture}");
    }

    #[test]
    fn a_table_has_what_is_there_at_the_end_alone() {
        let answers = vec![vec![series("gone", &[(0.0, 1.0), (50.0, 1.0)]), series("here", &[(90.0, 2.0)])]];
        let picture = drawn(table("T", Unit::Count, "").ask("Value", "x"), &answers);
        assert!(picture.contains(">here<") && !picture.contains(">gone<"), "{picture}");
    }

    #[test]
    fn a_stat_has_the_colour_of_its_last_value() {
        let panel = stat("Ratio", Unit::Ratio, "").ask("ratio", "x").good_below(1.0, 0.999);
        let good = drawn(panel.clone(), &vec![vec![series("a", &[(0.0, 0.5), (1.0, 1.0)])]]);
        let bad = drawn(panel, &vec![vec![series("a", &[(0.0, 1.0), (1.0, 0.5)])]]);
        assert!(good.contains(shapes::GREEN) && !good.contains(shapes::RED), "{good}");
        assert!(bad.contains(shapes::RED) && !bad.contains(shapes::GREEN), "{bad}");
    }
}
