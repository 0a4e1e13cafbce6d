//! What the logs may say, and what they may not.

use ids::PartitionId;

use super::super::workload::Expected;
use super::*;

const AT: Opening = Opening { start_ms: 0, generation: 1 };

fn batch() -> BatchId {
    BatchId::new(PartitionId::new(1).expect("in range"), 1, 9).expect("in range")
}

fn ack() -> Ack {
    Ack { kind: Kind::FiveState, first_run: 40, count: 3, batch: batch(), first_index: 5 }
}

fn closed(index: u8, run: u64) -> Closed {
    let Expected::Succeeded(output) = Kind::FiveState.expected(1, run, 0) else {
        unreachable!("it succeeds")
    };
    Closed {
        id: batch().execution(index),
        status: Status::Succeeded,
        stop_time_ms: 1,
        payload: output.to_string().into(),
        blocks: Vec::new(),
    }
}

#[test]
fn what_is_acknowledged_and_closed_once_is_well_in_either_order() {
    let mut check = LogCheck::new(1);
    assert_eq!(check.close(&closed(5, 40), 1), Ok(None), "closed before its acknowledgement came");
    assert_eq!(check.acknowledge(&ack()), Ok(()));
    assert_eq!(check.close(&closed(6, 41), 1), Ok(Some(41)));
    assert_eq!(check.close(&closed(7, 42), 1), Ok(Some(42)));
    assert_eq!((check.unclosed().0, check.closed_once()), (0, 3));
    assert!(check.halves.is_empty(), "nothing is kept of what is settled");
}

#[test]
fn a_lost_execution_and_a_second_outcome_are_found() {
    let mut check = LogCheck::new(1);
    check.acknowledge(&ack()).expect("none is closed");
    check.close(&closed(5, 40), 1).expect("right");
    let (count, named) = check.unclosed();
    assert_eq!(count, 2);
    assert!(named[0].starts_with("2 of "), "{named:?}");
    assert!(check.close(&closed(5, 40), 1).expect_err("twice").contains("second"));
    check.describe(batch().execution(6));
    assert_eq!((check.unclosed().0, check.unseen()), (2, 1), "Describe does not speak for the log");
}

#[test]
fn an_id_that_is_acknowledged_twice_is_found_and_so_is_one_that_another_start_has() {
    let mut check = LogCheck::new(1);
    check.acknowledge(&ack()).expect("none is closed");
    let other = Ack { first_run: 90, first_index: 7, ..ack() };
    assert!(check.acknowledge(&other).expect_err("7 is taken").contains("1 ids were acknowledged"));
    let opened = Kind::FiveState.input_bytes(1, 99);
    let told = check.open(batch().execution(5), AT, &opened).expect_err("another run");
    assert!(told.contains("run 40") && told.contains("run 99"), "{told}");
    check.open(batch().execution(20), AT, &Kind::FiveState.input_bytes(1, 3)).expect("nobody else has it");
    let late = Ack { first_run: 4, count: 1, first_index: 20, ..ack() };
    assert!(check.acknowledge(&late).expect_err("opened as 3").contains("run 3"));
}

#[test]
fn a_run_that_is_opened_under_two_ids_is_found_and_one_that_is_carried_is_well() {
    let mut check = LogCheck::new(1);
    let input = Kind::FiveState.input_bytes(1, 40);
    assert_eq!(check.open(batch().execution(5), AT, &input), Ok(()));
    assert_eq!(check.open(batch().execution(5), AT, &input), Ok(()), "written again");
    let told = check.open(batch().execution(6), AT, &input).expect_err("a second start");
    assert!(told.contains("run 40") && told.contains("twice"), "{told}");
    assert!(check.open(batch().execution(8), AT, b"{}").is_err(), "nobody sent it");
}

#[test]
fn what_is_closed_and_never_acknowledged_is_counted_and_held_against_its_input() {
    let mut check = LogCheck::new(1);
    for (index, run) in [(5, 40), (6, 41)] {
        check.open(batch().execution(index), AT, &Kind::FiveState.input_bytes(1, run)).expect("once each");
    }
    check.close(&closed(5, 40), 1).expect("nobody asks yet");
    assert_eq!(check.leftovers(|_| true, &BTreeSet::new()), (1, Vec::new()));
    let (_, wrong) = check.leftovers(|run| run != 40, &BTreeSet::new());
    assert!(wrong[0].contains("run 40") && wrong[0].contains("refused"), "{wrong:?}");
    check.close(&closed(6, 40), 1).expect("nobody asks yet");
    check.close(&closed(7, 42), 1).expect("nobody asks yet");
    let (count, wrong) = check.leftovers(|_| true, &BTreeSet::new());
    assert_eq!((count, wrong.len()), (3, 2), "{wrong:?}");
}

#[test]
fn a_wrong_outcome_is_found_whichever_comes_first() {
    let mut check = LogCheck::new(1);
    check.close(&closed(5, 41), 1).expect("nobody knows yet whose it is");
    assert!(check.acknowledge(&ack()).expect_err("the outcome of another run").contains("run 40"));
    assert!(check.close(&closed(6, 40), 1).is_err());
    let failed = Closed {
        status: Status::Failed,
        payload: journal::block::encode_failure(Some("States.Runtime"), None),
        ..closed(7, 42)
    };
    assert!(check.close(&failed, 1).expect_err("it must not fail").contains("States.Runtime"));
}

fn ends(kind: Kind, redrives: u32) -> Closed {
    let (status, payload) = match kind.expected(1, 40, redrives) {
        Expected::Succeeded(output) => (Status::Succeeded, output.to_string().into()),
        Expected::Failed { error, cause } => {
            (Status::Failed, journal::block::encode_failure(Some(error), Some(cause)))
        }
    };
    Closed { status, payload, ..closed(5, 40) }
}

#[test]
fn a_redrive_allows_one_second_end_and_no_third_and_must_come_to_it_once_it_was_acknowledged() {
    let mut check = LogCheck::new(1);
    let (id, run) = (batch().execution(5), (Kind::Redriven, 40));
    check.acknowledge(&Ack { kind: Kind::Redriven, count: 1, ..ack() }).expect("none is closed");
    assert_eq!(check.close(&ends(Kind::Redriven, 0), 1), Ok(None), "it goes on when it is redriven");
    check.ask_redrive(id, run);
    assert_eq!(check.unclosed().0, 0, "nobody has said that it goes on");
    check.redrive(id);
    assert_eq!(check.unclosed().1, [format!("the redrive of {id}")]);
    assert_eq!(check.close(&ends(Kind::Redriven, 1), 1), Ok(Some(40)));
    assert_eq!((check.unclosed().0, check.closed_again()), (0, 1));
    assert!(check.close(&ends(Kind::Redriven, 1), 1).expect_err("a third").contains("second"));
}

fn parted(cause: &str) -> Closed {
    let payload = journal::block::encode_failure(Some("States.Runtime"), Some(cause));
    Closed { status: Status::Failed, payload, ..closed(5, 40) }
}

#[test]
fn a_synchronous_execution_ends_with_its_node_only_where_another_owner_closes_it() {
    let ended = parted("The node that ran the synchronous execution has ended. It runs at most once");
    for (generation, well) in [(2, true), (1, false)] {
        let mut check = LogCheck::new(1);
        check.open(ended.id, AT, &Kind::Sync.input_bytes(1, 40)).expect("once");
        assert_eq!(check.close(&ended, generation).is_ok(), well, "{generation}");
        assert_eq!(check.syncs_ended(), 1);
    }
    let given_back = parted("The node gave back the execution's partition, or was stopped");
    let mut check = LogCheck::new(1);
    check.open(given_back.id, AT, &Kind::Sync.input_bytes(1, 40)).expect("once");
    check.close(&given_back, 1).expect("its owner closes it");
}

#[test]
fn what_was_answered_with_the_end_of_its_node_must_be_closed_so() {
    let ended = parted("The node that ran the synchronous execution has ended. It runs at most once");
    let mut check = LogCheck::new(1);
    let told = BTreeSet::from([ended.id]);
    assert_eq!(check.leftovers(|_| false, &told).1.len(), 1, "no log says it");
    check.open(ended.id, AT, &Kind::Sync.input_bytes(1, 40)).expect("once");
    check.close(&ended, 2).expect("by the next owner");
    assert_eq!(check.leftovers(|_| false, &told), (1, Vec::new()));
    assert_eq!(check.leftovers(|_| false, &BTreeSet::new()).1.len(), 1, "nobody was told of it");
}

#[test]
fn who_is_blamed_for_kills_is_told_with_the_time_in_which_it_ran() {
    let mut check = LogCheck::new(1);
    let input = Kind::FiveState.input_bytes(1, 40);
    check.open(batch().execution(5), Opening { start_ms: 7, generation: 1 }, &input).expect("once");
    check.acknowledge(&ack()).expect("none is closed");
    check.close(&parted("The execution killed the node that stepped it 3 times, so"), 4).expect("allowed");
    let [condemned] = check.condemned() else { panic!("{:?}", check.condemned()) };
    assert_eq!((condemned.id, condemned.start_ms, condemned.stop_ms), (batch().execution(5), 7, 1));
}
