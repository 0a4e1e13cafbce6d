//! The services of `scheduler.v1`, thin: from wire to library and back.

mod activities;
mod cluster;
mod executions;
mod nodes;
mod templates;

pub use activities::ActivitiesService;
pub use cluster::ClusterService;
pub use executions::ExecutionsService;
pub use nodes::NodesService;
pub use templates::TemplatesService;
