//! Workers that poll an activity through the scheduler: they wait here, and the scheduler waits on the nodes for all of them.
//!
//! An activity that is polled has a *desk*: it waits on each node with one call, however many workers there are. Once a
//! node says that it has tasks, the desk takes as many as there are workers waiting, each for the one that has waited the
//! longest, and then waits on that node again. Invariants: a worker is given one task; one that has gone before is not
//! taken for; a desk ends when nobody waits at it any more, and holds no call then; workers are bounded by
//! [`POLLS_MAX`], desks by [`DESKS_MAX`]. A node that does not answer is asked again after a while, as long as it is
//! there, and keeps nobody from the others. A task whose answer does not come back is with nobody; it times out as one of a worker
//! that died. What may fail: too many workers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use proto::executor::v1::{AwaitActivityTaskRequest, GetActivityTaskRequest, GetActivityTaskResponse};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Request, Status};

use crate::directory::Directory;
use crate::dispatch::{CALL_TIMEOUT, NodeClients};
use crate::error::Error;

/// How long a worker waits for a task (Step Functions).
pub const POLL_WAIT: Duration = Duration::from_secs(60);

/// Workers that wait at once. Beyond: refused with a delay.
pub const POLLS_MAX: usize = 8_192;

/// Activities that are polled at once. Each is one call on the connection to each node, which is there for others too.
pub const DESKS_MAX: usize = 512;

/// Tasks that one desk takes from one node at once.
const TAKEN_AT_ONCE: usize = 64;

/// How long a node may take to say that there is nothing: somewhat longer than it waits.
const AWAIT_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a node is left alone that did not answer.
const PAUSE: Duration = Duration::from_millis(500);

/// A worker that waits.
struct Poll {
    worker: String,
    answer: oneshot::Sender<GetActivityTaskResponse>,
    until: Instant,
}

/// Where workers come to a desk.
#[derive(Clone)]
struct Door {
    polls: mpsc::Sender<Poll>,
    /// Somebody has gone.
    left: Arc<Notify>,
}

/// See the module.
#[derive(Clone)]
pub struct Polls {
    directory: Arc<Directory>,
    clients: NodeClients,
    wait: Duration,
    desks: Arc<Mutex<HashMap<String, Door>>>,
    waiting: Arc<AtomicUsize>,
}

/// A place among the workers that wait.
struct Place {
    waiting: Arc<AtomicUsize>,
    left: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.left.notify_one();
    }
}

/// Of what there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// [`POLLS_MAX`] workers wait.
    Workers,
    /// [`DESKS_MAX`] activities are polled.
    Activities,
}

impl From<Full> for Error {
    fn from(full: Full) -> Self {
        let (what, limit) = match full {
            Full::Workers => ("workers poll", POLLS_MAX),
            Full::Activities => ("activities are polled", DESKS_MAX),
        };
        let message = format!("{limit} {what}, which is the most: poll again in a moment");
        Self::Overloaded { message, retry_after: PAUSE }
    }
}

impl Polls {
    /// Polls of the nodes that the directory knows, each of which waits so long.
    #[must_use]
    pub fn new(directory: Arc<Directory>, clients: NodeClients, wait: Duration) -> Self {
        Self { directory, clients, wait, desks: Arc::default(), waiting: Arc::default() }
    }

    /// Waits for a task of an activity; empty when none has come.
    ///
    /// # Errors
    /// [`Error::Overloaded`].
    pub async fn get(&self, activity: &str, worker: String) -> Result<GetActivityTaskResponse, Error> {
        Ok(self.get_within(activity, worker, self.wait).await?)
    }

    /// The same for a worker that waits no longer than this, or than all do.
    ///
    /// # Errors
    /// [`Full`].
    pub async fn get_within(
        &self,
        activity: &str,
        worker: String,
        wait: Duration,
    ) -> Result<GetActivityTaskResponse, Full> {
        let (answer, task) = oneshot::channel();
        let until = Instant::now() + wait.min(self.wait);
        let _place = self.join(activity, Poll { worker, answer, until })?;
        // Its desk answers each worker, also when its time is over.
        Ok(task.await.unwrap_or_default())
    }

    /// Workers that wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Puts a worker in line at its activity's desk, which is opened if there is none.
    fn join(&self, activity: &str, poll: Poll) -> Result<Place, Full> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= POLLS_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Workers);
        }
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        let door = match desks.get(activity) {
            Some(door) => door.clone(),
            None if desks.len() >= DESKS_MAX => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                return Err(Full::Activities);
            }
            None => {
                // As many as there are places.
                let (polls, coming) = mpsc::channel(POLLS_MAX);
                let door = Door { polls, left: Arc::default() };
                desks.insert(activity.to_owned(), door.clone());
                let desk = Desk::new(self.clone(), activity.to_owned());
                tokio::spawn(desk.run(coming, Arc::clone(&door.left)));
                door
            }
        };
        // The desk is there as long as its door is in the table.
        let _ = door.polls.try_send(poll);
        Ok(Place { waiting: Arc::clone(&self.waiting), left: door.left })
    }

    /// Closes a desk at which nobody waits, and to which nobody is on the way.
    fn close(&self, activity: &str, coming: &mpsc::Receiver<Poll>) -> bool {
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = coming.is_empty();
        if closed {
            desks.remove(activity);
        }
        closed
    }
}

/// What a node has said.
enum Said {
    /// So many tasks wait there, or none has come.
    Waiting(usize),
    /// Not a word.
    Silent,
    /// It has given a task, or has none, to whom it was asked for.
    Taken(Poll, Option<GetActivityTaskResponse>),
}

type Answer = Pin<Box<dyn Future<Output = (Arc<str>, Said)> + Send>>;

/// The workers that wait for one activity.
struct Desk {
    polls: Polls,
    activity: String,
    line: VecDeque<Poll>,
    calls: FuturesUnordered<Answer>,
    /// Nodes that are waited on.
    waited_on: HashSet<Arc<str>>,
    /// Tasks that are being taken, by node.
    taking: HashMap<Arc<str>, usize>,
}

impl Desk {
    fn new(polls: Polls, activity: String) -> Self {
        Self {
            polls,
            activity,
            line: VecDeque::new(),
            calls: FuturesUnordered::new(),
            waited_on: HashSet::new(),
            taking: HashMap::new(),
        }
    }

    async fn run(mut self, mut coming: mpsc::Receiver<Poll>, left: Arc<Notify>) {
        let mut changes = self.polls.directory.changes();
        loop {
            while let Ok(poll) = coming.try_recv() {
                self.line.push_back(poll);
            }
            self.dismiss();
            if self.line.is_empty() && self.taking.is_empty() && self.polls.close(&self.activity, &coming) {
                return;
            }
            if !self.line.is_empty() {
                let view = Arc::clone(&changes.borrow_and_update());
                for node in &view.public_addresses {
                    self.wait_on(node, Duration::ZERO);
                }
            }
            // Not all wait equally long.
            let until = self.line.iter().map(|poll| poll.until).min().unwrap_or_else(Instant::now);
            tokio::select! {
                () = sleep_until(until), if !self.line.is_empty() => {}
                Some((node, said)) = self.calls.next() => self.heard(&node, said),
                Some(poll) = coming.recv() => self.line.push_back(poll),
                () = left.notified() => {}
                Ok(()) = changes.changed() => {}
            }
        }
    }

    /// Answers those that have waited long enough, and forgets those that have gone. Who is being taken for has left the line, and
    /// is answered soon.
    fn dismiss(&mut self) {
        let now = Instant::now();
        for poll in std::mem::take(&mut self.line) {
            if poll.answer.is_closed() {
                continue;
            }
            if poll.until > now {
                self.line.push_back(poll);
                continue;
            }
            // Who no longer listens needs no answer.
            let _ = poll.answer.send(GetActivityTaskResponse::default());
        }
    }

    /// Waits on a node, after a pause, unless that is under way or something is being taken there.
    fn wait_on(&mut self, node: &Arc<str>, pause: Duration) {
        if self.taking.contains_key(node) || !self.waited_on.insert(Arc::clone(node)) {
            return;
        }
        let (clients, activity_arn, node) =
            (self.polls.clients.clone(), self.activity.clone(), Arc::clone(node));
        self.calls.push(Box::pin(async move {
            sleep(pause).await;
            let mut request = Request::new(AwaitActivityTaskRequest { activity_arn });
            request.set_timeout(AWAIT_TIMEOUT);
            let said = match clients.client(&node) {
                Ok(mut client) => client.await_activity_task(request).await,
                Err(error) => Err(Status::from(error)),
            };
            let said = said.map_or(Said::Silent, |said| Said::Waiting(said.into_inner().waiting as usize));
            (node, said)
        }));
    }

    /// Takes a task from a node for a worker.
    fn take(&mut self, node: &Arc<str>, poll: Poll) {
        *self.taking.entry(Arc::clone(node)).or_default() += 1;
        let (clients, node) = (self.polls.clients.clone(), Arc::clone(node));
        let message =
            GetActivityTaskRequest { activity_arn: self.activity.clone(), worker_name: poll.worker.clone() };
        self.calls.push(Box::pin(async move {
            let mut request = Request::new(message);
            request.set_timeout(CALL_TIMEOUT);
            let taken = match clients.client(&node) {
                Ok(mut client) => client.take_activity_task(request).await.map(tonic::Response::into_inner),
                Err(error) => Err(Status::from(error)),
            };
            let task = taken.ok().filter(|task| !task.task_token.is_empty());
            (node, Said::Taken(poll, task))
        }));
    }

    fn heard(&mut self, node: &Arc<str>, said: Said) {
        match said {
            // It may be about to end.
            Said::Waiting(0) | Said::Silent => {
                self.waited_on.remove(node);
                // One that is not there any more is not asked again.
                let there = self.polls.directory.view().public_addresses.contains(node);
                if there {
                    self.wait_on(node, PAUSE);
                }
            }
            Said::Waiting(tasks) => {
                self.waited_on.remove(node);
                for _ in 0..tasks.min(TAKEN_AT_ONCE) {
                    let Some(poll) = self.line.pop_front() else { break };
                    if !poll.answer.is_closed() {
                        self.take(node, poll);
                    }
                }
            }
            Said::Taken(poll, task) => {
                if let Some(taking) = self.taking.get_mut(node) {
                    *taking -= 1;
                    if *taking == 0 {
                        self.taking.remove(node);
                    }
                }
                match task {
                    // To a worker that has gone meanwhile it was handed out all the same: its time runs.
                    Some(task) => drop(poll.answer.send(task)),
                    None => self.line.push_front(poll),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use executor::clock::Clock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_waits_less_is_answered_in_time_behind_one_that_waits_longer() {
        let directory = Arc::new(Directory::new(Clock::System));
        let polls = Polls::new(directory, NodeClients::default(), POLL_WAIT);
        let mut patient = pin!(polls.get("a", String::new()));
        let hasty = polls.get_within("a", String::new(), Duration::from_secs(55));
        let begun = Instant::now();
        tokio::select! {
            biased;
            task = &mut patient => panic!("{task:?}"),
            task = hasty => assert_eq!(task, Ok(GetActivityTaskResponse::default())),
        }
        assert_eq!(begun.elapsed().as_secs(), 55);
        assert_eq!(patient.await.ok(), Some(GetActivityTaskResponse::default()));
        assert_eq!((begun.elapsed().as_secs(), polls.waiting()), (60, 0));
    }
}
