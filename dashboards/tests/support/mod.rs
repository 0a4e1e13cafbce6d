//! Dashboards, panels and queries as the files in the repository have them.

#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use promql_parser::parser::{self, Expr};
use serde_json::Value;
use telemetry::inventory::{Kind, Metric};

/// This folder of the repository.
pub fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every dashboard with the name of its file.
pub fn dashboards() -> Vec<(String, Value)> {
    let entries = std::fs::read_dir(folder().join("grafana")).expect("dashboards/grafana is there");
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    let json: BTreeSet<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("a readable dashboard");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, serde_json::from_str(&text).expect("a dashboard is JSON"))
    };
    json.iter().map(read).collect()
}

/// The panels of a dashboard, without its rows.
pub fn panels(dashboard: &Value) -> Vec<&Value> {
    let all = dashboard["panels"].as_array().expect("panels");
    all.iter().filter(|panel| panel["type"] != "row").collect()
}

/// A query of a panel, and where it stands.
pub struct Query {
    pub dashboard: String,
    pub panel: String,
    pub ref_id: String,
    pub expr: String,
}

impl Query {
    /// For messages and lists of exceptions.
    pub fn place(&self) -> String {
        format!("{} / {} / {}", self.dashboard, self.panel, self.ref_id)
    }
}

/// Every query of every panel.
pub fn queries() -> Vec<Query> {
    let mut all = Vec::new();
    for (file, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for target in panel["targets"].as_array().expect("targets") {
                let text = |value: &Value| value.as_str().expect("a text").to_owned();
                all.push(Query {
                    dashboard: file.clone(),
                    panel: text(&panel["title"]),
                    ref_id: text(&target["refId"]),
                    expr: text(&target["expr"]),
                });
            }
        }
    }
    all
}

/// A query as Prometheus gets it, with everything selected.
pub fn substituted(expr: &str) -> String {
    [("$__rate_interval", "5m"), ("$__range", "1h"), ("$job", ".+"), ("$instance", ".+")]
        .into_iter()
        .chain([("$machine", ".+"), ("$target", ".+")])
        .fold(expr.to_owned(), |text, (variable, value)| text.replace(variable, value))
}

/// Reads PromQL.
pub fn parse(expr: &str) -> Result<Expr, String> {
    parser::parse(&substituted(expr))
}

/// Everything within an expression, with what is around each part: outermost first.
pub fn walk<'a>(expr: &'a Expr, around: &mut Vec<&'a Expr>, visit: &mut dyn FnMut(&'a Expr, &[&'a Expr])) {
    visit(expr, around);
    around.push(expr);
    match expr {
        Expr::Aggregate(inner) => {
            walk(&inner.expr, around, visit);
            inner.param.iter().for_each(|param| walk(param, around, visit));
        }
        Expr::Unary(inner) => walk(&inner.expr, around, visit),
        Expr::Paren(inner) => walk(&inner.expr, around, visit),
        Expr::Subquery(inner) => walk(&inner.expr, around, visit),
        Expr::Binary(inner) => {
            walk(&inner.lhs, around, visit);
            walk(&inner.rhs, around, visit);
        }
        Expr::Call(call) => call.args.args.iter().for_each(|inner| walk(inner, around, visit)),
        Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::Extension(_) => {}
    }
    around.pop();
}

/// The names of the metrics that an expression asks for.
pub fn names(expr: &Expr) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(expr, &mut Vec::new(), &mut |part, _| match part {
        Expr::VectorSelector(selector) => found.extend(selector.name.clone()),
        Expr::MatrixSelector(selector) => found.extend(selector.vs.name.clone()),
        _ => {}
    });
    found
}

/// The series of a metric: histograms are asked for by their buckets, sums and counts.
pub fn series(metric: &Metric) -> Vec<String> {
    match metric.kind {
        Kind::Histogram => {
            ["_bucket", "_sum", "_count"].iter().map(|end| format!("{}{end}", metric.name)).collect()
        }
        Kind::Counter | Kind::Gauge | Kind::Info => vec![metric.name.to_owned()],
    }
}

/// A list of exceptions: each line an entry and, after a tab or two spaces, the reason.
pub fn exceptions(file: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(folder().join(file)).expect("the list is there");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let entry = |line: &str| {
        let (entry, reason) = line.split_once("  ").unwrap_or_else(|| panic!("{file}: no reason: {line}"));
        assert!(reason.trim().len() > 10, "{file}: no reason: {line}");
        entry.to_owned()
    };
    lines.map(entry).collect()
}
