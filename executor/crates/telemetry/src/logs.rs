//! Structured logs on standard error.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::limit::Limit;
pub use crate::limit::{EVERY, LINES};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Installs the process's logger. `level` is a filter such as `info` or `executor=debug,info`; `lines` is how many lines one
/// place in the program may write within [`EVERY`], errors excepted; 0 is no limit.
///
/// # Errors
/// The filter does not parse, or a logger is installed already; the text says which.
pub fn init(format: Format, level: &str, lines: u32) -> Result<(), String> {
    let filter = filter(level)?;
    let limit = (lines > 0).then(|| Limit::new(lines));
    let ansi = std::io::stderr().is_terminal();
    // What stands last is asked first: a line that nobody wants is not counted.
    tracing_subscriber::registry()
        .with(written(format, std::io::stderr, ansi))
        .with(limit.clone())
        .with(filter)
        .try_init()
        .map_err(|error| format!("the logger cannot be installed: {error}"))?;
    let summed_up = limit.map_or(Ok(()), |limit| limit.sum_up());
    summed_up.map_err(|error| format!("the logger has no thread of its own: {error}"))
}

/// Libraries that say at INFO and WARN what whoever uses them says better: of these only errors are written, where the filter
/// does not name them.
const QUIET: [&str; 1] = ["rskafka"];

fn filter(level: &str) -> Result<EnvFilter, String> {
    let parse = |level: &str| {
        EnvFilter::try_new(level).map_err(|error| {
            format!("log level {level:?} is no filter ({error}): write error, warn, info, debug, trace or target=level")
        })
    };
    check_words(level)?;
    let filter = parse(level)?;
    if filter.max_level_hint() == Some(LevelFilter::OFF) {
        return Ok(filter);
    }
    let quiet = QUIET.iter().filter(|library| !level.contains(*library));
    parse(&quiet.fold(level.to_owned(), |level, library| format!("{level},{library}=error")))
}

/// A word that is no level would be taken for a target, and all others were silent.
fn check_words(level: &str) -> Result<(), String> {
    let bare = |word: &&str| word.chars().all(|char| char.is_alphanumeric() || "_:-".contains(char));
    let words = level.split(',').map(str::trim).filter(|word| !word.is_empty()).filter(bare);
    let Some(wrong) = words.into_iter().find(|word| word.parse::<LevelFilter>().is_err()) else {
        return Ok(());
    };
    let meant = LEVELS.iter().find(|known| known.chars().next() == wrong.to_lowercase().chars().next());
    let meant = meant.map(|known| format!(" (did you mean {known}?)")).unwrap_or_default();
    Err(format!(
        "log level {level:?}: {wrong:?} is no level{meant}: write error, warn, info, debug, trace or target=level"
    ))
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// The layer that writes.
pub(crate) fn written<S, W>(format: Format, writer: W, ansi: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer).with_ansi(ansi);
    match format {
        Format::Human => layer.boxed(),
        Format::Json => layer.json().flatten_event(true).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_says_too_much_is_quiet_unless_it_is_named() {
        for (level, written) in [
            ("info", &["info", "rskafka=error"][..]),
            ("executor=debug,warn", &["executor=debug", "rskafka=error", "warn"]),
            ("info,rskafka=debug", &["info", "rskafka=debug"]),
            ("off", &["off"]),
        ] {
            let filter = filter(level).expect("a filter").to_string();
            let mut directives: Vec<&str> = filter.split(',').collect();
            directives.sort_unstable();
            assert_eq!(directives, written, "{level}");
        }
        assert!(filter("loud=loud").is_err());
    }

    #[test]
    fn a_mistyped_level_is_an_error_and_not_the_name_of_a_target() {
        for (level, said) in [
            ("inf", "did you mean info?"),
            ("executor=debug,Warning", "did you mean warn?"),
            ("bogus", "\"bogus\" is no level: write"),
            ("ärger", "is no level"),
        ] {
            let error = filter(level).expect_err(level);
            assert!(error.contains(said), "{error}");
        }
        for level in ["INFO", "executor::shard=trace, warn", "off", "[{partition}]=debug,info", "info,"] {
            filter(level).expect(level);
        }
    }
}
