//! What has happened, as a hash and, for one seed that somebody looks at, as text.
//!
//! Invariant: two runs of one seed have the same trace. Nothing here fails.

/// The trace of a run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    /// Events.
    pub steps: u64,
    /// Whether it is printed.
    printed: bool,
}

impl Trace {
    /// A trace that may be printed as it grows.
    #[must_use]
    pub fn new(printed: bool) -> Self {
        Self { printed, ..Self::default() }
    }

    /// The hash so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Something has happened.
    pub fn note(&mut self, at_us: u64, what: &str, [one, other]: [u64; 2]) {
        self.steps += 1;
        for part in [at_us, what.len() as u64, one, other] {
            self.hash = (self.hash.rotate_left(23) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        if self.printed {
            self.print(at_us, what, &format!("{one} {other}"));
        }
    }

    /// Something is said, for whoever looks alone.
    pub fn say(&self, at_us: u64, what: &str, more: impl FnOnce() -> String) {
        if self.printed {
            self.print(at_us, what, &more());
        }
    }

    #[allow(clippy::print_stdout, reason = "a printed trace is what SEED=... asks for")]
    fn print(&self, at_us: u64, what: &str, more: &str) {
        println!("{:>12.6} {what:<16} {more}", at_us as f64 / 1e6);
    }
}
