//! Grafana's JSON.
//!
//! Invariants: keys are sorted, so that the bytes do not depend on how the JSON library keeps objects; panels are numbered in
//! the order of the source.

use serde_json::{Map, Value, json};

use crate::panel::{COLUMNS, Colour, Dashboard, Kind, Panel, Row, Unit, Variable};
use crate::query::expand;

/// The version of the format that is written: Grafana 10 and later read it.
const SCHEMA: u32 = 39;

/// The text of the file.
#[must_use]
pub fn text(dashboard: &Dashboard) -> String {
    format!("{:#}\n", sorted(model(dashboard)))
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            let entries = entries.into_iter().map(|(key, value)| (key, sorted(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        plain => plain,
    }
}

fn model(dashboard: &Dashboard) -> Value {
    json!({
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["myriad"],
        "timezone": "browser",
        "editable": false,
        "schemaVersion": SCHEMA,
        "version": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "graphTooltip": 1,
        "templating": {"list": variables(dashboard)},
        "annotations": {"list": annotations()},
        "links": links(dashboard.uid),
        "panels": panels(&dashboard.rows),
    })
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn variables(dashboard: &Dashboard) -> Vec<Value> {
    let mut all = vec![json!({
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {"text": "default", "value": "default"},
    })];
    let nodes = [("job", "Job", ""), ("instance", "Instance", r#"{job=~"$job"}"#)];
    all.extend(
        nodes.map(|(name, label, of)| variable(name, label, &format!("{}{of}", dashboard.instances), true)),
    );
    let more = dashboard.variables.iter();
    all.extend(more.map(|&Variable { name, label, of, multi }| variable(name, label, &expand(of), multi)));
    all
}

fn variable(name: &str, label: &str, of: &str, multi: bool) -> Value {
    let query = format!("label_values({of}, {name})");
    let mut made = json!({
        "name": name,
        "label": label,
        "type": "query",
        "datasource": source(),
        "query": {"query": query, "refId": name},
        "definition": query,
        "multi": multi,
        "includeAll": multi,
        "refresh": 2,
        "sort": 1,
    });
    if multi {
        made["allValue"] = json!(".+");
        made["current"] = json!({"text": "All", "value": "$__all"});
    }
    made
}

/// What happened meanwhile, as lines across all panels.
fn annotations() -> Vec<Value> {
    let of = |name: &str, colour: &str, expr: &str, title: &str| {
        json!({
            "name": name,
            "datasource": source(),
            "enable": true,
            "hide": false,
            "iconColor": colour,
            "target": {"refId": "Anno", "expr": expand(expr), "interval": "10s"},
            "titleFormat": title,
        })
    };
    let deploys = "max by (version) (executor_build_info{*} or scheduler_build_info{*}) unless \
        max by (version) (executor_build_info{*} offset 5m or scheduler_build_info{*} offset 5m)";
    // Others that Prometheus scrapes have such a time, too.
    let starts = "changes(process_start_time_seconds{*}[1m]) > 0 and on (job, instance) (executor_ready{*} or scheduler_ready{*})";
    vec![
        of("Deploys", "blue", deploys, "version {{version}} runs"),
        of("Starts of nodes and schedulers", "purple", starts, "{{instance}} started"),
        of(
            "Reloads that fail",
            "orange",
            "executor_reload_failing{*} == 1 or scheduler_reload_failing{*} == 1",
            "{{instance}} cannot use its changed {{what}}",
        ),
        of("Alerts", "red", r#"ALERTS{a, alertname=~"Myriad.+", alertstate="firing"}"#, "{{alertname}}"),
    ]
}

/// To the other dashboards, with what is selected.
fn links(own: &str) -> Vec<Value> {
    let all = [
        ("myriad-overview", "Overview", "Is it well?"),
        ("myriad-node", "Node", "What a node is busy with"),
        ("myriad-workflow", "Workflow", "One machine"),
        ("myriad-front", "Front door", "Calls of the public API"),
    ];
    let others = all.into_iter().filter(|(uid, ..)| *uid != own);
    let link = |(uid, title, tooltip)| {
        json!({
            "type": "link",
            "title": title,
            "tooltip": tooltip,
            "url": format!("/d/{uid}"),
            "icon": "dashboard",
            "asDropdown": false,
            "includeVars": true,
            "keepTime": true,
            "targetBlank": false,
            "tags": [],
        })
    };
    others.map(link).collect()
}

/// Rows and panels with their places: left to right, as high as the highest of a line.
fn panels(rows: &[Row]) -> Vec<Value> {
    let (mut made, mut y) = (Vec::new(), 0);
    for row in rows {
        let place = json!({"x": 0, "y": y, "w": COLUMNS, "h": 1});
        made.push(json!({
            "id": made.len() + 1,
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "gridPos": place,
            "panels": [],
        }));
        y += 1;
        for (panel, x, at) in places(row) {
            let place = json!({"x": x, "y": y + at, "w": panel.width, "h": panel.height});
            made.push(panel_model(panel, made.len() + 1, place));
        }
        y += height(row);
    }
    made
}

/// Where the panels of a row stand: column, and line below the row's heading.
pub fn places(row: &Row) -> impl Iterator<Item = (&Panel, u32, u32)> {
    let (mut x, mut y, mut highest) = (0, 0, 0);
    row.panels.iter().map(move |panel| {
        if x + panel.width > COLUMNS {
            (x, y, highest) = (0, y + highest, 0);
        }
        let place = (panel, x, y);
        x += panel.width;
        highest = highest.max(panel.height);
        place
    })
}

/// How high a row is without its heading.
#[must_use]
pub fn height(row: &Row) -> u32 {
    places(row).map(|(panel, _, y)| y + panel.height).max().unwrap_or_default()
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "short",
        Unit::PerSecond => "ops",
        Unit::Seconds => "s",
        Unit::Bytes => "bytes",
        Unit::BytesPerSecond => "Bps",
        Unit::Ratio => "percentunit",
        Unit::Times => "none",
    }
}

fn colour(colour: Colour) -> &'static str {
    match colour {
        Colour::Green => "green",
        Colour::Orange => "orange",
        Colour::Red => "red",
        Colour::Blue => "blue",
    }
}

fn panel_model(panel: &Panel, id: usize, place: Value) -> Value {
    let kind = match panel.kind {
        Kind::Stat => "stat",
        Kind::Lines => "timeseries",
        Kind::Table => "table",
        Kind::Bars => "bargauge",
    };
    let mut made = json!({
        "id": id,
        "type": kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": source(),
        "gridPos": place,
        "fieldConfig": {"defaults": defaults(panel), "overrides": overrides(panel)},
        "targets": targets(panel),
        "options": options(panel.kind),
    });
    if panel.kind == Kind::Table {
        made["transformations"] = transformations(panel);
    }
    made
}

fn defaults(panel: &Panel) -> Value {
    let steps = panel.colours.iter().map(|(from, of)| {
        // The first step has no beginning.
        json!({"value": from.is_finite().then_some(from), "color": colour(*of)})
    });
    let mut made = json!({
        "unit": unit(panel.unit),
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps.collect::<Vec<_>>()},
    });
    if let Some(max) = panel.max {
        made["max"] = json!(max);
    }
    if panel.kind == Kind::Lines {
        made["custom"] =
            json!({"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never"});
    } else if panel.kind == Kind::Stat {
        made["noValue"] = json!("none");
    }
    made
}

fn ref_id(at: usize) -> String {
    char::from(b'A' + u8::try_from(at % 26).unwrap_or_default()).to_string()
}

fn targets(panel: &Panel) -> Vec<Value> {
    // Tables and bars show one instant, the end of the time that is looked at.
    let instant = matches!(panel.kind, Kind::Table | Kind::Bars);
    let target = |(at, target): (usize, &crate::Target)| {
        json!({
            "refId": ref_id(at),
            "datasource": source(),
            "expr": target.expr,
            "legendFormat": target.legend,
            "instant": instant,
            "range": !instant,
            "format": if panel.kind == Kind::Table { "table" } else { "time_series" },
        })
    };
    panel.targets.iter().enumerate().map(target).collect()
}

fn options(kind: Kind) -> Value {
    let last = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
    match kind {
        Kind::Stat => json!({
            "colorMode": "background",
            "graphMode": "area",
            "textMode": "auto",
            "justifyMode": "auto",
            "orientation": "auto",
            "reduceOptions": last,
        }),
        Kind::Lines => json!({
            "legend": {"displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": ["mean", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }),
        Kind::Table => json!({"showHeader": true, "cellHeight": "sm"}),
        Kind::Bars => json!({
            "displayMode": "basic",
            "orientation": "horizontal",
            "showUnfilled": true,
            "reduceOptions": last,
        }),
    }
}

/// One table of all queries: their rows with the same labels are one row.
fn transformations(panel: &Panel) -> Value {
    let renamed = panel.targets.iter().enumerate();
    let renamed = renamed.map(|(at, target)| (format!("Value #{}", ref_id(at)), json!(target.legend)));
    json!([
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {
            "excludeByName": {"Time": true},
            "renameByName": renamed.collect::<Map<_, _>>(),
        }},
    ])
}

fn overrides(panel: &Panel) -> Vec<Value> {
    let columns = panel.targets.iter().filter_map(|target| {
        let own = unit(target.unit?);
        Some(json!({
            "matcher": {"id": "byName", "options": target.legend},
            "properties": [{"id": "unit", "value": own}],
        }))
    });
    let leads = panel.leads_to.map(|(label, uid)| {
        let url =
            format!("/d/{uid}?var-{label}=${{__value.raw}}&${{datasource:queryparam}}&${{job:queryparam}}&${{__url_time_range}}");
        json!({
            "matcher": {"id": "byName", "options": label},
            "properties": [{"id": "links", "value": [{"title": "Look at it", "url": url, "targetBlank": false}]}],
        })
    });
    columns.chain(leads).collect()
}
