//! Starts executions through the scheduler's batch API, and watches them end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ids::BatchId;
use indicatif::{ProgressBar, ProgressStyle};
use proto::executor::v1::{CompletionBatch, ExecutionStatus, WatchCompletionsRequest};
use proto::scheduler::v1::{StartExecutionsRequest, StartExecutionsResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use trust::Trust;

use super::examples::EXAMPLES;
use crate::client::Client;
use crate::dispatch::NodeClients;
use crate::error::Error;

/// Executions that one message starts at most.
const MESSAGE_STARTS: usize = 32;

/// Messages under way.
const MESSAGES_MAX: usize = 16;

/// Ends that may come before their acknowledgement; there are others where an old store is used again.
const EARLY_MAX: usize = 65_536;

/// Without any news for so long, the run is over.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How the executions of one machine fared.
#[derive(Debug, Clone, Default)]
pub(super) struct Fared {
    pub(super) name: &'static str,
    pub(super) started: usize,
    pub(super) succeeded: usize,
    pub(super) failed: usize,
    /// From the start's sending to the end's arrival, in microseconds.
    pub(super) latencies_us: Vec<u64>,
}

/// A whole run.
#[derive(Debug, Clone, Default)]
pub(super) struct Ran {
    pub(super) wanted: usize,
    pub(super) machines: Vec<Fared>,
    /// Refusals, the first one in words.
    pub(super) refused: usize,
    pub(super) refusal: Option<String>,
    /// From sending to acknowledgement, in microseconds.
    pub(super) acks_us: Vec<u64>,
    pub(super) took: Duration,
    /// An execution of the first machine.
    pub(super) sample: Option<String>,
}

impl Ran {
    /// Whether every execution was started and has ended.
    pub(super) fn is_complete(&self) -> bool {
        let ended: usize = self.machines.iter().map(|machine| machine.succeeded + machine.failed).sum();
        ended == self.wanted
    }
}

/// A message that is under way.
struct Sent {
    machine: usize,
    at: Instant,
    unsettled: usize,
}

/// Book-keeping: what was sent, what was acknowledged, what has ended, in whatever order the news come.
struct Run {
    ran: Ran,
    sent: HashMap<u64, Sent>,
    /// Machine and sending instant of each acknowledged execution that has not ended.
    open: HashMap<(BatchId, u32), (usize, Instant)>,
    /// Ends that came before their acknowledgement.
    early: HashMap<(BatchId, u32), (ExecutionStatus, Instant)>,
    bar: ProgressBar,
}

/// Runs `count` executions, mixed as the examples' shares say.
pub(super) async fn run(
    client: &Client,
    (node, trust): (&str, Option<Trust>),
    machines: &[String],
    count: usize,
) -> Result<Ran, Error> {
    let failed = |status: tonic::Status| Error::unavailable(status.message().to_owned());
    let mut watcher = NodeClients::new(trust).client(node)?;
    let request = WatchCompletionsRequest { include_outcomes: false };
    let mut ends = watcher.watch_completions(request).await.map_err(failed)?.into_inner();

    let messages = messages(machines, count)?;
    let (sender, queued) = mpsc::channel(MESSAGES_MAX);
    let stream = client.executions().start_executions(ReceiverStream::new(queued)).await;
    let mut acks = stream.map_err(failed)?.into_inner();

    let mut run = Run::new(count);
    let began = Instant::now();
    let mut waiting = messages.into_iter().peekable();
    while run.is_going(waiting.peek().is_none()) {
        let may_send = waiting.peek().is_some() && run.sent.len() < MESSAGES_MAX;
        tokio::select! {
            place = sender.reserve(), if may_send => {
                if let (Ok(place), Some((machine, message))) = (place, waiting.next()) {
                    let unsettled = message.input.len();
                    run.sent.insert(message.tag, Sent { machine, at: Instant::now(), unsettled });
                    place.send(message);
                }
            }
            ack = next(&mut acks) => run.acknowledged(ack?)?,
            end = next(&mut ends) => run.ended(&end?),
            () = tokio::time::sleep(SILENCE_MAX) => break,
        }
    }
    run.bar.finish_and_clear();
    run.ran.took = began.elapsed();
    Ok(run.ran)
}

async fn next<T>(stream: &mut Streaming<T>) -> Result<T, Error> {
    match stream.message().await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(Error::unavailable("the stream was ended by its server")),
        Err(status) => Err(Error::unavailable(status.message().to_owned())),
    }
}

/// The messages to send, machines mixed: (machine, message).
fn messages(machines: &[String], count: usize) -> Result<Vec<(usize, StartExecutionsRequest)>, Error> {
    let mut queues = Vec::with_capacity(machines.len());
    for example in &EXAMPLES {
        let inputs = example.inputs().map_err(|error| Error::invalid("BadExample", error.to_string()))?;
        queues.push((inputs, Vec::new(), 0));
    }
    let mut messages: Vec<(usize, StartExecutionsRequest)> = Vec::new();
    let mut flush = |machine: usize, input: Vec<bytes::Bytes>| {
        if !input.is_empty() {
            let tag = messages.len() as u64;
            let state_machine_arn = machines[machine].clone();
            messages.push((
                machine,
                StartExecutionsRequest { tag, state_machine_arn, input, ..Default::default() },
            ));
        }
    };
    for number in 0..count {
        let machine = machine_of(number);
        let (inputs, queue, round) = &mut queues[machine];
        queue.push(bytes::Bytes::from(inputs[sample_of(*round, inputs.len())].clone()));
        *round += 1;
        if queue.len() == MESSAGE_STARTS {
            flush(machine, std::mem::take(queue));
        }
    }
    for (machine, (_, queue, _)) in queues.into_iter().enumerate() {
        flush(machine, queue);
    }
    Ok(messages)
}

/// Which sample the n-th execution of a machine takes. The first half of the samples is what happens every
/// day; the others, in which something goes wrong or takes long, are one in ten.
fn sample_of(round: usize, samples: usize) -> usize {
    let usual = samples.div_ceil(2);
    match (round % 10, samples - usual) {
        (9, unusual) if unusual > 0 => usual + round / 10 % unusual,
        _ => round % usual,
    }
}

/// Which example the n-th execution runs: each hundred has every example's share, evenly mixed.
fn machine_of(number: usize) -> usize {
    let mut place = number * 37 % 100;
    for (machine, example) in EXAMPLES.iter().enumerate() {
        if place < example.share {
            return machine;
        }
        place -= example.share;
    }
    0
}

impl Run {
    fn new(wanted: usize) -> Self {
        let style =
            ProgressStyle::with_template("running  {bar:40.cyan/blue} {pos}/{len}  {per_sec}  {elapsed}");
        let bar = ProgressBar::new(wanted as u64)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let machines =
            EXAMPLES.iter().map(|example| Fared { name: example.name, ..Fared::default() }).collect();
        Self {
            ran: Ran { wanted, machines, ..Ran::default() },
            sent: HashMap::new(),
            open: HashMap::new(),
            early: HashMap::new(),
            bar,
        }
    }

    fn is_going(&self, all_sent: bool) -> bool {
        !(all_sent && self.sent.is_empty() && self.open.is_empty())
    }

    fn acknowledged(&mut self, ack: StartExecutionsResponse) -> Result<(), Error> {
        let count = ack.to.saturating_sub(ack.from);
        let Some(sent) = self.sent.get_mut(&ack.tag) else { return Ok(()) };
        let (machine, at) = (sent.machine, sent.at);
        sent.unsettled = sent.unsettled.saturating_sub(count as usize);
        if sent.unsettled == 0 {
            self.sent.remove(&ack.tag);
        }
        if let Some(refusal) = ack.refusal {
            self.ran.refused += count as usize;
            self.ran.refusal.get_or_insert(refusal.message);
            return Ok(());
        }
        let Some(Ok(id)) = ack.batch.as_ref().map(BatchId::try_from) else {
            return Err(Error::unavailable("the scheduler acknowledged a start without its id"));
        };
        for offset in 0..count {
            self.started(id, ack.first_index + offset, machine, at);
        }
        Ok(())
    }

    fn started(&mut self, id: BatchId, index: u32, machine: usize, at: Instant) {
        let micros = |from: Instant| u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.ran.machines[machine].started += 1;
        self.ran.acks_us.push(micros(at));
        if machine == 0
            && self.ran.sample.is_none()
            && let Ok(index) = u8::try_from(index)
        {
            self.ran.sample = Some(id.execution(index).to_string());
        }
        match self.early.remove(&(id, index)) {
            Some((status, ended)) => self.close(machine, status, ended.saturating_duration_since(at)),
            None => {
                self.open.insert((id, index), (machine, at));
            }
        }
    }

    fn ended(&mut self, batch: &CompletionBatch) {
        let now = Instant::now();
        for range in &batch.ranges {
            let Some(Ok(id)) = range.id.as_ref().map(BatchId::try_from) else { continue };
            let status = ExecutionStatus::try_from(range.status).unwrap_or_default();
            for index in range.from..range.to.min(256) {
                match self.open.remove(&(id, index)) {
                    Some((machine, at)) => self.close(machine, status, now.saturating_duration_since(at)),
                    None if self.early.len() < EARLY_MAX => {
                        self.early.insert((id, index), (status, now));
                    }
                    None => {}
                }
            }
        }
    }

    fn close(&mut self, machine: usize, status: ExecutionStatus, took: Duration) {
        let fared = &mut self.ran.machines[machine];
        if status == ExecutionStatus::Succeeded {
            fared.succeeded += 1;
        } else {
            fared.failed += 1;
        }
        fared.latencies_us.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.bar.inc(1);
    }
}
