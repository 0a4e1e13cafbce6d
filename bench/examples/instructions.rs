//! Runs executions of a profile in the language core, and nothing else: for counting instructions.
//!
//! `valgrind --tool=callgrind target/release/examples/instructions pass 10000`. What a count of 0 takes is the cost of
//! getting ready, to be taken off.

use std::sync::Arc;

use asl::execution::{FixedNames, Machine};
use asl::history::NoObserver;
use asl::value::JsonLimits;
use asl::{Dialect, Execution, Payload, Program, StartContext, Timestamp};
use bench::payload::{Entropy, Generator};
use bench::profile::Profile;
use bytes::BytesMut;
use clap::Parser;

/// The binaries' allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Arguments {
    /// A profile that needs nothing from outside: pass, five-state or map-100.
    profile: Profile,
    /// How many executions.
    count: u32,
}

fn main() {
    let Arguments { profile, count } = Arguments::parse();
    let compiled =
        Program::compile(profile.definition().as_bytes(), Dialect::Asl).expect("the profile's definition");
    let machine = Arc::new(Machine {
        program: compiled.program,
        arn: "arn:aws:states:local:000000000000:stateMachine:bench".into(),
        name: "bench".into(),
        role_arn: "".into(),
        mode_timeout_seconds: 300,
        history_events_max: 1_000_000,
        names: Box::new(FixedNames { arn: "arn".into(), name: "name".into() }),
    });
    let input = Generator::new(7, 200, profile.items(), Entropy::Templated).next(&mut BytesMut::new());
    let mut effects = Vec::new();
    for _ in 0..count {
        effects.clear();
        let payload = Payload::check(input.clone(), JsonLimits::PAYLOAD).expect("the generator's JSON");
        let start = StartContext { key: [1, 2], seed: 3, ..StartContext::default() };
        let execution =
            Execution::start(&machine, start, payload, Timestamp(0), &mut effects, &mut NoObserver);
        assert!(execution.is_finished(), "{} waits for something", profile.name());
    }
}
