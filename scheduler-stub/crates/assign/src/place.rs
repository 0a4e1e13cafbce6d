//! Where a partition is, and whether it is being moved. Nothing here decides or fails.

use super::{NodeKey, ShardKey};

/// Where a partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Named to nobody. Not to be given to `avoid` if there is anybody else.
    Orphan { avoid: Option<NodeKey>, moving: Moving },
    /// Named to a shard.
    Named { shard: ShardKey, since_us: u64, taken: bool, serving: bool, moving: Moving },
    /// No longer named to this node, which still has it.
    Leaving { from: NodeKey, since_us: u64 },
}

/// When the move began that brings it there, if one does.
pub(super) type Moving = Option<u64>;

pub(super) const ORPHAN: Place = Place::Orphan { avoid: None, moving: None };

impl Place {
    /// When the move began that it is part of.
    pub(super) fn moving(&self) -> Moving {
        match self {
            Self::Leaving { since_us, .. } => Some(*since_us),
            Self::Named { moving, .. } | Self::Orphan { moving, .. } => *moving,
        }
    }
}
