//! Panels: a large value, lines over time, a table, bars.

use std::fmt::Write;

use super::number::{number, top};
use super::{Answers, Frame, cut, text};
use crate::panel::{Colour, Kind, Panel, Unit};
use crate::prometheus::{Range, Series};

/// Lines of a legend; the rest is counted in the last one.
const NAMED_MAX: usize = 6;
/// Pixels of a line of text.
const LINE: f64 = 14.0;
/// Pixels of a column of numbers in a legend.
const NUMBER: f64 = 62.0;
const PALETTE: [&str; 10] = [
    "#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#f2495c", "#b877d9", "#8ab8ff", "#96d98d", "#ffb357",
    "#ca95e5",
];
pub(super) const GREEN: &str = "#37872d";
pub(super) const RED: &str = "#ad0317";

pub(super) fn draw(out: &mut String, panel: &Panel, frame: Frame, range: Range, answers: &Answers) {
    let Frame { x, y, w, h } = frame;
    boxed(out, frame, "#181b1f\" stroke=\"#2c2f36");
    let inner = Frame { x: x + 8.0, y: y + 30.0, w: w - 16.0, h: h - 36.0 };
    let empty = answers.iter().flatten().all(|series| series.points.is_empty());
    match panel.kind {
        _ if empty => {
            text(out, (x + w / 2.0, y + h / 2.0 + 8.0), "fill=\"#6e727b\" text-anchor=\"middle\"", "No data")
        }
        Kind::Stat => stat(out, panel, frame, range, answers),
        Kind::Lines => lines(out, panel, inner, range, answers),
        Kind::Table => table(out, panel, inner, &at_the_end(range, answers)),
        Kind::Bars => bars(out, panel, inner, &at_the_end(range, answers)),
    }
    text(out, (x + 8.0, y + 17.0), "fill=\"#ffffff\"", &cut(panel.title, w - 12.0));
}

fn boxed(out: &mut String, Frame { x, y, w, h }: Frame, fill: &str) {
    let _ =
        writeln!(out, r#"<rect x="{x:.0}" y="{y:.0}" width="{w:.0}" height="{h:.0}" rx="3" fill="{fill}"/>"#);
}

/// Every series with data, by the name that the legend gives it.
fn named<'a>(panel: &Panel, answers: &'a Answers) -> Vec<(String, &'a Series)> {
    let name = |series: &Series, legend: &str| {
        let labels = series.labels.iter();
        labels
            .fold(legend.to_owned(), |name, (label, value)| name.replace(&format!("{{{{{label}}}}}"), value))
    };
    answers
        .iter()
        .zip(&panel.targets)
        .flat_map(|(series, target)| series.iter().map(|series| (name(series, &target.legend), series)))
        .filter(|(_, series)| !series.points.is_empty())
        .collect()
}

/// The series that are there at the end: tables and bars show one instant.
fn at_the_end(range: Range, answers: &Answers) -> Answers {
    let there = |series: &&Series| {
        series.points.last().is_some_and(|(time, _)| range.end - time < range.step.max(1.0))
    };
    answers.iter().map(|answer| answer.iter().filter(there).cloned().collect()).collect()
}

fn largest(series: &Series) -> f64 {
    series.points.iter().map(|(_, value)| *value).fold(0.0, f64::max)
}

fn mean(series: &Series) -> f64 {
    series.points.iter().map(|(_, value)| value).sum::<f64>() / series.points.len().max(1) as f64
}

/// The way of a line through a frame whose upper edge is `top`.
fn path(series: &Series, plot: Frame, range: Range, top: f64) -> String {
    let (mut path, mut before) = (String::new(), f64::NEG_INFINITY);
    for &(time, value) in &series.points {
        // A gap is not drawn over.
        let step = if time - before > range.step * 1.5 { 'M' } else { 'L' };
        before = time;
        let x = plot.x + plot.w * (time - range.start) / (range.end - range.start).max(1.0);
        let _ = write!(path, "{step}{x:.1} {:.1}", plot.y + plot.h * (1.0 - value / top));
    }
    path
}

fn stat(out: &mut String, panel: &Panel, frame: Frame, range: Range, answers: &Answers) {
    let all = named(panel, answers);
    let Some((series, value)) = all.first().and_then(|(_, series)| Some((series, series.last()?))) else {
        return;
    };
    let reached = panel.colours.iter().rev().find(|(from, _)| value >= *from);
    let fill = match reached.map_or(Colour::Blue, |(_, colour)| *colour) {
        Colour::Green => GREEN,
        Colour::Orange => "#c15c17",
        Colour::Red => RED,
        Colour::Blue => "#1f60c4",
    };
    boxed(out, frame, fill);
    let Frame { x, y, w, h } = frame;
    let plot = Frame { x: x + 2.0, y: y + h * 0.7, w: w - 4.0, h: h * 0.3 - 3.0 };
    let line = path(series, plot, range, largest(series).max(f64::MIN_POSITIVE));
    let _ = writeln!(out, r##"<path d="{line}" fill="none" stroke="#ffffff" stroke-opacity="0.5"/>"##);
    let middle = (x + w / 2.0, y + h / 2.0 + 12.0);
    text(out, middle, "fill=\"#ffffff\" font-size=\"26\" text-anchor=\"middle\"", &number(value, panel.unit));
}

fn lines(out: &mut String, panel: &Panel, frame: Frame, range: Range, answers: &Answers) {
    let mut named = named(panel, answers);
    named.sort_by(|one, other| largest(other.1).total_cmp(&largest(one.1)));
    let shown = named.len().min(NAMED_MAX);
    let under = LINE * (shown as f64 + 1.0) + 18.0;
    let plot = Frame { x: frame.x + 54.0, w: frame.w - 60.0, h: frame.h - under, ..frame };
    let high = top(named.first().map_or(0.0, |(_, series)| largest(series)), panel.unit);
    axes(out, panel.unit, plot, range, high);
    for (at, (_, series)) in named.iter().enumerate().rev() {
        let (line, colour) = (path(series, plot, range, high), PALETTE[at % PALETTE.len()]);
        let _ = writeln!(out, r#"<path d="{line}" fill="none" stroke="{colour}" stroke-width="1.3"/>"#);
    }
    legend(out, panel.unit, Frame { y: plot.y + plot.h + 28.0, ..frame }, &named);
}

/// Values at the left, time below.
fn axes(out: &mut String, unit: Unit, plot: Frame, range: Range, high: f64) {
    for share in [0.0, 0.5, 1.0] {
        let y = plot.y + plot.h * (1.0 - share);
        let _ = writeln!(out, r##"<path d="M{:.0} {y:.0}h{:.0}" stroke="#2c2f36"/>"##, plot.x, plot.w);
        let at = (plot.x - 5.0, y + 4.0);
        text(out, at, "fill=\"#9fa3ad\" text-anchor=\"end\"", &number(high * share, unit));
    }
    let seconds = range.end - range.start;
    let ends = [("start", 0.0), ("middle", 0.5), ("end", 1.0)];
    for (anchor, share) in ends {
        let ago = seconds * (1.0 - share);
        let words = if ago > 0.0 { format!("−{ago:.0} s") } else { "now".to_owned() };
        let style = format!("fill=\"#6e727b\" font-size=\"10\" text-anchor=\"{anchor}\"");
        text(out, (plot.x + plot.w * share, plot.y + plot.h + 12.0), &style, &words);
    }
}

/// Names with mean and largest value, as Grafana's legends are told to have them.
fn legend(out: &mut String, unit: Unit, frame: Frame, named: &[(String, &Series)]) {
    let end = frame.x + frame.w;
    let row = |out: &mut String, y: f64, fill: &str, mean: &str, max: &str| {
        let style = format!("fill=\"{fill}\" text-anchor=\"end\"");
        text(out, (end - NUMBER, y), &style, mean);
        text(out, (end, y), &style, max);
    };
    row(out, frame.y, "#6e9fff", "mean", "max");
    let more = named.len().saturating_sub(NAMED_MAX);
    for (at, (name, series)) in named.iter().take(NAMED_MAX).enumerate() {
        let (y, colour) = (frame.y + LINE * (at + 1) as f64, PALETTE[at % PALETTE.len()]);
        let _ = writeln!(
            out,
            r#"<rect x="{:.0}" y="{:.0}" width="10" height="3" fill="{colour}"/>"#,
            frame.x,
            y - 5.0
        );
        let rest =
            if at + 1 == NAMED_MAX && more > 0 { format!("   and {more} more") } else { String::new() };
        let room = frame.w - 2.0 * NUMBER - 20.0 - 6.3 * rest.len() as f64;
        text(out, (frame.x + 16.0, y), "fill=\"#d0d3da\"", &format!("{}{rest}", cut(name, room)));
        row(out, y, "#d0d3da", &number(mean(series), unit), &number(largest(series), unit));
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
        let at = (end(column), frame.y + 8.0);
        text(out, at, "fill=\"#6e9fff\" text-anchor=\"end\"", &cut(&target.legend, wide));
    }
    let fits = ((frame.h - 14.0) / 17.0).max(1.0) as usize;
    if rows.len() > fits {
        let words = format!("and {} more", rows.len() - fits);
        text(out, (frame.x, frame.y + 8.0), "fill=\"#9fa3ad\"", &words);
    }
    for (at, row) in rows.iter().take(fits).enumerate() {
        let y = frame.y + 26.0 + 17.0 * at as f64;
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
    let named = named(panel, answers);
    let mut named: Vec<(String, f64)> =
        named.into_iter().filter_map(|(name, series)| Some((name, series.last()?))).collect();
    named.sort_by(|one, other| other.1.total_cmp(&one.1));
    let longest = named.first().map_or(0.0, |(_, value)| *value).max(f64::MIN_POSITIVE);
    let fits = (frame.h / 18.0).max(1.0) as usize;
    for (at, (name, value)) in named.iter().take(fits).enumerate() {
        let y = frame.y + 18.0 * at as f64;
        let (from, wide) = (frame.x + frame.w * 0.4, frame.w * 0.42 * value / longest);
        text(out, (from - 6.0, y + 12.0), "fill=\"#d0d3da\" text-anchor=\"end\"", &cut(name, frame.w * 0.38));
        boxed(out, Frame { x: from, y: y + 2.0, w: wide, h: 12.0 }, PALETTE[0]);
        let at = (frame.x + frame.w, y + 12.0);
        text(out, at, "fill=\"#ffffff\" text-anchor=\"end\"", &number(*value, panel.unit));
    }
}
