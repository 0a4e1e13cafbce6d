//! A scheduler whose store comes late, as where both were killed.

use std::time::Duration;

use testkit::{Process, ProcessOptions, Redis};

const PATIENCE: Duration = Duration::from_secs(30);

fn scheduler(redis: &Redis) -> Process {
    let url = redis.url();
    let words = ["serve", "--listen", "127.0.0.1:0", "--redis-url", &url].map(str::to_owned);
    let options = ProcessOptions::new("scheduler-stub", env!("CARGO_BIN_EXE_scheduler-stub"), words.to_vec());
    Process::start(&options).unwrap_or_else(|error| panic!("{error}"))
}

fn says(scheduler: &mut Process, text: &str) {
    scheduler.wait_for_line(text, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_scheduler_waits_for_a_store_that_is_not_there_yet() {
    let mut redis = Redis::durable();
    redis.kill9();
    let mut scheduler = scheduler(&redis);
    says(&mut scheduler, "the store cannot be reached");
    redis.restart().unwrap_or_else(|error| panic!("{error}"));
    says(&mut scheduler, "scheduler serves");
}

#[test]
fn a_scheduler_that_waits_for_its_store_ends_when_it_is_asked_to() {
    let mut redis = Redis::durable();
    redis.kill9();
    let mut scheduler = scheduler(&redis);
    says(&mut scheduler, "the store cannot be reached");
    scheduler.terminate().unwrap_or_else(|error| panic!("{error}"));
    let exit = scheduler.wait_exit(PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((exit.code, exit.signal), (Some(0), None));
}
