//! Kafka's protocol against a double of our own, for no broker is to be had: what it decodes, and what becomes of its answers.

mod broker;
mod wire;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use export::sinks::kafka::{Kafka, KafkaCompression, KafkaOptions};
use export::{History, IntakeBounds, Sink, SinkError};
use telemetry::{DropReason, ExportMetrics};

use crate::support::{arn, batch, page, tls};
use broker::{Broker, Mood, PASSWORD, TOPIC, USER};

fn options(broker: &Broker) -> KafkaOptions {
    KafkaOptions {
        brokers: vec![broker.address.to_string()],
        topic: TOPIC.to_owned(),
        tls: false,
        login: None,
        compression: KafkaCompression::None,
    }
}

fn sink(broker: &Broker, change: impl FnOnce(&mut KafkaOptions)) -> Kafka {
    let mut options = options(broker);
    change(&mut options);
    Kafka::new(options, tls())
}

fn unavailable(error: SinkError) -> String {
    match error {
        SinkError::Unavailable { why, .. } => why,
        SinkError::Refused { why } | SinkError::RefusedWhole { why } => panic!("refused: {why}"),
    }
}

#[tokio::test]
async fn events_are_records_with_the_execution_as_key_and_in_order_within_it() {
    for compression in [KafkaCompression::None, KafkaCompression::Gzip, KafkaCompression::Snappy] {
        let broker = Broker::start(3).await;
        let mut sink = sink(&broker, |options| options.compression = compression);
        let pages: Vec<_> = (0..20).map(|number| page(&number.to_string(), 1..6)).collect();
        let one = batch(&pages);
        assert!(sink.send(&one).await.expect("taken").bytes > 0);
        let pages: Vec<_> = (0..20).map(|number| page(&number.to_string(), 6..8)).collect();
        let two = batch(&pages);
        sink.send(&two).await.expect("taken");
        let taken = broker.state().taken.clone();
        assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), 140, "{compression:?}");
        assert!(taken.iter().all(|partition| !partition.is_empty()), "all partitions have some");
        for number in 0..20 {
            let key = arn(&number.to_string());
            let of = |partition: &Vec<wire::Record>| {
                let records = partition.iter().filter(|record| record.key == key);
                records.map(|record| record.value.clone()).collect::<Vec<_>>()
            };
            let found: Vec<Vec<String>> = taken.iter().map(of).filter(|found| !found.is_empty()).collect();
            let lines = one.items.iter().chain(&two.items).filter(|line| *line.execution == key);
            assert_eq!(found, [lines.map(|line| line.text.clone()).collect::<Vec<_>>()], "{compression:?}");
        }
        assert!(taken.iter().flatten().all(|record| record.at_ms == 1_700_000_000_000));
        assert!(broker.state().acks.iter().all(|acks| *acks == -1), "all replicas confirm");
        assert_eq!(broker.state().wrong, [""; 0]);
    }
}

#[tokio::test]
async fn a_login_is_told_by_sasl_plain_from_its_file_and_shown_nowhere() {
    let broker = Broker::start(1).await;
    broker.state().asks_login = true;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "a-wrong-password\n").expect("written");
    let mut sink = sink(&broker, |options| options.login = Some((USER.to_owned(), file.path().to_owned())));
    let one = batch(&[page("a", 1..3)]);
    let why = unavailable(sink.send(&one).await.expect_err("a wrong password"));
    assert!(!why.contains("a-wrong-password") && !format!("{sink:?}").contains("a-wrong-password"), "{why}");
    std::fs::write(file.path(), format!("{PASSWORD}\n")).expect("written");
    sink.send(&one).await.expect("taken");
    assert_eq!(broker.state().taken[0].len(), 2);
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_named() {
    let broker = Broker::start(1).await;
    let mut sink = sink(&broker, |options| options.topic = "another".to_owned());
    let why = unavailable(sink.send(&batch(&[page("a", 1..2)])).await.expect_err("no topic"));
    assert!(why.contains("another") && why.contains(&broker.address.to_string()), "{why}");
}

#[tokio::test]
async fn an_answer_decides_whether_the_batch_comes_again() {
    let broker = Broker::start(1).await;
    let mut sink = sink(&broker, |_| {});
    let one = batch(&[page("a", 1..3)]);
    // MESSAGE_TOO_LARGE is wrong with the batch; NOT_ENOUGH_REPLICAS and TOPIC_AUTHORIZATION_FAILED can be mended.
    broker.state().mood = Mood::Answers(10);
    let error = sink.send(&one).await.expect_err("too large");
    assert!(matches!(error, SinkError::RefusedWhole { .. }), "{error}");
    for code in [19, 29] {
        broker.state().mood = Mood::Answers(code);
        unavailable(sink.send(&one).await.expect_err("not taken"));
    }
    broker.state().mood = Mood::Takes;
    sink.send(&one).await.expect("taken");
    assert_eq!(broker.state().taken[0].len(), 2);
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_gives_the_batch_twice() {
    let broker = Broker::start(1).await;
    let mut sink = sink(&broker, |_| {});
    broker.state().mood = Mood::ForgetsOnce;
    let one = batch(&[page("a", 1..3)]);
    sink.send(&one).await.expect("taken, at the second time");
    let ids: Vec<String> = broker.state().taken[0].iter().map(|record| record.value.clone()).collect();
    let expected: Vec<&str> = one.items.iter().chain(&one.items).map(|line| line.text.as_str()).collect();
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn nobody_at_the_address_is_an_outage() {
    let broker = Broker::start(1).await;
    let mut sink = sink(&broker, |options| options.brokers = vec!["127.0.0.1:1".to_owned()]);
    let why = unavailable(sink.send(&batch(&[page("a", 1..2)])).await.expect_err("nobody"));
    assert!(why.contains("127.0.0.1:1"), "{why}");
}

#[tokio::test]
async fn a_partition_that_is_away_alone_costs_the_others_no_repetition() {
    let broker = Broker::start(3).await;
    let mut sink = sink(&broker, |_| {});
    let pages: Vec<_> = (0..20).map(|number| page(&number.to_string(), 1..6)).collect();
    let one = batch(&pages);
    // NOT_ENOUGH_REPLICAS
    broker.state().mood = Mood::AnswersOf(1, 19);
    for _ in 0..3 {
        unavailable(sink.send(&one).await.expect_err("one is away"));
    }
    let counts = |broker: &Broker| broker.state().taken.iter().map(Vec::len).collect::<Vec<_>>();
    let counted = counts(&broker);
    assert!(counted[0] > 0 && counted[1] == 0 && counted[2] > 0, "{counted:?}");
    broker.state().mood = Mood::Takes;
    sink.send(&one).await.expect("taken");
    assert_eq!(counts(&broker).iter().sum::<usize>(), 100, "each event once");
    assert_eq!((counts(&broker)[0], counts(&broker)[2]), (counted[0], counted[2]));
    // What is confirmed is not remembered beyond its batch.
    sink.send(&one).await.expect("taken");
    assert_eq!(counts(&broker).iter().sum::<usize>(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_a_broker_calls_too_large_comes_in_parts() {
    let broker = Broker::start(2).await;
    broker.state().mood = Mood::TakesAtMost(7);
    let (options, tls) = (options(&broker), tls());
    let cells = Arc::<ExportMetrics>::default();
    let history = History::new(IntakeBounds::default());
    let pump = export::PumpOptions::default();
    let history = history.and("kafka", pump, Arc::clone(&cells), move || Kafka::new(options, tls));
    let (exporter, intakes) = history.start(1).expect("started");
    for number in 0..10 {
        assert!(intakes[0].offer(page(&number.to_string(), 1..6)));
    }
    assert!(exporter.stop(Duration::from_secs(60)).await);
    assert_eq!((cells.records.get(), cells.dropped_for(DropReason::Refused)), (50, (0, 0)));
    let state = broker.state();
    let values = || state.taken.iter().flatten().map(|record| &record.value);
    assert_eq!((values().count(), values().collect::<HashSet<_>>().len()), (50, 50), "each once");
}
