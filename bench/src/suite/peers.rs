//! The HTTP peers of a run: one that answers, and one that hangs, with calls that wait for it.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::executor::v1::StartExecutionRequest;
use proto::executor::v1::executor_client::ExecutorClient;
use testkit::{Process, ProcessOptions};

use super::Settings;
use super::processes::{READY_WITHIN, process};
use crate::error::Error;
use crate::load::connect;
use crate::peer::{KEY, KEY_HEADER};
use crate::profile::{CONNECTION, PEER, one_call};
use crate::scrape;

/// Starts of calls that hang, at once.
const STARTS: usize = 64;
/// How long a node may take to be ready, and what hung to end once its peer is gone.
const CHANGED_WITHIN: Duration = Duration::from_secs(60);

/// A peer's process.
#[derive(Debug)]
pub(super) struct Peer {
    pub process: Process,
    address: String,
}

impl Peer {
    /// Starts one, and waits until it takes connections.
    pub fn start(hang: bool) -> Result<Self, Error> {
        let program = std::env::current_exe()
            .map_err(|source| Error::File { path: "the path of this program".to_owned(), source })?;
        let address = format!("127.0.0.1:{}", testkit::free_port());
        let mut arguments = ["peer", "--listen", &address].map(str::to_owned).to_vec();
        if hang {
            arguments.push("--hang".to_owned());
        }
        let options = ProcessOptions::new("peer", program, arguments);
        let mut started = Process::start(&options).map_err(process)?;
        started.wait_for_line("answering", READY_WITHIN).map_err(process)?;
        Ok(Self { process: started, address })
    }

    /// `http://host:port`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Flags of a node that calls peers: they are on loopback, and want a key.
pub(super) fn node_flags(directory: &Path) -> Result<Vec<String>, Error> {
    let (key, file) = (directory.join("peer-key"), directory.join("connections.toml"));
    let connections = format!(
        "[[connection]]\narn = {CONNECTION:?}\nhosts = [\"127.0.0.1\"]\ninsecure = true\n\
         api-key = {{ header = {KEY_HEADER:?}, value = {{ file = {:?} }} }}\n",
        key.display().to_string()
    );
    for (path, text) in [(&key, KEY), (&file, &connections)] {
        let failed = |source| Error::File { path: path.display().to_string(), source };
        std::fs::write(path, text).map_err(failed)?;
    }
    let flags = ["--egress-allow", "127.0.0.1", "--connections", &file.display().to_string()];
    Ok(flags.map(str::to_owned).to_vec())
}

/// Leaves a node with so many executions whose calls to the peer hang.
pub(super) async fn hang(
    settings: &Settings,
    (node, metrics): (&str, &str),
    peer: &Peer,
) -> Result<(), Error> {
    until(metrics, "executor_ready", 1.0).await?;
    let client = ExecutorClient::new(connect(node).await?);
    let definition = one_call().replace(PEER, &peer.url());
    let starts = (0..settings.hung).map(|_| {
        let mut client = client.clone();
        let request = StartExecutionRequest {
            machine_arn: "arn:aws:states:local:000000000000:stateMachine:hung".to_owned(),
            definition: definition.clone().into(),
            mode: settings.mode.into(),
            input: r#"{"hangs":true}"#.into(),
            ..StartExecutionRequest::default()
        };
        async move { client.start_execution(request).await }
    });
    let started = stream::iter(starts).buffer_unordered(STARTS).try_for_each(|_| async { Ok(()) }).await;
    started.map_err(|status| Error::Call { call: "StartExecution", status: Box::new(status) })?;
    Ok(())
}

/// Ends a peer that hung, and waits until nothing is open any more: all calls to it have failed.
pub(super) async fn end_hung(metrics: &str, peer: &mut Peer) -> Result<(), Error> {
    peer.process.kill9();
    until(metrics, "executor_executions_open", 0.0).await
}

/// Waits until the sum of a metric is so much.
async fn until(metrics: &str, name: &str, wanted: f64) -> Result<(), Error> {
    let deadline = Instant::now() + CHANGED_WITHIN;
    loop {
        let found = scrape::values(&scrape::get(metrics).await?, name).sum::<f64>();
        if found == wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::Void(format!("{name} is {found} and does not come to {wanted}")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
