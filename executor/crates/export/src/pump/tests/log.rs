//! What the log says of a sink.

use super::*;

/// What is logged on this thread.
#[derive(Debug, Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn taken(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    fn count(&self, what: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(what)).count()
    }
}

const FAILS: &str = "the sink does not take";

#[test]
fn a_sink_that_ends_by_itself_is_told_and_loses_nothing_uncounted() {
    local(async || {
        let log = Log::default();
        let _guard = log.taken();
        let rig = Rig::start(options(), Mood::Panics);
        rig.push(0..10);
        pass(1).await;
        assert!(rig.running.is_finished());
        assert_eq!(
            (rig.metrics.dropped_for(DropReason::GaveUp), rig.metrics.queue_items.get()),
            ((10, 10), 0)
        );
        assert_eq!((rig.push(10..13), rig.metrics.dropped_for(DropReason::GaveUp).0), (0, 13));
        assert_eq!(log.count("the sink has ended by itself"), 1);
    });
}

#[test]
fn a_failing_sink_is_told_when_it_begins_when_its_reason_changes_every_five_minutes_and_when_it_is_over() {
    local(async || {
        let log = Log::default();
        let _guard = log.taken();
        let rig = Rig::start(options(), Mood::Down);
        rig.push(0..8);
        pass(60).await;
        assert_eq!(log.count(FAILS), 1);
        rig.sink.mood.set(Mood::Hangs);
        pass(30).await;
        assert_eq!(log.count(FAILS), 2);
        let line = log.lines().into_iter().find(|line| line.contains("answer in time")).expect("told");
        assert!(line.contains(r#"signal="history" sink="test""#) && line.contains("waiting=8"), "{line}");
        rig.sink.mood.set(Mood::Down);
        pass(30).await;
        assert_eq!(log.count(FAILS), 3);
        let retry = Retry { age: Duration::from_hours(1), ..options().retry };
        let rig = Rig::start(PumpOptions { retry, ..options() }, Mood::Down);
        rig.push(0..8);
        pass(700).await;
        assert_eq!(
            log.lines().iter().filter(|line| line.contains(FAILS) && line.contains("kept=3600s")).count(),
            3
        );
        rig.sink.mood.set(Mood::Well);
        pass(10).await;
        let line =
            log.lines().into_iter().find(|line| line.contains("takes what it is sent again")).expect("told");
        assert!(line.contains("after=70") && line.contains("dropped=0"), "{line}");
    });
}

#[test]
fn dropping_is_told_when_it_begins_and_with_its_sum_when_it_is_over() {
    local(async || {
        let log = Log::default();
        let _guard = log.taken();
        let rig = Rig::start(options(), Mood::Slow(Duration::from_secs(1)));
        for _ in 0..5 {
            rig.push(0..30);
            pass(1).await;
        }
        assert_eq!(log.count("records are dropped"), 1);
        pass(120).await;
        assert_eq!(log.count("no more records are dropped"), 1);
        let dropped = rig.metrics.dropped_for(DropReason::QueueFull).1;
        let sum = format!("records={dropped} by=\"queue_full {dropped}\"");
        assert_eq!(log.count(&sum), 1, "{:?}", log.lines());
    });
}

#[test]
fn a_stop_says_what_it_leaves_behind_with_the_batch_under_way() {
    local(async || {
        let log = Log::default();
        let _guard = log.taken();
        let rig = Rig::start(options(), Mood::Down);
        rig.push(0..10);
        pass(3).await;
        rig.stop(Duration::from_secs(5)).await;
        assert_eq!(log.count("the node ends before the sink took everything"), 1);
        assert_eq!(log.count(r#"sent=0 lost=10 by="closing 10""#), 1, "{:?}", log.lines());
    });
}
