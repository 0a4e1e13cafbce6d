//! The thread that owns the processes: hits them after the plan, lets them run again, waits until starts are acknowledged by
//! every partition; at the end, it kills everything and starts it anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::blows::rest;
use super::cluster::{Cluster, ClusterSettings};
use super::peaks::Peaks;
use super::plan::{Blow, Plan, Strike};
use super::shared::Shared;
use crate::error::Error;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A strike after which nothing is acknowledged for so long is not healed from.
const HEAL_WITHIN: Duration = Duration::from_secs(90);
/// Healed is who has acknowledged so many starts since everything runs again.
const HEALED_ACKS: u64 = 200;

/// What became of a strike.
#[derive(Debug, Clone)]
pub struct Struck {
    /// As planned.
    pub strike: Strike,
    /// The longest time without an acknowledgement, from the strike until starts were acknowledged again.
    pub gap: Duration,
    /// Whether it had its effect; nothing of strikes that cannot miss.
    pub effect: Option<bool>,
}

/// Where the processes are.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    pub scheduler: String,
    pub nodes: Vec<String>,
    pub data: Vec<(u16, String)>,
    pub metrics: Vec<String>,
    pub redis_url: Option<String>,
    pub directory: PathBuf,
}

/// The thread, from outside.
pub(super) struct Driver {
    /// Sent to once the load runs.
    begin: SyncSender<Arc<Shared>>,
    /// What is asked of the processes after the strikes.
    orders: SyncSender<Order>,
    thread: JoinHandle<()>,
}

/// See [`Driver`].
enum Order {
    /// Kill and start everything, and say when it serves.
    StartAnew(Arc<Shared>, oneshot::Sender<Result<(), Error>>),
    /// Nothing more is asked; the files stay.
    Finish,
}

/// What the strikes came to, told when they are over.
pub(super) struct Struggle {
    pub struck: Vec<Struck>,
    pub peaks: Peaks,
    pub lost_replies: u64,
}

/// Starts the thread and the processes.
///
/// # Errors
/// A process that does not start.
pub(super) async fn start(
    settings: ClusterSettings,
    plan: Plan,
    kills: u64,
    stop: Arc<AtomicBool>,
) -> Result<(Driver, Addresses, oneshot::Receiver<Struggle>), Error> {
    let (told, addresses) = oneshot::channel();
    let (over, struggle) = oneshot::channel();
    let (begin, begun) = sync_channel::<Arc<Shared>>(1);
    let (orders, ordered) = sync_channel::<Order>(1);
    let run = move || {
        let mut cluster = match Cluster::start(settings) {
            Ok(cluster) => cluster,
            Err(error) => return drop(told.send(Err(error))),
        };
        let addresses = Addresses {
            scheduler: cluster.scheduler_address(),
            nodes: cluster.node_addresses(),
            data: cluster.data_addresses(),
            metrics: cluster.metrics_addresses(),
            redis_url: cluster.redis_url(),
            directory: cluster.directory().to_owned(),
        };
        if told.send(Ok(addresses)).is_ok() {
            act(&mut cluster, plan, kills, &stop, &begun, over);
            obey(&mut cluster, &ordered);
        }
    };
    let thread = std::thread::Builder::new().name("strikes".to_owned()).spawn(run);
    let thread = thread.map_err(|error| Error::Process(format!("no thread for the strikes: {error}")))?;
    let addresses =
        addresses.await.map_err(|_| Error::Process("the thread of the strikes ended".to_owned()))??;
    Ok((Driver { begin, orders, thread }, addresses, struggle))
}

impl Driver {
    /// Let the strikes begin.
    pub fn begin(&self, shared: Arc<Shared>) {
        let _ = self.begin.try_send(shared);
    }

    /// Kills everything and starts it anew; returns when it serves.
    ///
    /// # Errors
    /// A process that does not come back.
    pub async fn start_anew(&self, shared: Arc<Shared>) -> Result<(), Error> {
        let ended = || Error::Process("the thread of the strikes ended".to_owned());
        let (done, over) = oneshot::channel();
        self.orders.try_send(Order::StartAnew(shared, done)).map_err(|_| ended())?;
        over.await.map_err(|_| ended())?
    }

    /// Ends all processes; their files stay.
    pub fn finish(self) {
        let _ = self.orders.try_send(Order::Finish);
        drop(self.begin);
        let _ = self.thread.join();
    }
}

/// Everything ends with the cluster's handle; an end without a word (the other side was dropped) keeps nothing.
fn obey(cluster: &mut Cluster, orders: &Receiver<Order>) {
    while let Ok(order) = orders.recv() {
        match order {
            Order::StartAnew(shared, done) => drop(done.send(cluster.start_anew(&shared))),
            Order::Finish => {
                cluster.save_logs();
                return cluster.keep_directory();
            }
        }
    }
}

fn act(
    cluster: &mut Cluster,
    plan: Plan,
    kills: u64,
    stop: &AtomicBool,
    begun: &Receiver<Arc<Shared>>,
    over: oneshot::Sender<Struggle>,
) {
    let Ok(shared) = begun.recv() else { return };
    let mut acting = Acting { cluster, shared: &shared, stop, struck: Vec::new(), peaks: Peaks::new() };
    if let Err(error) = acting.run(plan, kills) {
        shared.fault(&error.to_string());
    }
    let Acting { struck, peaks, .. } = acting;
    let _ = over.send(Struggle { struck, peaks, lost_replies: cluster.lost_replies() });
}

struct Acting<'a> {
    cluster: &'a mut Cluster,
    shared: &'a Shared,
    stop: &'a AtomicBool,
    struck: Vec<Struck>,
    peaks: Peaks,
}

impl Acting<'_> {
    fn run(&mut self, plan: Plan, kills: u64) -> Result<(), Error> {
        self.wait_for_acks("the first starts")?;
        let mut strikes = plan.take(usize::try_from(kills).unwrap_or(usize::MAX)).peekable();
        while let Some(strike) = strikes.next() {
            if !self.pause(strike.delay)? {
                return Ok(());
            }
            self.shared.strike.store(strike.number, Relaxed);
            self.shared.begin_gap();
            self.shared.begin_strike();
            let before = self.cluster.counted(&strike);
            self.cluster.strike(&strike, self.shared)?;
            if !matches!(strike.blow, Blow::Restart | Blow::SlowStore) {
                rest(strike.down);
            }
            let effect = self.cluster.has_struck(&strike, before, self.shared);
            self.cluster.heal(&strike, self.shared)?;
            self.shared.heal();
            if !strikes.peek().is_some_and(|next| next.hasty) {
                self.wait_for_acks(&strike.to_string())?;
            }
            self.note(strike, effect, kills);
        }
        self.pause(Duration::from_secs(2)).map(drop)
    }

    fn note(&mut self, strike: Strike, effect: Option<bool>, kills: u64) {
        let gap = self.shared.longest_gap();
        eprintln!(
            "{:>6.1} s  {}/{kills} {strike}{}: {:.1} s without an acknowledgement; {} acknowledged, {} described, \
             store {:.1} MB",
            self.shared.now_ms() as f64 / 1e3,
            strike.number,
            if effect == Some(false) { ", WITHOUT EFFECT" } else { "" },
            gap.as_secs_f64(),
            self.shared.acknowledged.load(Relaxed),
            self.shared.described.load(Relaxed),
            self.peaks.most().store_bytes as f64 / 1e6,
        );
        self.struck.push(Struck { strike, gap, effect });
    }

    /// `false` when the run is to end.
    fn pause(&mut self, span: Duration) -> Result<bool, Error> {
        let until = Instant::now() + span;
        loop {
            if self.stop.load(Relaxed) {
                return Ok(false);
            }
            if let Some(ended) = self.cluster.ended_by_itself() {
                return Err(Error::Process(ended));
            }
            self.peaks.look(|| self.cluster.taken());
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(true);
            }
            std::thread::park_timeout(left.min(LOOK_EVERY));
        }
    }

    /// Until starts are acknowledged again, by each partition.
    fn wait_for_acks(&mut self, after: &str) -> Result<(), Error> {
        let since_ms = self.shared.now_ms();
        let enough = self.shared.through_scheduler.load(Relaxed) + HEALED_ACKS;
        let until = Instant::now() + HEAL_WITHIN;
        loop {
            let few = self.shared.through_scheduler.load(Relaxed) < enough;
            let silent = self.shared.silent_since(since_ms, self.cluster.partitions());
            if !few && silent.is_none() || !self.pause(LOOK_EVERY)? {
                return Ok(());
            }
            if Instant::now() > until {
                let seconds = HEAL_WITHIN.as_secs();
                let silent =
                    silent.map(|partition| format!(": partition {partition} has acknowledged nothing"));
                let silent = silent.unwrap_or_default();
                return Err(Error::Process(format!("did not heal within {seconds} s after {after}{silent}")));
            }
        }
    }
}
