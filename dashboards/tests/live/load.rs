//! What the node is loaded with: all kinds of executions, and a worker that fails now and then.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use proto::executor::v1;
use proto::executor::v1::executor_client::ExecutorClient;
use tokio::time::MissedTickBehavior;
use tonic::transport::Channel;

use crate::stage::PATIENCE;

/// So many starts of a machine have the same role: keys for another one are fetched each second or two.
const STARTS_OF_A_ROLE: u64 = 10;
const WORKER_FAILS_EACH: u64 = 25;
const ORDERS_REFUSED_EACH: u64 = 40;

/// The ARN of a machine of the load.
pub fn arn(machine: &str) -> String {
    format!("arn:aws:states:us-east-1:123456789012:stateMachine:{machine}")
}

/// A worker that fails now and then.
pub fn work(node: SocketAddr) {
    let settings = worker::Settings {
        nodes: vec![node.to_string()],
        pool: "demo".to_owned(),
        name: "worker".to_owned(),
        concurrency: 16,
        heartbeat: None,
        trust: None,
    };
    let asked = Arc::new(AtomicU64::new(1));
    let handler = move |_: v1::Task| {
        let fails = asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(WORKER_FAILS_EACH);
        async move {
            if fails {
                let error = "Greeting.Failed".to_owned();
                return Err(v1::TaskFailure { error, cause: "now and then".to_owned() });
            }
            Ok(Bytes::from_static(b"\"hello\""))
        }
    };
    tokio::spawn(async move { worker::run(settings, handler, std::future::pending()).await });
}

/// Executions that pass, work, call, wait, fan out, fail, take too long and are stopped.
pub fn start(client: &ExecutorClient<Channel>, target: SocketAddr) {
    let order = ORDER.replace("TARGET", &target.to_string());
    let machines = [
        ("order", 50, order, v1::Mode::Standard),
        ("pass", 25, PASS.to_owned(), v1::Mode::Express),
        ("fan-out", 150, FAN_OUT.to_owned(), v1::Mode::Standard),
        ("bill", 200, BILL.to_owned(), v1::Mode::Standard),
        ("too-long", 2000, TOO_LONG.to_owned(), v1::Mode::Standard),
        ("stopped", 3000, WAITS.to_owned(), v1::Mode::Standard),
    ];
    for (name, pace, definition, mode) in machines {
        tokio::spawn(go_on(client.clone(), name, Duration::from_millis(pace), definition, mode));
    }
}

async fn go_on(
    mut client: ExecutorClient<Channel>,
    name: &str,
    pace: Duration,
    definition: String,
    mode: v1::Mode,
) {
    let mut beat = tokio::time::interval(pace);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for number in 0_u64.. {
        beat.tick().await;
        let role = number / STARTS_OF_A_ROLE;
        let request = v1::StartExecutionRequest {
            machine_arn: arn(name),
            definition: definition.clone().into(),
            mode: mode.into(),
            input: format!(r#"{{"n":{}}}"#, number % ORDERS_REFUSED_EACH).into(),
            role_arn: format!("arn:aws:iam::123456789012:role/billing-{role}"),
            logging: Some(v1::LoggingConfiguration {
                level: v1::LogLevel::All.into(),
                include_execution_data: true,
            }),
            ..Default::default()
        };
        // A start that is refused, or whose node hangs, is no concern of this load.
        let started = tokio::time::timeout(PATIENCE, client.start_execution(request)).await;
        if let (Ok(Ok(started)), "stopped") = (started, name) {
            let execution = started.into_inner().execution_id;
            let stop = v1::StopExecutionRequest { execution, ..Default::default() };
            let _ = tokio::time::timeout(PATIENCE, client.stop_execution(stop)).await;
        }
    }
}

const PASS: &str = r#"{"StartAt":"P","States":{"P":{"Type":"Pass","End":true}}}"#;
const WAITS: &str = r#"{"StartAt":"W","States":{"W":{"Type":"Wait","Seconds":3600,"End":true}}}"#;
const TOO_LONG: &str =
    r#"{"StartAt":"W","TimeoutSeconds":1,"States":{"W":{"Type":"Wait","Seconds":3600,"End":true}}}"#;
const FAN_OUT: &str = r#"{"StartAt":"Both","States":{
    "Both":{"Type":"Parallel","Branches":[{"StartAt":"A","States":{"A":{"Type":"Pass","End":true}}},
        {"StartAt":"B","States":{"B":{"Type":"Wait","Seconds":1,"End":true}}}],"Next":"Each"},
    "Each":{"Type":"Map","ItemProcessor":{"StartAt":"I","States":{"I":{"Type":"Pass","End":true}}},"End":true}}}"#;
/// A function without a pool: the node calls it, with keys of the machine's role.
const BILL: &str = r#"{"StartAt":"Bill","States":{"Bill":{"Type":"Task",
    "Resource":"arn:aws:lambda:us-east-1:123456789012:function:bill","End":true}}}"#;
const ORDER: &str = r#"{"StartAt":"Check","States":{
    "Check":{"Type":"Choice","Choices":[{"Variable":"$.n","NumericEquals":0,"Next":"Hesitate"}],"Default":"Greet"},
    "Hesitate":{"Type":"Wait","Seconds":1,"Next":"Refuse"},
    "Refuse":{"Type":"Fail","Error":"Order.Refused","Cause":"nobody orders nothing"},
    "Greet":{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:greet","ResultPath":null,
        "Retry":[{"ErrorEquals":["States.ALL"],"IntervalSeconds":1,"MaxAttempts":2}],"Next":"Call"},
    "Call":{"Type":"Task","Resource":"arn:aws:states:::http:invoke","Parameters":{"ApiEndpoint":"http://TARGET/",
        "Method":"GET"},"ResultPath":null,"Catch":[{"ErrorEquals":["States.ALL"],"ResultPath":null,"Next":"Pause"}],"Next":"Pause"},
    "Pause":{"Type":"Wait","Seconds":1,"Next":"Done"},
    "Done":{"Type":"Succeed"}}}"#;
