//! What goes through the front door, counted, and told in the log once a minute.
//!
//! Invariants: each of the door's threads counts for itself, behind a lock that nobody else takes but once a minute; what is told
//! apart is bounded by the tables of operations and errors; a minute in which nothing happened is not told. Nothing here fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use front::{Connection, Told};

/// How often it is told.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct Counter {
    threads: Vec<Mutex<Counts>>,
}

/// What happened since it was told last.
#[derive(Debug, Default)]
struct Counts {
    /// By operation and error; an operation is spelt `api.Name`.
    calls: BTreeMap<(&'static str, &'static str, Option<&'static str>), u64>,
    /// Of connections, but that they were opened and closed.
    troubles: BTreeMap<&'static str, u64>,
}

impl Counter {
    /// For so many threads of a door.
    pub fn new(threads: usize) -> Self {
        Self { threads: (0..threads.max(1)).map(|_| Mutex::default()).collect() }
    }

    fn thread(&self, number: usize) -> MutexGuard<'_, Counts> {
        self.threads[number % self.threads.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything since it was asked last, in words; `None`: nothing.
    fn take(&self) -> Option<String> {
        let mut all = Counts::default();
        for number in 0..self.threads.len() {
            let counts = std::mem::take(&mut *self.thread(number));
            for (what, count) in counts.calls {
                *all.calls.entry(what).or_default() += count;
            }
            for (what, count) in counts.troubles {
                *all.troubles.entry(what).or_default() += count;
            }
        }
        let mut text = String::new();
        for ((api, operation, error), count) in all.calls {
            let error = error.map_or(String::new(), |error| format!(" {error}"));
            // Writing to a String cannot fail.
            let _ = write!(text, ", {api}.{operation}{error} {count}");
        }
        for (trouble, count) in all.troubles {
            let _ = write!(text, ", {trouble} {count}");
        }
        text.get(2..).map(str::to_owned)
    }

    /// Tells it again and again. Ends when it is dropped.
    pub async fn keep_telling(&self) {
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            if let Some(told) = self.take() {
                tracing::info!("at the front door in {} s: {told}", TELL_EVERY.as_secs());
            }
        }
    }
}

impl front::Tell for Counter {
    fn answered(&self, told: Told) {
        let api = told.api.map_or("http", front::Api::as_str);
        let operation = told.operation.unwrap_or("-");
        *self.thread(told.thread).calls.entry((api, operation, told.error)).or_default() += 1;
    }

    fn connection(&self, thread: usize, what: Connection) {
        let trouble = match what {
            Connection::Opened | Connection::Closed | Connection::Idle => return,
            Connection::Refused => "connections refused",
            Connection::Evicted => "connections that made room",
            Connection::Handshake => "failed handshakes",
            Connection::SlowHead => "slow requests",
            Connection::SlowReader => "answers that were not read",
            Connection::Broken => "broken connections",
        };
        *self.thread(thread).troubles.entry(trouble).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use front::{Api, Tell as _};

    use super::*;

    fn told(thread: usize, operation: Option<&'static str>, error: Option<&'static str>) -> Told {
        let api = operation.map(|_| Api::Sfn);
        Told { thread, api, operation, error, took: Duration::ZERO, received: 0, sent: 0 }
    }

    #[test]
    fn what_threads_have_counted_is_told_together_and_once() {
        let counter = Counter::new(2);
        assert_eq!(counter.take(), None);
        counter.answered(told(0, Some("StartExecution"), None));
        counter.answered(told(1, Some("StartExecution"), None));
        counter.answered(told(1, Some("StartExecution"), Some("ThrottlingException")));
        counter.answered(told(0, None, Some("Http")));
        counter.connection(0, Connection::Opened);
        counter.connection(0, Connection::SlowHead);
        let expected =
            "http.- Http 1, sfn.StartExecution 2, sfn.StartExecution ThrottlingException 1, slow requests 1";
        assert_eq!(counter.take().as_deref(), Some(expected));
        assert_eq!(counter.take(), None);
    }
}
