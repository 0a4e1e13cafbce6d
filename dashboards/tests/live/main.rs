//! Dashboards and alerts against a real Prometheus that scrapes a real node under load, and the scheduler before it.
//!
//! `UPDATE_SCREENSHOTS=1 cargo test -p dashboards --test live -- --test-threads=1` draws the pictures anew.

#[path = "../support/mod.rs"]
mod support;

mod door;
mod faults;
mod load;
mod peer;
mod stage;

use std::collections::BTreeSet;

use testkit::eventually;

use stage::{PATIENCE, Stage, Watch};
use support::{exceptions, folder, queries};

/// Seconds that a picture shows, and that are before them.
const SHOWN: f64 = 60.0;
const BEFORE: f64 = 25.0;

/// The queries without an answer. A value that is not finite is an error: queries are written so that they have none.
fn empty(stage: &Stage) -> Result<BTreeSet<String>, String> {
    let mut empty = BTreeSet::new();
    let range = stage.last(30.0).map_err(|error| error.to_string())?;
    for query in queries() {
        let place = query.place();
        let answer = stage.ask(&query.expr, range).map_err(|error| format!("{place}: {error}"))?;
        for series in &answer {
            assert_eq!(series.others, 0, "{place}: values that are not finite: {series:?}");
        }
        if answer.is_empty() {
            empty.insert(place);
        }
    }
    Ok(empty)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_every_panel_has_a_finite_answer_from_a_node_and_a_scheduler_under_load() {
    let stage = Stage::open(Watch::Often).await;
    let listed = exceptions("empty-in-health");
    let last = eventually("every query has an answer", PATIENCE, || {
        let empty = empty(&stage)?;
        let missing: Vec<_> = empty.difference(&listed).collect();
        if missing.is_empty() { Ok(empty) } else { Err(format!("nothing for {missing:#?}")) }
    });
    let filled: Vec<_> = listed.difference(&last).collect();
    assert!(
        filled.is_empty(),
        "these have answers: strike them from dashboards/empty-in-health: {filled:#?}"
    );
    if drawing() {
        eventually("there is something to be shown", PATIENCE, || {
            let seen = stage.now("max(count_over_time(up[5m]))").unwrap_or_default();
            if seen >= SHOWN + BEFORE { Ok(()) } else { Err(format!("{seen} scrapes")) }
        });
        for (file, dashboard) in dashboards::all() {
            draw(&stage, &dashboard, SHOWN, &file.replace(".json", ".png"));
        }
    }
}

/// Whether the pictures are to be drawn.
fn drawing() -> bool {
    std::env::var_os("UPDATE_SCREENSHOTS").is_some()
}

/// Draws a dashboard as the last so many seconds have it.
fn draw(stage: &Stage, dashboard: &dashboards::Dashboard, seconds: f64, file: &str) {
    let range = stage.last(seconds).expect("the time");
    let svg = dashboards::picture::svg(dashboard, range, |panel| {
        let ask = |target: &dashboards::Target| stage.ask(&target.expr, range).expect("an answer");
        panel.targets.iter().map(ask).collect()
    });
    let path = folder().join("screenshots").join(file);
    dashboards::png::write(&svg, &path).unwrap_or_else(|error| panic!("{error}"));
    let bytes = std::fs::metadata(&path).expect("a file").len();
    assert!(bytes < 600_000, "{} has {bytes} bytes", path.display());
}
