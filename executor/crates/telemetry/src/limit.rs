//! How many lines one place in the program may log: a store that is down must not fill the disk with one sentence.
//!
//! Each callsite has [`EVERY`] for so many lines; what is beyond is counted, and one line of the same level and target says
//! how many there were when the time is over. Invariants: an error is never held back, nor is the first line of a place; every
//! line that is held back is counted; at most [`SITES_MAX`] places are watched, others are not limited. What may fail: nothing.
//!
//! tracing-throttle keeps what it limits by the values of all fields, and holds back errors too; this is one table by callsite.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Value, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How long a place has for its lines.
pub const EVERY: Duration = Duration::from_secs(10);
/// Lines of a place within [`EVERY`], where nothing else is said.
pub const LINES: u32 = 10;
/// Places that are watched; a program has some hundred.
const SITES_MAX: usize = 2_048;
/// As much of a line as its summary repeats, in bytes.
const LIKE_MAX: usize = 200;

/// Levels that are limited, with the value of the `level` label.
pub(crate) const LEVELS: [(Level, &str); 4] =
    [(Level::WARN, "warn"), (Level::INFO, "info"), (Level::DEBUG, "debug"), (Level::TRACE, "trace")];

/// Lines that this process has held back, by level.
static SUPPRESSED: [AtomicU64; LEVELS.len()] = [const { AtomicU64::new(0) }; LEVELS.len()];

/// Lines that this process has held back, by the value of the `level` label.
pub(crate) fn suppressed() -> impl Iterator<Item = (&'static str, u64)> {
    LEVELS.iter().zip(&SUPPRESSED).map(|((_, text), count)| (*text, count.load(Ordering::Relaxed)))
}

thread_local! {
    /// Set while a summary is logged: it is no line of its place.
    static SUMMING_UP: Cell<bool> = const { Cell::new(false) };
}

/// The layer that holds lines back.
#[derive(Debug, Clone)]
pub(crate) struct Limit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lines: u32,
    sites: Mutex<HashMap<Identifier, Site>>,
    held_back: Condvar,
}

/// A place in the program that has logged.
#[derive(Debug)]
struct Site {
    metadata: &'static Metadata<'static>,
    since: Instant,
    lines: u32,
    /// Lines that were held back and that no summary has told of.
    more: u64,
    /// The message of the first of them.
    like: String,
}

/// What a summary says.
#[derive(Debug)]
pub(crate) struct Summary {
    metadata: &'static Metadata<'static>,
    more: u64,
    like: String,
}

impl Limit {
    /// So many lines of a place within [`EVERY`].
    pub(crate) fn new(lines: u32) -> Self {
        Self(Arc::new(Shared { lines, sites: Mutex::default(), held_back: Condvar::new() }))
    }

    /// Tells of what was held back, on a thread of its own for as long as the process lives.
    ///
    /// # Errors
    /// There can be no thread.
    pub(crate) fn sum_up(&self) -> std::io::Result<()> {
        let limit = self.clone();
        let forever = move || {
            loop {
                limit.wait().into_iter().for_each(|summary| summary.log());
            }
        };
        std::thread::Builder::new().name("logs".to_owned()).spawn(forever).map(drop)
    }

    fn sites(&self) -> MutexGuard<'_, HashMap<Identifier, Site>> {
        self.0.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to tell. Sleeps where nothing was held back.
    fn wait(&self) -> Vec<Summary> {
        let mut sites = self.sites();
        loop {
            let now = Instant::now();
            let due = due(&mut sites, now);
            if !due.is_empty() {
                return due;
            }
            let waiting = sites.values().filter(|site| site.more > 0);
            let next = waiting.map(|site| (site.since + EVERY).saturating_duration_since(now)).min();
            sites = match next {
                Some(next) => self
                    .0
                    .held_back
                    .wait_timeout(sites, next)
                    .map_or_else(|poisoned| poisoned.into_inner().0, |(sites, _)| sites),
                None => self.0.held_back.wait(sites).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Whether a line may be written now.
    fn admit(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        let Some(level) = LEVELS.iter().position(|(level, _)| level == metadata.level()) else { return true };
        if SUMMING_UP.get() {
            return true;
        }
        let mut sites = self.sites();
        let room = sites.len() < SITES_MAX;
        let site = match sites.get_mut(&metadata.callsite()) {
            Some(site) => site,
            None if room => sites.entry(metadata.callsite()).or_insert_with(|| Site::new(metadata, now)),
            None => return true,
        };
        if now.saturating_duration_since(site.since) >= EVERY {
            (site.since, site.lines) = (now, 0);
        }
        if site.lines < self.0.lines {
            site.lines += 1;
            return true;
        }
        if site.more == 0 {
            site.like = message(event);
            self.0.held_back.notify_one();
        }
        site.more += 1;
        SUPPRESSED[level].fetch_add(1, Ordering::Relaxed);
        false
    }
}

/// What is to be told by now.
fn due(sites: &mut HashMap<Identifier, Site>, now: Instant) -> Vec<Summary> {
    let over = |site: &&mut Site| site.more > 0 && now.saturating_duration_since(site.since) >= EVERY;
    let summary = |site: &mut Site| Summary {
        metadata: site.metadata,
        more: std::mem::take(&mut site.more),
        like: std::mem::take(&mut site.like),
    };
    sites.values_mut().filter(over).map(summary).collect()
}

impl Site {
    fn new(metadata: &'static Metadata<'static>, now: Instant) -> Self {
        Self { metadata, since: now, lines: 0, more: 0, like: String::new() }
    }
}

impl Summary {
    /// Logs it as a line of its place, so that what chooses lines by level or target chooses it as it did those.
    pub(crate) fn log(&self) {
        let fields = self.metadata.fields();
        let Some(field) = fields.field("message").or_else(|| fields.iter().next()) else { return };
        let Self { more, like, .. } = self;
        let seconds = EVERY.as_secs();
        SUMMING_UP.set(true);
        let text = format_args!("… and {more} more like this within {seconds} s: {like}");
        Event::dispatch(self.metadata, &fields.value_set(&[(&field, Some(&text as &dyn Value))]));
        SUMMING_UP.set(false);
    }
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.admit(event, Instant::now())
    }
}

/// The beginning of an event's message.
fn message(event: &Event<'_>) -> String {
    let mut message = Message(String::new());
    event.record(&mut message);
    let end = (0..=LIKE_MAX.min(message.0.len())).rev().find(|end| message.0.is_char_boundary(*end));
    message.0.truncate(end.unwrap_or_default());
    message.0
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Strings grow.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests;
