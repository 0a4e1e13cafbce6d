//! Faults put into the simulated world on purpose: such as break what the product relies on, and such as it must bear.
//!
//! Purpose: a simulator that finds nothing must be shown to be able to find something; and nothing may rest on a scheduler
//! that is right. Invariant: no mutation touches the product's code; it is the store, the network or the driver that does
//! not keep its promise.

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
    /// A store that went back takes new blocks as if nothing were missing.
    NobodyIsToldOfLostBlocks,
    /// Owners keep closed executions for a second.
    OwnersForgetEarly,
    /// Owners tell no history.
    HistoriesAreDenied,
    /// The scheduler names every partition to every node.
    EveryNodeIsNamed,
    /// Nodes follow whichever scheduler speaks, be it older than the one that they followed.
    OldSchedulersAreFollowed,
    /// Directives reach some other node than the one that is meant.
    DirectivesGoAstray,
}

/// What is broken, all at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mutations(u32);

impl Mutations {
    /// Whether this is broken.
    #[must_use]
    pub fn has(self, mutation: Mutation) -> bool {
        self.0 & 1 << mutation as u32 != 0
    }
}

impl FromIterator<Mutation> for Mutations {
    fn from_iter<T: IntoIterator<Item = Mutation>>(mutations: T) -> Self {
        Self(mutations.into_iter().fold(0, |all, mutation| all | 1 << mutation as u32))
    }
}

impl Mutation {
    /// Those by which promises are broken.
    pub const HARMFUL: [Self; 14] = [
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
        Self::NobodyIsToldOfLostBlocks,
        Self::OwnersForgetEarly,
        Self::HistoriesAreDenied,
    ];

    /// Those of placement, which break nothing while the store has its fence.
    pub const OF_PLACEMENT: [Self; 3] =
        [Self::EveryNodeIsNamed, Self::OldSchedulersAreFollowed, Self::DirectivesGoAstray];
}
