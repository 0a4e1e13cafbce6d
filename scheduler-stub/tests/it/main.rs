//! The scheduler as its users and its nodes see it: over gRPC, in one process.

mod certificates;
mod examples;
mod fake;
mod links;
mod real;
mod templates;
