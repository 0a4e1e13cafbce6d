//! Calls of the store on their way, and messages between dispatchers, processes and workers.
//!
//! Invariants: a call of a process that dies on the way may take effect all the same; what is lost, comes twice or comes
//! late is drawn from the seed. A crash point stands at every step of a call, see [`crate::points`].

use journal::StoreError;

use crate::audit::Violation;
use crate::image::Written;
use crate::points::{CallKind, Phase};
use crate::process::Message;
use crate::world::{Event, Fate, World};

/// When calls that were given up take effect, at most.
const LATE_US: u64 = 20_000_000;

/// How long after something was carried the store goes back, at most.
const BACK_US: u64 = 20_000;

impl World {
    /// Sends what a process has asked of the store; `false` when it has died over it.
    pub(crate) fn send_calls(&mut self) -> bool {
        for call in self.desk.submitted() {
            let (process, kind) = (call.caller, call.kind);
            if !self.processes.contains_key(&process) {
                continue;
            }
            if self.points.kills((kind, Phase::Built)) {
                self.crash(process);
                return false;
            }
            let fate = self.fate();
            let number = self.next_number();
            self.trace.note(self.now_us, "call", [number, kind as u64 + (fate as u64) * 100]);
            self.trace.say(self.now_us, "  asks", || format!("process {process} {kind:?} {fate:?}"));
            self.calls.insert(number, (call, fate));
            let way_us = 1 + self.rng.below(self.options.store_us);
            if fate == Fate::Late {
                let late_us = way_us + self.rng.below(LATE_US);
                self.after(late_us, Event::CallArrives(number));
                self.after(way_us * 2, Event::CallAnswered(number));
            } else {
                self.after(way_us, Event::CallArrives(number));
            }
            if self.points.kills((kind, Phase::Sent)) {
                self.crash(process);
                return false;
            }
        }
        true
    }

    fn fate(&mut self) -> Fate {
        let (refuse, lose) = (self.options.refuse, self.options.lose_reply);
        match self.rng.below(1_000) {
            drawn if drawn < refuse => Fate::Refused,
            drawn if drawn < refuse + lose => Fate::ReplyLost,
            drawn if drawn < refuse + lose + self.options.late_effect => Fate::Late,
            _ => Fate::Well,
        }
    }

    /// A call is at the store.
    pub(crate) fn call_arrives(&mut self, number: u64) -> Result<(), Violation> {
        let Some((mut call, mut fate)) = self.calls.remove(&number) else { return Ok(()) };
        let (process, kind) = (call.caller, call.kind);
        let away = self.now_us < self.outage_until_us;
        if away && fate == Fate::Well {
            fate = Fate::Refused;
        }
        if away || fate == Fate::Refused {
            // Whether it took effect before the store went away is known to nobody.
            fate = if fate == Fate::ReplyLost { Fate::ReplyLost } else { Fate::Refused };
        } else {
            let now_us = self.now_us;
            self.desk.with(|image| {
                image.now_us = now_us;
                call.apply(image);
            });
            self.look_at_what_is_durable()?;
            self.look_who_has_taken_what()?;
        }
        if call.was_fenced() {
            self.report.fenced += 1;
        }
        self.trace.note(self.now_us, "arrives", [number, fate as u64]);
        if fate != Fate::Late {
            self.calls.insert(number, (call, fate));
            let way_us = 1 + self.rng.below(self.options.store_us);
            self.after(way_us, Event::CallAnswered(number));
        }
        if self.processes.contains_key(&process) && self.points.kills((kind, Phase::Applied)) {
            self.crash(process);
        }
        Ok(())
    }

    fn look_at_what_is_durable(&mut self) -> Result<(), Violation> {
        let now_us = self.now_us;
        for written in self.desk.with(|image| std::mem::take(&mut image.appended)) {
            let Written { partition, id, trim_below, .. } = written;
            let hash = xxhash_rust::xxh3::xxh3_64(&written.bytes);
            self.trace.note(now_us, "durable", [u64::from(partition.get()) << 32 | id.sequence, hash]);
            self.trace.say(now_us, "  durable", || {
                format!("block {id} of partition {partition} by {}, trimmed below {trim_below:?}", written.by)
            });
            let copied = self.audit.copied;
            self.audit.appended(&written, now_us)?;
            if let Some(below) = trim_below {
                self.audit.trimmed(partition, below)?;
            }
            if self.audit.copied > copied && self.rng.permille(self.options.back_on_carry) {
                let in_us = 1 + self.rng.below(BACK_US);
                self.after(in_us, Event::GoesBack(partition));
            }
            if let Some(oldest) = self.desk.with(|image| image.oldest(partition)) {
                self.audit.oldest(partition, oldest)?;
            }
        }
        Ok(())
    }

    /// An answer is at its process.
    pub(crate) fn call_answered(&mut self, number: u64) {
        let Some((call, fate)) = self.calls.get_mut(&number) else { return };
        let (process, kind, fate) = (call.caller, call.kind, *fate);
        match fate {
            Fate::Well => call.answer(),
            Fate::Refused => call.fail(StoreError::Unavailable("the simulation refuses".to_owned())),
            Fate::ReplyLost | Fate::Late => {
                call.fail(StoreError::Unknown("the simulation lost the answer".to_owned()));
            }
        }
        if fate != Fate::Late {
            self.calls.remove(&number);
        }
        self.trace.note(self.now_us, "answered", [number, u64::from(process)]);
        let Some(alive) = self.processes.get_mut(&process) else { return };
        alive.answered.push(kind);
        if self.points.kills((kind, Phase::Answered)) {
            self.crash(process);
        } else {
            self.run_soon(process, 0);
        }
    }

    /// Sends a message, which may be lost, or come twice, or after later ones.
    pub(crate) fn post(&mut self, make: impl Fn() -> Event) {
        if self.rng.permille(self.options.drop) {
            return self.trace.note(self.now_us, "dropped", [0, 0]);
        }
        let copies = 1 + u64::from(self.rng.permille(self.options.duplicate));
        for _ in 0..copies {
            let way_us = 1 + self.rng.below(self.options.network_us);
            self.after(way_us, make());
        }
    }

    /// Sends a message to a process.
    pub(crate) fn post_to(&mut self, process: u32, message: &Message) {
        self.post(|| Event::Arrives(process, Box::new(message.clone())));
    }

    /// A message is at its process.
    pub(crate) fn arrives(&mut self, process: u32, message: Message) {
        self.parts_perhaps(process, &message);
        if let Some(alive) = self.processes.get_mut(&process) {
            alive.receive(message);
            self.trace.note(self.now_us, "message", [u64::from(process), 0]);
            self.run_soon(process, 0);
        }
    }

    /// A process is to give something back: what is synchronous there may be cut off.
    fn parts_perhaps(&mut self, process: u32, message: &Message) {
        let Some(alive) = self.processes.get(&process) else { return };
        let kept = match message {
            Message::Assign(partitions) => partitions.as_slice(),
            Message::Drain => &[],
            _ => return,
        };
        let all = self.groups.iter().flat_map(|group| &group.partitions);
        let given = all.filter(|partition| !kept.contains(partition) && alive.has(**partition));
        self.audit.parting.extend(given.map(|partition| (process, *partition)));
    }

    /// The steps at which a process may die once its shard has seen answers.
    pub(crate) fn dies_having_handled(&mut self, answered: &[CallKind]) -> bool {
        answered.iter().any(|kind| self.points.kills((*kind, Phase::Handled)))
    }
}
