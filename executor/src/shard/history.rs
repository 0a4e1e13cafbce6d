//! Histories are derived, not stored: the execution is run again on what the log holds, and this time somebody looks.
//!
//! A STANDARD execution is told what it was told; of an EXPRESS one nothing but its input is kept, so that only one which
//! needed nothing from outside has a history. What its Maps have read is read again where the journal keeps but a digest.
//! A history is told as Step Functions or as ASW tells it, by another observer of the same replay, which ends where its page does. That
//! of an EXPRESS execution does so only where its machine cannot wait for anything: of others only the end says whether they have
//! waited, and then no page is told, the first as little as the last. Invariant: the same
//! function steps executions here, live and in recovery. What may fail: the store; an EXPRESS execution that waited for
//! something; a long object that is not what it was.

use std::sync::Arc;
use std::time::Instant;

use asl::history::{AswEvent, AswHistory, HistoryEvent, Observer};
use asl::program::{Kind, State};
use asl::{Dialect, Effect, EffectId, Event, Payload, Program};
use ids::{ExecutionName, Mode, Status};
use journal::Store;
use journal::block::{Closed, Journalled, JournalledKind, decode_failure};
use journal::index::Execution;
use proto::executor::v1;

use super::beyond::fetch_anywhere;
use super::command::Reply;
use super::core::Shard;
use super::fetch::{is_whole, journal_in};
use super::history_page::{HistoryCut, HistoryPage, Paged};
use super::kept_replays::Stamp;
use super::lookup::{moved, spelt};
use super::machine::{self, Beginning, Machine, dialect_of};
use super::recover::{Untold, event_of};
use super::suspects::is_poison;
use super::transfers::{Desk, Unread};
use super::turns;
use crate::definitions::{Definitions, LoadError};
use crate::error::Error;
use crate::limits;
use crate::secret::ClusterSecret;

/// Events of one history at most; a STANDARD execution has no more.
const EVENTS_MAX: usize = limits::STANDARD_HISTORY_EVENTS_MAX as usize + 1;

impl Shard {
    pub(super) fn history(
        &mut self,
        execution: ExecutionName,
        form: v1::HistoryForm,
        cut: HistoryCut,
        reply: Reply<HistoryPage>,
    ) {
        let of = async move |machine: &Machine, told: &Told<'_>| derive(machine, told, form, cut).await;
        self.derived(execution, reply, |_| None, of);
    }

    /// Answers with what a replay of an execution shows, or with what is kept of an earlier one.
    pub(super) fn derived<T: 'static>(
        &mut self,
        execution: ExecutionName,
        reply: Reply<T>,
        kept: impl FnOnce(&Stamp) -> Option<T> + 'static,
        of: impl AsyncFnOnce(&Machine, &Told<'_>) -> Result<T, Error> + 'static,
    ) {
        let log = match self.log_of(&execution) {
            Ok(log) => log,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let place = self.place_of(log, &execution);
        // Where an open execution's outcomes are, its slot alone knows.
        let open = self.slot_of(&execution).and_then(|address| self.open.get(address));
        let blocks = open.map(|open| &open.blocks).or_else(|| self.away(log, &execution));
        let blocks = blocks.map(|blocks| blocks.to_vec()).unwrap_or_default();
        let (partition, generation) = (self.logs[log].partition, self.logs[log].generation);
        let (standing, archive) = (self.standing(log), self.archive_view());
        let (definitions, desk) = (Arc::clone(&self.definitions), self.transfers.desk.clone());
        let secret = Arc::clone(&self.context.secret);
        self.answer(reply, &[log], async move |store| {
            standing.ask(&*store).await?;
            let found = fetch_anywhere(&*store, archive.as_ref(), &execution, place, partition).await;
            let (found, _) = standing.told(&*store, found).await?;
            let blocks = found.closed.as_ref().map_or(blocks, |closed| closed.blocks.clone());
            let stamp = Stamp::of(&found, generation, &blocks);
            if let Some(known) = kept(&stamp) {
                return Ok(known);
            }
            let mut journal = found.journalled.clone();
            let mut gone = false;
            let take = |told: Option<Vec<Journalled>>| {
                gone |= told.is_none();
                journal.extend(told.into_iter().flatten());
                Ok(())
            };
            journal_in(&*store, found.opened.id, &blocks, take).await?;
            journal.sort_by_key(|told| told.sequence);
            journal.dedup_by_key(|told| told.sequence);
            if gone || !is_whole(&journal) {
                let mended = journal.iter().any(|told| told.kind == JournalledKind::Mended);
                let lost = mended || found.closed.is_some();
                return Err(if lost { not_whole(&spelt(&execution)) } else { moved(&execution) });
            }
            let spelt = &spelt(&execution);
            let told = Told { found: &found, journal: &journal, desk: &desk, secret: &secret, spelt, stamp };
            let machine = machine_of(&*store, &definitions, &told).await?;
            of(&machine, &told).await
        });
    }
}

/// What there is of an execution to derive its history from.
pub(super) struct Told<'a> {
    found: &'a Execution,
    journal: &'a [Journalled],
    desk: &'a Desk,
    /// Seals the tokens that it shows.
    secret: &'a Arc<ClusterSecret>,
    /// For messages.
    spelt: &'a str,
    /// What the replay is of.
    pub stamp: Stamp,
}

fn not_whole(spelt: &str) -> Error {
    let message = format!(
        "the history of {spelt} cannot be derived: a part of what it was told is gone from the log; its retention may have \
         passed, or the store has lost it"
    );
    Error::Conflict { code: "HistoryNotKept", message }
}

fn unread_again(spelt: &str, unread: &Unread) -> Error {
    let message = format!(
        "the history of {spelt} cannot be derived: {unread} Of what is longer than {} bytes the journal keeps a digest \
         alone; put the object back to see the history",
        limits::READ_KEPT_BYTES_MAX
    );
    Error::Conflict { code: "HistoryNotKept", message }
}

/// The machine that an execution ran, as it was when it was started.
async fn machine_of(store: &dyn Store, definitions: &Definitions, told: &Told<'_>) -> Result<Machine, Error> {
    let key = &told.found.machine;
    let wanted = [(key.definition, dialect_of(key.dialect))];
    let program = match definitions.load_all(store, &wanted).await {
        Ok(mut programs) => programs.pop(),
        Err(LoadError::Store(error)) => return Err(error.into()),
        Err(LoadError::Missing(_) | LoadError::Invalid(_)) => None,
    };
    let Some(program) = program else {
        let message = format!("the definition that {} ran cannot be read: put it again", told.spelt);
        return Err(Error::NotFound { code: "StateMachineDoesNotExist", message });
    };
    Machine::alone(key.clone(), program, told.secret).map_err(|_| {
        let message = format!("the machine's name {:?} is neither an ARN nor a QRN", key.arn);
        Error::Invalid { code: "InvalidArn", message }
    })
}

/// Runs an execution again and collects the events of a page.
async fn derive(
    machine: &Machine,
    told: &Told<'_>,
    form: v1::HistoryForm,
    cut: HistoryCut,
) -> Result<HistoryPage, Error> {
    let Execution { machine: key, opened, .. } = told.found;
    let asw = match form {
        v1::HistoryForm::Unspecified => dialect_of(key.dialect) == Dialect::Tcsl,
        v1::HistoryForm::StepFunctions => false,
        v1::HistoryForm::Asw => true,
    };
    let page = if asw {
        let mut history = AswHistory::new(EVENTS_MAX);
        replay(machine, told, &mut history).await?;
        let id = opened.id;
        let generated = id.to_string();
        let name = machine.name.execution(key.mode, opened.name.as_deref().unwrap_or(&generated), id);
        let events = history.events();
        cut.page(events.len(), cut.of(events), |event| of_asw(event, &name))
    } else {
        let mut paged = Paged::new(cut, EVENTS_MAX);
        replay(machine, told, &mut paged).await?;
        paged.page(of_step_functions)
    };
    page.ok_or_else(|| {
        let message = "`next_token` is of a place behind the history: begin again without one".to_owned();
        Error::Invalid { code: "InvalidToken", message }
    })
}

/// Who looks at a replay.
pub(super) trait Watch: Observer {
    /// Whether nothing that comes yet can change what it has seen: then the replay ends.
    fn has_all(&self) -> bool {
        false
    }
}

/// Its events change until what follows them is known.
impl Watch for AswHistory {}

/// Tells an execution what it was told, while somebody looks, for as long as he does.
pub(super) async fn replay(
    machine: &Machine,
    told: &Told<'_>,
    observer: &mut impl Watch,
) -> Result<(), Error> {
    let Told { found, journal, desk, spelt, .. } = told;
    let Execution { machine: key, opened, closed, .. } = found;
    let mut effects = Vec::new();
    let (waits, journal) = turns::beginning(journal);
    let beginning = Beginning {
        id: opened.id,
        name: opened.name.as_deref(),
        seed: opened.seed,
        start_time_ms: opened.start_time_ms,
        waits,
        keeps: journal.iter().any(|told| told.kind == JournalledKind::Redriven),
    };
    let express = key.mode != Mode::Standard;
    if closed.as_ref().is_some_and(is_poison) {
        let message = format!(
            "{spelt} killed the node that stepped it, again and again: it is not stepped for its history"
        );
        return Err(Error::Conflict { code: "HistoryNotKept", message });
    }
    if express {
        ended_of_itself(closed.as_ref(), spelt)?;
    }
    let mut turn = Instant::now();
    let input = Payload::from_checked(opened.input.clone());
    let mut execution = machine.begin(&beginning, input, &mut effects, observer);
    let ends_early = express && !may_wait(machine.program());
    while express && effects.contains(&Effect::Yield) && execution.history_events() < EVENTS_MAX as u64 {
        if ends_early && observer.has_all() {
            return Ok(());
        }
        // Its turns are not kept, so all of them are told at its start; others have theirs here too.
        turns::rest(&mut turn).await;
        effects.clear();
        let (event, at) =
            (Event::TimerFired(EffectId::NEXT_TURN), machine::timestamp_of_ms(opened.start_time_ms));
        execution.handle(event, at, &mut effects, observer);
    }
    let waits = !effects.contains(&Effect::Yield) && !execution.is_finished();
    if express && waits {
        return Err(has_waited(spelt));
    }
    for told in journal {
        if observer.has_all() {
            return Ok(());
        }
        if effects.contains(&Effect::Yield) {
            turns::rest(&mut turn).await;
        }
        effects.clear();
        let at = machine::timestamp_of_ms(told.time_ms);
        let event = event_of(told, desk).await.map_err(|error| match error {
            Untold::Journal(error) => error.into(),
            Untold::Read(unread) => unread_again(spelt, &unread),
        })?;
        let Some(event) = event else { continue };
        execution.handle(event, at, &mut effects, observer);
    }
    if let Some(closed) = closed.as_ref().filter(|_| !express && !execution.is_finished()) {
        give_up(&mut execution, closed, spelt, observer)?;
    }
    Ok(())
}

fn has_waited(spelt: &str) -> Error {
    let message = format!(
        "{spelt} is EXPRESS and waited for something outside: its outcomes are not kept, so its history \
         cannot be derived; run such machines as STANDARD to see their histories"
    );
    Error::Conflict { code: "HistoryNotKept", message }
}

/// Whether an execution of it may ever wait for something outside, the time among it.
fn may_wait(program: &Program) -> bool {
    let waits = |state: &&State| match &state.kind {
        Kind::Task(_) | Kind::Wait(_) => true,
        Kind::Map(map) => {
            map.distributed.as_ref().is_some_and(|map| map.reader.is_some() || map.writer.is_some())
        }
        Kind::Pass { .. }
        | Kind::Choice { .. }
        | Kind::Succeed
        | Kind::Fail { .. }
        | Kind::Parallel { .. } => false,
    };
    program.states().iter().any(|state| waits(state) || !state.retry.is_empty())
}

/// Of an EXPRESS execution nothing is kept that would say where it stands, or stood.
fn ended_of_itself(closed: Option<&Closed>, spelt: &str) -> Result<(), Error> {
    if matches!(closed.map(|closed| closed.status), Some(Status::Succeeded | Status::Failed)) {
        return Ok(());
    }
    let message = format!(
        "{spelt} is EXPRESS and has not come to an end of its own: where it stands, or stood when it was stopped or timed \
         out, is not kept; run such machines as STANDARD to see their histories"
    );
    Err(Error::Conflict { code: "HistoryNotKept", message })
}

/// The end of an execution that its node gave up, which its closed record alone says.
fn give_up(
    execution: &mut asl::Family,
    closed: &Closed,
    spelt: &str,
    observer: &mut impl Observer,
) -> Result<(), Error> {
    if closed.status != Status::Failed {
        tracing::warn!(
            execution = spelt,
            "the replay of a closed execution does not end: its history is cut"
        );
        return Ok(());
    }
    let (error, cause) = decode_failure(&closed.payload)?;
    let text = |text: Option<&str>| asl::Str::from(text.unwrap_or_default());
    let event = Event::GiveUp { error: text(error), cause: text(cause) };
    let at = machine::timestamp_of_ms(closed.stop_time_ms);
    execution.handle(event, at, &mut Vec::new(), observer);
    Ok(())
}

fn of_step_functions(event: HistoryEvent) -> v1::HistoryEvent {
    v1::HistoryEvent {
        id: event.id,
        previous_event_id: event.previous,
        timestamp_ms: machine::ms_of(event.at),
        r#type: event.kind.to_owned(),
        details: event.details.to_json().into(),
    }
}

fn of_asw(event: &AswEvent, execution: &str) -> v1::HistoryEvent {
    v1::HistoryEvent {
        id: event.id,
        previous_event_id: 0,
        timestamp_ms: machine::ms_of(event.at),
        r#type: event.category.to_owned(),
        details: event.to_api(execution).to_json().into(),
    }
}

#[cfg(test)]
mod tests {
    use asl::definition::MachineType;
    use asl::history::Record;
    use ids::{BatchId, PartitionId};
    use journal::{MachineRef, Opened};

    use super::*;

    /// Looks at so many events.
    struct Until {
        enough: usize,
        seen: usize,
    }

    impl Observer for Until {
        fn event(&mut self, _: &Record<'_>) {
            self.seen += 1;
        }
    }

    impl Watch for Until {
        fn has_all(&self) -> bool {
            self.seen >= self.enough
        }
    }

    /// Works for some turns, and has this behind them, which it never comes to.
    fn definition(behind: &str) -> String {
        format!(
            r#"{{"QueryLanguage":"JSONata","StartAt":"A","States":{{
                "A":{{"Type":"Pass","Output":"{{% $states.input + $count([1..100000]) / 100000 %}}","Next":"B"}},
                "B":{{"Type":"Choice","Default":"A","Choices":[
                    {{"Condition":"{{% $states.input = -1 %}}","Next":"C"}},
                    {{"Condition":"{{% $states.input = 8 %}}","Next":"D"}}]}},
                "C":{behind},
                "D":{{"Type":"Succeed"}}}}}}"#
        )
    }

    /// Events of an EXPRESS execution that a replay shows to who has enough after so many.
    async fn shown(behind: &str, enough: usize) -> usize {
        let text = definition(behind);
        let compiled = Program::compile_for(text.as_bytes(), Dialect::Asl, MachineType::Express);
        let program = compiled.expect("a definition").program;
        let key = MachineRef {
            arn: "arn:aws:states:us-east-1:123456789012:stateMachine:orders".to_owned(),
            definition: program.hash,
            mode: Mode::Express,
            dialect: 0,
            retention_s: 0,
            role_arn: String::new(),
            logging: Default::default(),
            origin: String::new(),
        };
        let secret = Arc::new(ClusterSecret::from_key(&[7; 32]));
        let machine = Machine::alone(key.clone(), program, &secret).expect("a good name");
        let id = BatchId::new(PartitionId::new(0).expect("in range"), 1, 1).expect("in range").execution(0);
        let (start_time_ms, input, payload) = (1, "0".into(), "8".into());
        let opened = Opened { id, machine: 0, start_time_ms, seed: 7, name: None, input, trace: None };
        let closed = Closed { id, status: Status::Succeeded, stop_time_ms: 2, payload, blocks: Vec::new() };
        let found = &Execution { machine: key, opened, journalled: Vec::new(), closed: Some(closed) };
        let (desk, stamp) = (&Desk::new(None), Stamp::of(found, 1, &[]));
        let told = Told { found, journal: &[], desk, secret: &secret, spelt: "it", stamp };
        let mut until = Until { enough, seen: 0 };
        replay(&machine, &told, &mut until).await.expect("replayed");
        until.seen
    }

    #[tokio::test]
    async fn a_replay_of_an_express_execution_ends_with_its_page_where_its_machine_cannot_wait() {
        let pass = r#"{"Type":"Pass","End":true}"#;
        let all = shown(pass, usize::MAX).await;
        let few = shown(pass, 3).await;
        assert!(all > 30 && (3..all / 2).contains(&few), "{few} of {all}");
        // Of one that may have waited, the end alone says whether there is a history.
        let branch = r#"{"StartAt":"E","States":{"E":{"Type":"Fail"}}}"#;
        let retry = r#"[{"ErrorEquals":["States.ALL"]}]"#;
        for waits in [
            r#"{"Type":"Wait","Seconds":1,"End":true}"#.to_owned(),
            r#"{"Type":"Task","Resource":"arn:aws:lambda:us-east-1:123456789012:function:pay","End":true}"#
                .to_owned(),
            format!(r#"{{"Type":"Parallel","End":true,"Branches":[{branch}],"Retry":{retry}}}"#),
        ] {
            assert_eq!(shown(&waits, 3).await, all, "{waits}");
        }
    }
}
