//! The dashboards, as a compact source that gives Grafana's JSON.
//!
//! Purpose: four dashboards that look and filter alike: [`overview`] (is it well?), [`node`] (what a node is busy with),
//! [`workflow`] (one machine) and [`front`] (calls of the public API). What they share (variables, links, annotations, layout, defaults of panels) is said once, in
//! [`grafana`]; a panel here is a title, a description, a unit and its queries. Written by hand the same JSON would be
//! thousands of lines, of which most repeat each other. Invariants: the same source gives the same bytes; `grafana/*.json` in
//! the repository are those bytes (a test compares them, `cargo run -p dashboards -- write` writes them). Nothing here
//! can fail.
//!
//! Queries are PromQL with a few short forms, see [`query::expand`].

pub mod front;
pub mod grafana;
pub mod node;
pub mod overview;
pub mod panel;
pub mod picture;
pub mod png;
pub mod prometheus;
pub mod query;
pub mod workflow;

pub use panel::{Dashboard, Kind, Panel, Row, Target, Unit};

/// All of them, with the names of their files.
#[must_use]
pub fn all() -> [(&'static str, Dashboard); 4] {
    [
        ("overview.json", overview::dashboard()),
        ("node.json", node::dashboard()),
        ("workflow.json", workflow::dashboard()),
        ("front.json", front::dashboard()),
    ]
}
