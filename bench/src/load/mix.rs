//! Which machines a batch starts.
//!
//! Invariants: a batch names the machines that it starts, and no other; which machine a start has follows from its place in the
//! schedule alone, so that two runs of one load start the same. What may fail: nothing.

use proto::executor::v1::{LogLevel, LoggingConfiguration, Machine};

/// In a load that is observed like others in earnest one start in so many is told in full, and one in so many fails.
const ONE_IN: u64 = 100;
/// Where among those the one is that fails.
const FAILS_AT: u64 = 50;

/// Fails after a state, as many machines do.
pub(super) const FAILING: &str = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"F"},"F":{"Type":"Fail","Error":"Bench.Failed","Cause":"one in a hundred"}}}"#;

/// Whose histories are exported. The starts are the same with nothing and with everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// Nobody's.
    Nothing,
    /// Errors of all, and everything of one in a hundred, with its data.
    Everything,
    /// Everything of all, with its data; and none fails.
    Whole,
}

/// The executions of an observed load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Told in full.
    pub whole: u64,
    /// Failing ones.
    pub failed: u64,
}

impl Told {
    /// Of the first so many executions of a schedule.
    #[must_use]
    pub fn of(executions: u64) -> Self {
        let until = |place: u64| executions.saturating_sub(place).div_ceil(ONE_IN);
        Self { whole: until(0), failed: until(FAILS_AT) }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) enum Mix {
    /// Each in turn, going on where the batch before ended.
    InTurn(Vec<Machine>),
    /// A usual one, the same one told in full, and one that fails.
    Observed(Box<[Machine; 3]>),
}

impl Mix {
    /// For an observed load.
    pub fn observed(observed: Observed, usual: Machine, failing: Machine) -> Self {
        let logging = |level: LogLevel, include_execution_data| {
            Some(LoggingConfiguration { level: level.into(), include_execution_data })
        };
        let (errors, all) = (logging(LogLevel::Error, false), logging(LogLevel::All, true));
        let with = |machine: &Machine, logging| Machine { logging, ..machine.clone() };
        match observed {
            Observed::Nothing => Self::Observed(Box::new([usual.clone(), usual, failing])),
            Observed::Everything => {
                Self::Observed(Box::new([with(&usual, errors), with(&usual, all), with(&failing, errors)]))
            }
            Observed::Whole => Self::InTurn(vec![with(&usual, all)]),
        }
    }

    /// The machines of a batch, and which of them each of its executions has; none is said where there is one.
    pub fn batch(&self, sequence: u64, executions: usize) -> (Vec<Machine>, Vec<u32>) {
        match self {
            Self::InTurn(machines) => {
                let mixed = machines.len().min(executions);
                let first = (sequence % machines.len() as u64) as usize;
                let in_turn = machines.iter().cycle().skip(first).take(mixed).cloned().collect();
                let index = if mixed > 1 {
                    (0..executions).map(|at| (at % mixed) as u32).collect()
                } else {
                    Vec::new()
                };
                (in_turn, index)
            }
            Self::Observed(machines) => {
                let (mut named, mut places) = (Vec::new(), [None; 3]);
                let mut index: Vec<u32> = Vec::with_capacity(executions);
                for at in sequence..sequence + executions as u64 {
                    let which = kind(at);
                    let place = *places[which].get_or_insert_with(|| {
                        named.push(machines[which].clone());
                        named.len() as u32 - 1
                    });
                    index.push(place);
                }
                if named.len() == 1 {
                    index.clear();
                }
                (named, index)
            }
        }
    }
}

/// Which of the three machines of an observed load a start has.
fn kind(at: u64) -> usize {
    match at % ONE_IN {
        0 => 1,
        FAILS_AT => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(arn: &str) -> Machine {
        Machine { arn: arn.to_owned(), ..Machine::default() }
    }

    #[test]
    fn a_batch_names_no_more_machines_than_it_starts_and_all_come_in_turn() {
        let mix = Mix::InTurn((0..1_000).map(|at| machine(&format!("m{at}"))).collect());
        let mut named = std::collections::HashSet::new();
        for batch in 0..1_000 {
            let (machines, index) = mix.batch(batch * 256, 256);
            assert_eq!((machines.len(), index.len()), (256, 256));
            assert!(index.iter().all(|at| (*at as usize) < machines.len()));
            named.extend(machines.into_iter().map(|machine| machine.arn));
        }
        assert_eq!(named.len(), 1_000);
    }

    #[test]
    fn an_observed_load_starts_the_same_whoever_looks_and_one_in_a_hundred_fails() {
        let load = |observed| Mix::observed(observed, machine("usual"), machine("failing"));
        let (watched, alone) = (load(Observed::Everything), load(Observed::Nothing));
        let (mut whole, mut failed) = (0, 0);
        for (sequence, executions) in [(0, 60), (60, 1), (61, 339), (400, 256)] {
            let (named, index) = watched.batch(sequence, executions);
            let (bare, same) = alone.batch(sequence, executions);
            assert_eq!(index, same);
            assert!(bare.iter().all(|machine| machine.logging.is_none()));
            for at in 0..executions {
                let machine = &named[index.get(at).map_or(0, |place| *place as usize)];
                let logging = machine.logging.expect("all are told something");
                whole += u64::from(logging.level() == LogLevel::All);
                failed += u64::from(machine.arn == "failing");
            }
        }
        assert_eq!(Told { whole, failed }, Told::of(656));
        assert_eq!(Told::of(656), Told { whole: 7, failed: 7 });
        assert_eq!(watched.batch(60, 1).1, [0_u32; 0], "one machine needs no index");
    }
}
