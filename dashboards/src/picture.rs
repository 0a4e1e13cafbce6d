//! Pictures of dashboards, from the answers of a real Prometheus: for people without a Grafana at hand.
//!
//! They are ours: an SVG with each panel at the place that the dashboard gives it, in the shapes that Grafana would take.
//! Invariants: what the answers do not hold is not drawn, and a panel without data says so; the head says who drew it.

use std::fmt::Write;

use crate::grafana::{height, places};
use crate::panel::{COLUMNS, Colour, Dashboard, Kind, Panel, Unit};
use crate::prometheus::{Range, Series};

/// Pixels of a column, and of a unit of height.
const CELL: (f64, f64) = (54.0, 26.0);
const HEAD: f64 = 46.0;
/// Lines of a panel; the rest is counted in its legend.
const LINES_MAX: usize = 10;
const PALETTE: [&str; 10] = [
    "#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#f2495c", "#b877d9", "#8ab8ff", "#96d98d", "#ffb357",
    "#ca95e5",
];

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
        "drawn by our renderer from the answers of a Prometheus, not by Grafana; {:.0} s",
        range.end - range.start
    );
    text(&mut out, (wide - 12.0, 28.0), "fill=\"#9fa3ad\" text-anchor=\"end\"", &by);
    let mut y = HEAD;
    for row in &dashboard.rows {
        text(&mut out, (12.0, y + 18.0), "font-size=\"13\" fill=\"#d0d3da\"", row.title);
        y += CELL.1;
        for (panel, column, line) in places(row) {
            let place = Frame {
                x: f64::from(column) * CELL.0 + 2.0,
                y: y + f64::from(line) * CELL.1 + 2.0,
                w: f64::from(panel.width) * CELL.0 - 4.0,
                h: f64::from(panel.height) * CELL.1 - 4.0,
            };
            draw(&mut out, panel, place, range, &ask(panel));
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

fn draw(out: &mut String, panel: &Panel, frame: Frame, range: Range, answers: &Answers) {
    let Frame { x, y, w, h } = frame;
    let _ = writeln!(
        out,
        r##"<rect x="{x:.0}" y="{y:.0}" width="{w:.0}" height="{h:.0}" rx="3" fill="#181b1f" stroke="#2c2f36"/>"##
    );
    let inner = Frame { x: x + 8.0, y: y + 24.0, w: w - 16.0, h: h - 30.0 };
    let empty = answers.iter().flatten().all(|series| series.points.is_empty());
    match panel.kind {
        _ if empty => {
            text(out, (x + w / 2.0, y + h / 2.0 + 8.0), "fill=\"#6e727b\" text-anchor=\"middle\"", "No data")
        }
        Kind::Stat => stat(out, panel, frame, answers),
        Kind::Lines => lines(out, panel, inner, range, answers),
        Kind::Table => table(out, panel, inner, answers),
        Kind::Bars => bars(out, panel, inner, answers),
    }
    text(out, (x + 8.0, y + 16.0), "fill=\"#ffffff\"", &cut(panel.title, w - 12.0));
}

fn stat(out: &mut String, panel: &Panel, Frame { x, y, w, h }: Frame, answers: &Answers) {
    let all: Vec<(&Series, &str)> = answers
        .iter()
        .zip(&panel.targets)
        .flat_map(|(series, target)| series.iter().map(|series| (series, target.legend.as_str())))
        .filter(|(series, _)| series.last().is_some())
        .collect();
    let Some(value) = all.first().and_then(|(series, _)| series.last()) else { return };
    let reached = panel.colours.iter().rev().find(|(from, _)| value >= *from);
    let fill = match reached.map_or(Colour::Blue, |(_, colour)| *colour) {
        Colour::Green => "#37872d",
        Colour::Orange => "#c15c17",
        Colour::Red => "#ad0317",
        Colour::Blue => "#1f60c4",
    };
    let _ =
        writeln!(out, r#"<rect x="{x:.0}" y="{y:.0}" width="{w:.0}" height="{h:.0}" rx="3" fill="{fill}"/>"#);
    let middle = (x + w / 2.0, y + h / 2.0 + 16.0);
    text(out, middle, "fill=\"#ffffff\" font-size=\"26\" text-anchor=\"middle\"", &number(value, panel.unit));
}

/// The name of a series, as the legend says it.
fn legend(series: &Series, legend: &str) -> String {
    series
        .labels
        .iter()
        .fold(legend.to_owned(), |name, (label, value)| name.replace(&format!("{{{{{label}}}}}"), value))
}

fn lines(out: &mut String, panel: &Panel, frame: Frame, range: Range, answers: &Answers) {
    let mut named: Vec<(String, &Series)> = answers
        .iter()
        .zip(&panel.targets)
        .flat_map(|(series, target)| series.iter().map(|series| (legend(series, &target.legend), series)))
        .filter(|(_, series)| !series.points.is_empty())
        .collect();
    let more = named.len().saturating_sub(LINES_MAX);
    named.truncate(LINES_MAX);
    let shown = named.len().min(4);
    let plot =
        Frame { x: frame.x + 52.0, w: frame.w - 56.0, h: frame.h - 14.0 * shown as f64 - 18.0, ..frame };
    let values = named.iter().flat_map(|(_, series)| series.points.iter().map(|(_, value)| *value));
    let top = nice(values.fold(0.0, f64::max));
    for part in 0..=2 {
        let share = f64::from(part) / 2.0;
        let y = plot.y + plot.h * (1.0 - share);
        let _ = writeln!(out, r##"<path d="M{:.0} {y:.0}h{:.0}" stroke="#2c2f36"/>"##, plot.x, plot.w);
        text(
            out,
            (plot.x - 5.0, y + 4.0),
            "fill=\"#9fa3ad\" text-anchor=\"end\"",
            &number(top * share, panel.unit),
        );
    }
    for (at, (name, series)) in named.iter().enumerate() {
        let colour = PALETTE[at % PALETTE.len()];
        let place = |&(time, value): &(f64, f64)| {
            let x = plot.x + plot.w * (time - range.start) / (range.end - range.start).max(1.0);
            (x, plot.y + plot.h * (1.0 - value / top))
        };
        let mut path = String::new();
        let mut before = f64::NEG_INFINITY;
        for point in &series.points {
            // A gap is not drawn over.
            let move_to = point.0 - before > range.step * 1.5;
            before = point.0;
            let (x, y) = place(point);
            let _ = write!(path, "{}{x:.1} {y:.1}", if move_to { 'M' } else { 'L' });
        }
        let _ = writeln!(out, r#"<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.3"/>"#);
        if at < shown {
            let y = plot.y + plot.h + 18.0 + 14.0 * at as f64;
            let _ = writeln!(
                out,
                r#"<rect x="{:.0}" y="{:.0}" width="10" height="3" fill="{colour}"/>"#,
                frame.x,
                y - 5.0
            );
            let last = series.last().map(|value| number(value, panel.unit)).unwrap_or_default();
            let hidden = named.len() - shown + more;
            let rest =
                if at + 1 == shown && hidden > 0 { format!("   and {hidden} more") } else { String::new() };
            text(
                out,
                (frame.x + 16.0, y),
                "fill=\"#d0d3da\"",
                &format!("{}{rest}", cut(name, frame.w - 160.0)),
            );
            text(out, (frame.x + frame.w, y), "fill=\"#d0d3da\" text-anchor=\"end\"", &last);
        }
    }
}

/// The labels that tell the rows of a table apart, joined.
fn row_name(series: &Series) -> String {
    let values: Vec<&str> = series.labels.iter().map(|(_, value)| value.as_str()).collect();
    values.join(" ")
}

fn table(out: &mut String, panel: &Panel, frame: Frame, answers: &Answers) {
    let mut rows: Vec<String> = Vec::new();
    for series in answers.iter().flatten().filter(|series| !series.points.is_empty()) {
        let name = row_name(series);
        if !rows.contains(&name) {
            rows.push(name);
        }
    }
    let first = frame.w * if panel.targets.len() > 3 { 0.34 } else { 0.55 };
    let wide = (frame.w - first) / panel.targets.len().max(1) as f64;
    let end = |column: usize| frame.x + first + wide * (column + 1) as f64;
    for (column, target) in panel.targets.iter().enumerate() {
        text(
            out,
            (end(column), frame.y + 10.0),
            "fill=\"#6e9fff\" text-anchor=\"end\"",
            &cut(&target.legend, wide),
        );
    }
    let fits = ((frame.h - 12.0) / 16.0).max(1.0) as usize;
    for (at, row) in rows.iter().take(fits).enumerate() {
        let y = frame.y + 27.0 + 16.0 * at as f64;
        text(out, (frame.x, y), "fill=\"#d0d3da\"", &cut(row, first - 8.0));
        for (column, (target, answer)) in panel.targets.iter().zip(answers).enumerate() {
            let value = answer.iter().find(|series| row_name(series) == *row).and_then(Series::last);
            let words =
                value.map(|value| number(value, target.unit.unwrap_or(panel.unit))).unwrap_or_default();
            text(out, (end(column), y), "fill=\"#ffffff\" text-anchor=\"end\"", &words);
        }
    }
}

fn bars(out: &mut String, panel: &Panel, frame: Frame, answers: &Answers) {
    let mut named: Vec<(String, f64)> = answers
        .iter()
        .zip(&panel.targets)
        .flat_map(|(series, target)| series.iter().map(|series| (legend(series, &target.legend), series)))
        .filter_map(|(name, series)| Some((name, series.last()?)))
        .collect();
    named.sort_by(|one, other| other.1.total_cmp(&one.1));
    let top = named.iter().map(|(_, value)| *value).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let fits = (frame.h / 18.0).max(1.0) as usize;
    for (at, (name, value)) in named.iter().take(fits).enumerate() {
        let y = frame.y + 18.0 * at as f64;
        let (from, wide) = (frame.x + frame.w * 0.4, frame.w * 0.42 * value / top);
        text(out, (from - 6.0, y + 12.0), "fill=\"#d0d3da\" text-anchor=\"end\"", &cut(name, frame.w * 0.38));
        let _ = writeln!(
            out,
            r##"<rect x="{from:.0}" y="{:.0}" width="{wide:.1}" height="12" fill="#73bf69"/>"##,
            y + 2.0
        );
        text(
            out,
            (frame.x + frame.w, y + 12.0),
            "fill=\"#ffffff\" text-anchor=\"end\"",
            &number(*value, panel.unit),
        );
    }
}

/// The next round number from a value on.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let ten = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * ten).find(|step| *step >= value).unwrap_or(value)
}

fn scaled(value: f64, steps: &[(f64, &str)]) -> String {
    let found = steps.iter().rev().find(|(from, _)| value.abs() >= *from).or(steps.first());
    let (from, unit) = found.copied().unwrap_or((1.0, ""));
    let value = value / from;
    let digits = if value == value.round() || value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{unit}")
}

/// A number as people read it.
fn number(value: f64, unit: Unit) -> String {
    if value == 0.0 {
        return if unit == Unit::Ratio { "0%".to_owned() } else { "0".to_owned() };
    }
    match unit {
        Unit::Count | Unit::Times => scaled(value, &[(1.0, ""), (1e3, " K"), (1e6, " M")]),
        Unit::PerSecond => scaled(value, &[(1.0, "/s"), (1e3, " K/s"), (1e6, " M/s")]),
        Unit::Seconds => {
            scaled(value, &[(1e-6, " µs"), (1e-3, " ms"), (1.0, " s"), (60.0, " min"), (3600.0, " h")])
        }
        Unit::Bytes => {
            scaled(value, &[(1.0, " B"), (1024.0, " KiB"), (1_048_576.0, " MiB"), (1_073_741_824.0, " GiB")])
        }
        Unit::BytesPerSecond => scaled(value, &[(1.0, " B/s"), (1e3, " kB/s"), (1e6, " MB/s")]),
        Unit::Ratio => scaled(value * 100.0, &[(1.0, "%")]),
    }
}
