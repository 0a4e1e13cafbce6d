//! What waits is answered: at its own deadline, and when what it waits in ends.

use executor::clock::ManualClock;
use proto::executor::v1::StartRefusal;
use proto::executor::v1::start_refusal::Reason;

use super::batch::Batch;
use super::lanes::Lanes;
use super::link::Link;
use super::*;

type Answer = oneshot::Receiver<Result<Started, StartRefusal>>;

fn submission(patience_us: u64) -> (Submission, Answer) {
    let (caller, answer) = oneshot::channel();
    let template = Template {
        arn: "arn:aws:states:local:000000000000:stateMachine:m".to_owned(),
        name: "m".to_owned(),
        mode: Mode::Standard,
        dialect: asl::Dialect::Asl,
        definition: Bytes::new(),
        hash: [0; 32],
        version: 1,
        created_ms: 0,
        updated_ms: 0,
        retention_s: 0,
        role_arn: String::new(),
        logging: Default::default(),
        comment: String::new(),
        origin: String::new(),
        about: Default::default(),
    };
    let permit = Arc::new(Load::default()).admit(1, 2).expect("room");
    let submission = Submission {
        template: Arc::new(template),
        lane: None,
        inputs: vec![Bytes::from_static(b"{}")],
        names: Vec::new(),
        traces: Vec::new(),
        bytes: 2,
        reply: Reply::One(caller),
        permit,
        deadline_us: patience_us,
    };
    (submission, answer)
}

#[test]
fn a_start_whose_caller_has_little_patience_expires_behind_one_whose_caller_has_much() {
    let mut lanes = Lanes::default();
    let (patient, hasty) = (submission(30_000_000), submission(250_000));
    lanes.push(patient.0);
    lanes.push(hasty.0);
    assert_eq!(lanes.deadline_us(), 250_000);
    assert_eq!(lanes.expired(249_999).len(), 0);
    let expired: Vec<u64> = lanes.expired(250_000).iter().map(|late| late.deadline_us).collect();
    assert_eq!(expired, [250_000]);
    assert_eq!(lanes.deadline_us(), 30_000_000);
    let (_, rest, _) = lanes.next_batch().expect("the patient one");
    assert_eq!(rest.len(), 1);
    assert!(lanes.is_empty());
}

fn dispatcher() -> (Dispatcher, ManualClock) {
    let manual = ManualClock::at_ms(1_000);
    let clock = Clock::Manual(manual.clone());
    let directory = Arc::new(Directory::new(clock.clone()));
    (Dispatcher::new(directory, NodeClients::default(), clock), manual)
}

#[tokio::test]
async fn a_start_without_an_owner_is_refused_at_its_own_deadline_wherever_it_stands() {
    let (dispatcher, clock) = dispatcher();
    let now_us = dispatcher.shared.clock.now_us();
    let (patient, mut later) = submission(now_us + 30_000_000);
    let (hasty, answer) = submission(now_us + 250_000);
    let room = dispatcher.shared.room().expect("it runs");
    for waiting in [patient, hasty] {
        room.submissions.send(waiting).await.expect("the room is open");
    }
    let moving = async {
        loop {
            clock.advance(Duration::from_millis(50));
            tokio::task::yield_now().await;
        }
    };
    let refused = tokio::select! {
        answer = answer => answer.expect("answered").expect_err("refused"),
        () = moving => unreachable!("the clock goes on for ever"),
    };
    assert!(refused.message.contains("had an owner"), "{}", refused.message);
    assert!(later.try_recv().is_err(), "the patient one still waits");
}

#[tokio::test]
async fn a_batch_that_is_handed_to_a_link_while_that_ends_is_answered_all_the_same() {
    let (dispatcher, _clock) = dispatcher();
    let shared = &dispatcher.shared;
    let (submission, answer) = submission(u64::MAX);
    let id = shared.next_id(PartitionId::new(0).expect("in range")).expect("in range");
    let batch = Box::new(Batch::new(id, vec![submission], 1, 1));
    let (queue, queued) = queue();
    let (adopt, adopted) = mpsc::channel(1);
    adopt.send(batch).await.expect("open");
    // No more comes: the link's end is decided before it has looked.
    drop((queue, adopt));
    dispatcher.shut_down();
    let mut link = Link::new("127.0.0.1:1".into(), Arc::clone(shared), queued, adopted);
    link.close();
    link.run().await;
    let refused = answer.await.expect("answered").expect_err("nobody is left to start it");
    assert!(refused.message.contains("shutting down"), "{}", refused.message);
}

fn batch() -> (Batch, Answer) {
    let (submission, answer) = submission(u64::MAX);
    let id = BatchId::new(PartitionId::new(0).expect("in range"), 1, 1).expect("in range");
    (Batch::new(id, vec![submission], 1, 1), answer)
}

#[tokio::test]
async fn a_batch_that_is_given_up_is_told_as_unknown_unless_every_send_of_it_was_refused_for_certain() {
    let refusal = |reason: Reason, code: &str| StartRefusal {
        reason: reason.into(),
        code: code.to_owned(),
        ..StartRefusal::default()
    };
    let (draining, lost) = (refusal(Reason::Draining, "Draining"), refusal(Reason::NotOwner, "OwnerChanged"));
    let unwritten = refusal(Reason::StoreUnavailable, "StoreUnavailable");
    for (sends, refusals, told) in [
        (0, vec![], Reason::StoreUnavailable),
        (1, vec![], Reason::OutcomeUnknown),
        (1, vec![&draining], Reason::StoreUnavailable),
        (2, vec![&draining], Reason::OutcomeUnknown),
        (2, vec![&draining, &draining], Reason::StoreUnavailable),
        (1, vec![&lost], Reason::OutcomeUnknown),
        (1, vec![&unwritten], Reason::StoreUnavailable),
        (3, vec![&lost, &draining, &unwritten], Reason::OutcomeUnknown),
    ] {
        let (mut batch, answer) = batch();
        (0..sends).for_each(|_| batch.sent());
        for refusal in &refusals {
            batch.refused(0, 1, refusal);
        }
        batch.give_up("the test says so");
        let refused = answer.await.expect("answered").expect_err("given up");
        assert_eq!(refused.reason(), told, "{sends} sends, {refusals:?}");
        assert_eq!(refused.retry_after_ms > 0, told == Reason::StoreUnavailable, "{refused:?}");
    }
}
