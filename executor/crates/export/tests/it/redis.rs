//! A real Redis: entries in order, the stream bounded, a server that dies and comes back.

use export::sinks::redis::{Redis, RedisOptions};
use export::{Sink, SinkError};
use testkit::Redis as Server;

use crate::support::{arn, batch, page, push};

fn server() -> Server {
    Server::start(testkit::RedisOptions::default()).expect("a Redis")
}

fn sink(server: &Server, change: impl FnOnce(&mut RedisOptions)) -> Redis {
    let mut options = RedisOptions::new(server.url());
    change(&mut options);
    Redis::new(options).expect("a URL")
}

#[tokio::test]
async fn every_event_is_an_entry_in_the_order_of_the_batch() {
    let server = server();
    let mut sink = sink(&server, |_| {});
    let batch = batch(&[page("a", 1..3), page("b", 1..2)]);
    assert!(sink.send(&batch).await.expect("taken").bytes > 0);
    let entries = server.command(&["XRANGE", "myriad:history", "-", "+"]).expect("entries");
    let texts: Vec<&str> = entries.lines().filter(|line| line.starts_with("{\"id\"")).collect();
    let expected: Vec<&str> = batch.items.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, expected, "{entries}");
    let arns = entries.lines().filter(|line| **line == arn("a")).count();
    assert_eq!(arns, 2, "{entries}");
}

#[tokio::test]
async fn the_stream_is_about_as_long_as_it_may_be() {
    let server = server();
    let mut sink = sink(&server, |options| options.entries_max = 200);
    sink.send(&batch(&[page("a", 1..3_001)])).await.expect("taken");
    let length: u64 =
        server.command(&["XLEN", "myriad:history"]).expect("a length").trim().parse().expect("a number");
    assert!((200..500).contains(&length), "{length} entries");
    let newest = server.command(&["XREVRANGE", "myriad:history", "+", "-", "COUNT", "1"]).expect("an entry");
    assert!(newest.contains(r#"{"id":"3000""#), "{newest}");
}

#[tokio::test]
async fn a_server_that_dies_is_an_outage_and_one_that_is_back_takes_the_batch() {
    let mut server = server();
    let mut sink = sink(&server, |_| {});
    sink.send(&batch(&[page("a", 1..2)])).await.expect("taken");
    server.kill9();
    let two = batch(&[page("a", 2..3)]);
    for _ in 0..2 {
        let error = sink.send(&two).await.expect_err("it is dead");
        assert!(matches!(error, SinkError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }
    server.restart().expect("back");
    sink.send(&two).await.expect("taken");
    assert_eq!(server.command(&["XLEN", "myriad:history"]).expect("a length").trim(), "2");
}

#[tokio::test]
async fn a_password_comes_from_its_file_and_is_taken_up_when_it_is_replaced() {
    let server = server();
    server.command(&["CONFIG", "SET", "requirepass", "new-password"]).expect("set");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "old-password\n").expect("written");
    let mut sink = sink(&server, |options| options.password_file = Some(file.path().to_owned()));
    let one = batch(&[page("a", 1..2)]);
    let error = sink.send(&one).await.expect_err("a wrong password").to_string();
    assert!(!error.contains("old-password"), "{error}");
    std::fs::write(file.path(), "new-password\n").expect("written");
    sink.send(&one).await.expect("taken");
}

#[tokio::test]
async fn what_was_taken_of_a_long_batch_is_not_written_again() {
    let server = server();
    let mut sink = sink(&server, |_| {});
    // The last event does not fit: the server takes no command that long.
    server.command(&["CONFIG", "SET", "proto-max-bulk-len", "1048576"]).expect("set");
    let mut long = page("a", 1..1_500);
    push(&mut long, 1_500, "x".repeat(2 << 20));
    let long = batch(&[long]);
    for _ in 0..3 {
        sink.send(&long).await.expect_err("too long");
    }
    let firsts = || {
        let entries = server.command(&["XRANGE", "myriad:history", "-", "+"]).expect("entries");
        entries.lines().filter(|line| line.starts_with(r#"{"id":"1","#)).count()
    };
    assert_eq!(firsts(), 1);
    server.command(&["CONFIG", "SET", "proto-max-bulk-len", "536870912"]).expect("set");
    sink.send(&long).await.expect("taken");
    assert_eq!(firsts(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_redis_that_speaks_no_tls_is_told_with_what_to_write() {
    let server = server();
    let mut sink = sink(&server, |options| options.url = options.url.replace("redis://", "rediss://"));
    let error = sink.send(&batch(&[page("a", 1..2)])).await.expect_err("no TLS there").to_string();
    assert!(error.contains("Redis at 127.0.0.1:") && error.contains("write redis://"), "{error}");
}
