//! CLS: what its double verifies, and what becomes of its answers.

use std::time::Duration;

use export::{Sink, SinkError};

use crate::support::{ClsDouble, Mood, SECRET_KEY, arn, batch, cls, keys_file, page, value};

fn unavailable(error: SinkError) -> (String, Option<Duration>) {
    match error {
        SinkError::Unavailable { why, after } => (why, after),
        SinkError::Refused { why } | SinkError::RefusedWhole { why } => panic!("refused: {why}"),
    }
}

#[tokio::test]
async fn a_packet_is_signed_compressed_and_holds_every_event_in_order() {
    let (double, dir) = (ClsDouble::start(Mood::Takes).await, tempfile::tempdir().expect("a folder"));
    keys_file(dir.path(), SECRET_KEY, None);
    let mut sink = cls(&double, dir.path());
    let sent = sink.send(&batch(&[page("a", 1..3), page("b", 1..2)])).await.expect("taken");
    assert!(sent.bytes > 0);
    let logs = double.logs();
    let seen: Vec<_> = logs.iter().map(|log| (value(log, "execution_arn"), value(log, "id"))).collect();
    let (a, b) = (arn("a"), arn("b"));
    assert_eq!(seen, [(a.as_str(), "1"), (a.as_str(), "2"), (b.as_str(), "1")]);
    assert_eq!(logs[1].time, 1_700_000_000_000);
    assert_eq!(value(&logs[1], "type"), "PassStateEntered");
    assert_eq!(value(&logs[1], "previous_event_id"), "1");
    let details = r#"{"name":"A","input":"\"a 2\"","inputDetails":{"truncated":false}}"#;
    assert_eq!(value(&logs[1], "details"), details);
    assert_eq!(double.state().packets[0].log_group_list[0].source.as_deref(), Some("node-1"));
    assert_eq!(double.state().token, None);
}

#[tokio::test]
async fn ten_thousand_events_are_one_packet_within_the_limits() {
    let (double, dir) = (ClsDouble::start(Mood::Takes).await, tempfile::tempdir().expect("a folder"));
    keys_file(dir.path(), SECRET_KEY, None);
    let mut sink = cls(&double, dir.path());
    sink.send(&batch(&[page("a", 1..10_001)])).await.expect("taken");
    assert_eq!((double.logs().len(), double.state().packets.len()), (10_000, 1));
}

#[tokio::test]
async fn keys_that_are_replaced_are_taken_up_and_shown_nowhere() {
    let (double, dir) = (ClsDouble::start(Mood::Takes).await, tempfile::tempdir().expect("a folder"));
    keys_file(dir.path(), "another-secret-key", None);
    let mut sink = cls(&double, dir.path());
    let batch = batch(&[page("a", 1..2)]);
    let (why, _) = unavailable(sink.send(&batch).await.expect_err("a wrong key"));
    assert!(why.contains("AuthFailure.SignatureFailure") && why.contains("the-request"), "{why}");
    assert!(!why.contains("another-secret") && !format!("{sink:?}").contains("another-secret"), "{why}");
    keys_file(dir.path(), SECRET_KEY, Some("a-token"));
    sink.send(&batch).await.expect("taken");
    assert_eq!(double.state().token.as_deref(), Some("a-token"));
    std::fs::remove_file(dir.path().join("keys")).expect("removed");
    let (why, _) = unavailable(sink.send(&batch).await.expect_err("no keys"));
    assert!(why.contains("keys"), "{why}");
}

#[tokio::test]
async fn an_answer_decides_whether_the_packet_comes_again() {
    let (double, dir) = (ClsDouble::start(Mood::Takes).await, tempfile::tempdir().expect("a folder"));
    keys_file(dir.path(), SECRET_KEY, None);
    let mut sink = cls(&double, dir.path());
    let batch = batch(&[page("a", 1..2)]);
    let mut answered = async |status, body, headers: Vec<_>| {
        double.state().mood = Mood::Answers(status, body, headers);
        sink.send(&batch).await.expect_err("not taken")
    };
    let speed = r#"{"errorcode":"SpeedQuotaExceed","errormessage":"too fast"}"#;
    let (why, after) = unavailable(answered(429, speed, vec![]).await);
    assert!(why.contains("too fast") && after == Some(Duration::from_secs(1)), "{why} {after:?}");
    assert_eq!(
        unavailable(answered(429, speed, vec![("retry-after", "9")]).await).1,
        Some(Duration::from_secs(9))
    );
    unavailable(answered(500, "no JSON at all", vec![]).await);
    unavailable(answered(404, r#"{"errorcode":"TopicNotExist"}"#, vec![]).await);
    unavailable(answered(302, "", vec![("location", "http://127.0.0.1:1/")]).await);
    let wrong = answered(400, r#"{"errorcode":"InvalidContent"}"#, vec![]).await;
    assert!(matches!(wrong, SinkError::RefusedWhole { .. }), "{wrong:?}");
}

#[tokio::test]
async fn nobody_at_the_address_is_an_outage() {
    let (mut double, dir) = (ClsDouble::start(Mood::Takes).await, tempfile::tempdir().expect("a folder"));
    keys_file(dir.path(), SECRET_KEY, None);
    double.address.set_port(1);
    let error = cls(&double, dir.path()).send(&batch(&[page("a", 1..2)])).await.expect_err("nobody");
    assert!(unavailable(error).0.contains("cannot be reached"));
}
