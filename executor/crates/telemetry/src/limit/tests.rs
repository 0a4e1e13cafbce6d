//! What a limited logger writes, seen at its writer.

use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::logs::{Format, written};

/// Where the lines of a test go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn with(&self, part: &str) -> Vec<String> {
        let bytes = self.0.lock().expect("not poisoned").clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        text.lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }
}

/// What is logged meanwhile, with two lines for each place; then summaries of `later`.
fn logged(format: Format, later: Duration, log: impl Fn()) -> Lines {
    let (lines, limit) = (Lines::default(), Limit::new(2));
    let writer = lines.clone();
    let subscriber = tracing_subscriber::registry()
        .with(written(format, move || writer.clone(), false))
        .with(limit.clone())
        .with(EnvFilter::new("debug"));
    tracing::subscriber::with_default(subscriber, || {
        log();
        let due = due(&mut limit.sites(), Instant::now() + later);
        due.into_iter().for_each(|summary| summary.log());
    });
    lines
}

fn suppressed_at(level: &str) -> u64 {
    suppressed().find(|(text, _)| *text == level).expect("a level").1
}

#[test]
fn lines_of_one_place_beyond_its_number_are_one_line_that_says_how_many() {
    let before = suppressed_at("warn");
    let lines = logged(Format::Human, EVERY, || {
        for attempt in 0..9 {
            tracing::warn!(attempt, "no connection");
        }
        tracing::warn!("somewhere else");
    });
    let told = lines.with("no connection");
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("attempt=0") && told[1].contains("attempt=1"), "{told:?}");
    assert!(
        told[2].contains("WARN") && told[2].contains("… and 7 more like this within 10 s: no connection")
    );
    assert_eq!(lines.with("somewhere else").len(), 1, "each place has its own number");
    assert!(suppressed_at("warn") >= before + 7);
}

#[test]
fn errors_are_never_held_back() {
    let lines = logged(Format::Human, EVERY, || (0..50).for_each(|n| tracing::error!(n, "it broke")));
    assert_eq!(lines.with("it broke").len(), 50);
    assert!(lines.with("more like this").is_empty());
}

#[test]
fn nothing_is_summed_up_before_the_time_is_over() {
    let lines = logged(Format::Human, Duration::ZERO, || (0..5).for_each(|_| tracing::info!("often")));
    assert_eq!(lines.with("often").len(), 2);
}

#[test]
fn json_lines_keep_their_fields_and_a_summary_has_the_target_and_level_of_its_lines() {
    let lines = logged(Format::Json, EVERY, || {
        (0..4).for_each(|link| tracing::info!(target: "links", link, error = %"refused", "trying on"));
    });
    let told = lines.with("trying on");
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[1].contains(r#""message":"trying on","link":1,"error":"refused""#), "{}", told[1]);
    let summary = &told[2];
    for part in [r#""level":"INFO""#, r#""target":"links""#, r#""message":"… and 2 more like this"#] {
        assert!(summary.contains(part), "{part} in {summary}");
    }
}

#[test]
fn a_place_begins_again_when_its_time_is_over_and_what_was_not_told_is_told_later() {
    let limit = Limit::new(1);
    let begin = Instant::now();
    let admitted = Arc::new(Mutex::new(Vec::new()));
    let subscriber = tracing_subscriber::registry().with(Timed {
        limit: limit.clone(),
        times: Mutex::new(
            [0, 1, 9, 10, 11, 21].map(|s| begin + Duration::from_secs(s)).into_iter().collect(),
        ),
        admitted: Arc::clone(&admitted),
    });
    tracing::subscriber::with_default(subscriber, || (0..6).for_each(|_| tracing::info!("now")));
    assert_eq!(*admitted.lock().expect("not poisoned"), [true, false, false, true, false, true]);
    assert!(due(&mut limit.sites(), begin + Duration::from_secs(30)).is_empty(), "its time is not over");
    let told = due(&mut limit.sites(), begin + Duration::from_secs(31));
    assert!(told.len() == 1 && told[0].more == 3 && told[0].like == "now", "{told:?}");
    assert!(due(&mut limit.sites(), begin + Duration::from_secs(60)).is_empty(), "it is told once");
}

/// Asks a limit at times of its own.
struct Timed {
    limit: Limit,
    times: Mutex<std::collections::VecDeque<Instant>>,
    admitted: Arc<Mutex<Vec<bool>>>,
}

impl<S: Subscriber> Layer<S> for Timed {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let now = self.times.lock().expect("not poisoned").pop_front().expect("a time for each line");
        self.admitted.lock().expect("not poisoned").push(self.limit.admit(event, now));
    }
}

#[test]
fn the_thread_that_sums_up_waits_for_what_is_held_back() {
    let limit = Limit::new(1);
    let told = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| limit.wait());
        let subscriber = tracing_subscriber::registry().with(limit.clone());
        tracing::subscriber::with_default(subscriber, || (0..3).for_each(|_| tracing::debug!("again")));
        // Its time is made to be over.
        let over = Instant::now().checked_sub(EVERY).expect("the machine is up for longer");
        limit.sites().values_mut().for_each(|site| site.since = over);
        limit.0.held_back.notify_one();
        waiting.join().expect("it ends")
    });
    assert!(told.len() == 1 && told[0].more == 2, "{told:?}");
}
