//! Faults put into the simulated world on purpose, each of which breaks what the product relies on.
//!
//! Purpose: a simulator that finds nothing must be shown to be able to find something. Invariant: no mutation touches
//! the product's code; it is the store, the network or the driver that does not keep its promise.

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The store takes blocks of owners that another has followed, and blocks below the last one.
    NoFence,
    /// Taking a partition does not raise its generation.
    OwnersShareAGeneration,
    /// The store confirms some appends and forgets them.
    ConfirmsWithoutWriting,
    /// A crash takes the last block of each log with it.
    LosesTheLastBlock,
    /// A crash takes the last block with it where that holds outcomes.
    LosesAJournalEntry,
    /// Whoever reads a log from its beginning is not shown its last block.
    RecoveryMissesTheLastBlock,
    /// Trimming takes one block more than it was told.
    TrimsTooMuch,
    /// Names and pointers are never written.
    NoDerivedKeys,
    /// A dispatcher sends other content under the id of a batch that it sent before.
    DispatcherChangesABatch,
    /// An answer to a call of a process that is gone reaches its successor.
    AnswersReachTheNextTenure,
    /// A worker's answers stand for other tasks of the same worker.
    WorkerMixesUpTokens,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::NoFence,
        Self::OwnersShareAGeneration,
        Self::ConfirmsWithoutWriting,
        Self::LosesTheLastBlock,
        Self::LosesAJournalEntry,
        Self::RecoveryMissesTheLastBlock,
        Self::TrimsTooMuch,
        Self::NoDerivedKeys,
        Self::DispatcherChangesABatch,
        Self::AnswersReachTheNextTenure,
        Self::WorkerMixesUpTokens,
    ];
}
