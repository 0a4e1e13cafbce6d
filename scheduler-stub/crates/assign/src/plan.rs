//! The decisions of one tick: what reports mean for each partition, who gets the orphans, what moves.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::place::{Moving, ORPHAN, Place};
use super::{Assigner, Claim, CutOff, Effect, Node, NodeKey, ShardKey, ShardReport, State};

/// A claim and whose it is.
#[derive(Clone)]
struct Holding {
    shard: ShardKey,
    claim: Claim,
    managed: bool,
}

/// How much a shard that may be given partitions has.
#[derive(Clone, Copy, Default)]
struct Load {
    partitions: usize,
    saturation_percent: u32,
}

/// The shards that may be given partitions.
struct Loads(BTreeMap<ShardKey, Load>);

impl Loads {
    /// The shard to give the next partition to: the least loaded, of the least loaded node.
    fn least(&self, avoid: Option<&NodeKey>) -> Option<&ShardKey> {
        let mut nodes: BTreeMap<&NodeKey, (usize, usize)> = BTreeMap::new();
        for (shard, load) in &self.0 {
            let (partitions, shards) = nodes.entry(&shard.node).or_default();
            *partitions += load.partitions;
            *shards += 1;
        }
        let density = |shard: &ShardKey| {
            let (partitions, shards) = nodes.get(&shard.node).copied().unwrap_or((0, 1));
            partitions * 1_000 / shards.max(1)
        };
        let candidates = self.0.iter().map(|(shard, load)| {
            (avoid == Some(&shard.node), load.partitions, density(shard), load.saturation_percent, shard)
        });
        candidates.min().map(|(.., shard)| shard)
    }

    fn add(&mut self, shard: &ShardKey) {
        if let Some(load) = self.0.get_mut(shard) {
            load.partitions += 1;
        }
    }

    fn remove(&mut self, shard: &ShardKey) {
        if let Some(load) = self.0.get_mut(shard) {
            load.partitions = load.partitions.saturating_sub(1);
        }
    }
}

impl Node {
    /// The shards whose word about what they have counts.
    fn believed(&self) -> impl Iterator<Item = &ShardReport> {
        self.report.shards.iter().filter(|shard| !self.has_given_up(shard.index))
    }
}

fn named(shard: ShardKey, since_us: u64, claim: Option<&Claim>, moving: Moving) -> Place {
    let serving = claim.is_some_and(|claim| claim.state == State::Serving);
    // Who serves has arrived: whatever becomes of the partition then is no move that is under way.
    Place::Named { shard, since_us, taken: claim.is_some(), serving, moving: moving.filter(|_| !serving) }
}

impl Assigner {
    /// Whether no other node could take what this one has.
    #[must_use]
    pub fn is_alone(&self, now_us: u64, node: &str) -> bool {
        let fit = |other: &Node| {
            other.report.managed && !other.report.draining && !other.is_suspected(now_us, &self.rules)
        };
        !self.nodes.iter().any(|(key, other)| &**key != node && fit(other))
    }

    /// Gives up shards that nothing of the store answers, while it answers others. Where it answers nobody, nobody could do
    /// better.
    pub(super) fn mind_stores(&mut self, now_us: u64, effects: &mut Vec<Effect>) {
        let mut receivers = self.nodes.values().filter(|node| self.may_receive(node, now_us));
        let reached = receivers.any(|node| node.report.shards.iter().any(|shard| !shard.cut_off));
        for (key, node) in &mut self.nodes {
            let shards = node.report.shards.iter().filter(|shard| shard.cut_off && reached);
            let mut cut_off = BTreeMap::new();
            for shard in shards {
                let fresh = CutOff { since_us: now_us, given_up: false };
                let mut known = node.cut_off.get(&shard.index).copied().unwrap_or(fresh);
                let over = now_us.saturating_sub(known.since_us) >= self.rules.cut_off_us;
                if over && node.report.managed && !std::mem::replace(&mut known.given_up, true) {
                    effects.push(Effect::CutOff {
                        shard: ShardKey { node: Arc::clone(key), index: shard.index },
                    });
                }
                cut_off.insert(shard.index, known);
            }
            node.cut_off = cut_off;
        }
    }

    /// Brings the places in line with what nodes report.
    pub(super) fn settle(&mut self, now_us: u64) {
        let mut holdings: Vec<Vec<Holding>> = vec![Vec::new(); self.places.len()];
        for (key, node) in &self.nodes {
            for shard in node.believed() {
                for claim in &shard.owned {
                    if let Some(holdings) = holdings.get_mut(usize::from(claim.partition)) {
                        let shard = ShardKey { node: Arc::clone(key), index: shard.index };
                        holdings.push(Holding { shard, claim: *claim, managed: node.report.managed });
                    }
                }
            }
        }
        let mut places = std::mem::take(&mut self.places);
        for (place, holdings) in places.iter_mut().zip(&holdings) {
            if let Some(changed) = self.settled(place, holdings, now_us) {
                *place = changed;
            }
        }
        self.places = places;
    }

    /// Where a partition is by what was reported; `None`: where it was.
    fn settled(&self, place: &Place, holdings: &[Holding], now_us: u64) -> Option<Place> {
        match place {
            Place::Orphan { .. } => adopted(holdings, now_us),
            Place::Leaving { from, since_us } => {
                if holdings.iter().any(|holding| holding.shard.node == *from) {
                    return None;
                }
                Some(
                    adopted(holdings, now_us)
                        .unwrap_or(Place::Orphan { avoid: None, moving: Some(*since_us) }),
                )
            }
            Place::Named { shard, since_us, taken, moving, .. } => {
                let own = holdings.iter().find(|holding| holding.shard.node == shard.node);
                let rival = holdings
                    .iter()
                    .filter(|holding| holding.shard.node != shard.node && holding.claim.generation > 0)
                    .max_by_key(|holding| holding.claim.generation);
                match (own, rival) {
                    (Some(own), Some(rival))
                        if own.claim.generation > 0 && rival.claim.generation > own.claim.generation =>
                    {
                        Some(adopted(holdings, now_us).unwrap_or(ORPHAN))
                    }
                    (Some(own), _) => Some(named(own.shard.clone(), *since_us, Some(&own.claim), *moving)),
                    (None, Some(_)) if *taken => Some(adopted(holdings, now_us).unwrap_or(ORPHAN)),
                    (None, _) => self.missing(shard, *since_us, *taken, *moving, now_us),
                }
            }
        }
    }

    /// What becomes of a partition that the shard it is named to does not have (yet, or any more).
    fn missing(
        &self,
        shard: &ShardKey,
        since_us: u64,
        taken: bool,
        moving: Moving,
        now_us: u64,
    ) -> Option<Place> {
        let node = self.nodes.get(&shard.node)?;
        let shards = &node.report.shards;
        // A process that came back with fewer shards will never take it, a draining one takes nothing, and one that is cut
        // off from the store can do nothing with it.
        let hopeless = !shards.is_empty() && !shards.iter().any(|known| known.index == shard.index)
            || node.has_given_up(shard.index);
        if hopeless || node.report.draining {
            return Some(Place::Orphan { avoid: Some(Arc::clone(&shard.node)), moving });
        }
        if taken {
            // Its process has begun anew, or it was fenced by somebody who is gone: it takes it again.
            return Some(named(shard.clone(), now_us, None, moving));
        }
        let late = now_us.saturating_sub(since_us) >= self.rules.take_us;
        let heard = !node.is_suspected(now_us, &self.rules);
        (late && heard).then(|| Place::Orphan { avoid: Some(Arc::clone(&shard.node)), moving })
    }

    fn may_receive(&self, node: &Node, now_us: u64) -> bool {
        node.report.managed
            && !node.report.draining
            && !node.is_suspected(now_us, &self.rules)
            && usize::from(node.report.partitions) == self.places.len()
    }

    fn loads(&self, now_us: u64) -> Loads {
        let mut loads = Loads(BTreeMap::new());
        for (key, node) in self.nodes.iter().filter(|(_, node)| self.may_receive(node, now_us)) {
            for shard in node.report.shards.iter().filter(|shard| !shard.cut_off) {
                let load = Load { partitions: 0, saturation_percent: shard.saturation_percent };
                loads.0.insert(ShardKey { node: Arc::clone(key), index: shard.index }, load);
            }
        }
        for place in &self.places {
            if let Place::Named { shard, .. } = place {
                loads.add(shard);
            }
        }
        loads
    }

    /// Names what nobody has and nobody claims to the least loaded shards.
    pub(super) fn place_orphans(&mut self, now_us: u64) {
        let mut loads = self.loads(now_us);
        let mut claimed = vec![false; self.places.len()];
        for claim in self.nodes.values().flat_map(Node::believed).flat_map(|shard| &shard.owned) {
            if let Some(claimed) = claimed.get_mut(usize::from(claim.partition)) {
                *claimed = true;
            }
        }
        for (place, claimed) in self.places.iter_mut().zip(claimed) {
            let Place::Orphan { avoid, moving } = place else { continue };
            if claimed {
                continue;
            }
            let Some(shard) = loads.least(avoid.as_ref()).cloned() else { return };
            loads.add(&shard);
            *place = named(shard, now_us, None, *moving);
        }
    }

    /// Begins moves: away from nodes that drain, then from full shards to empty ones.
    pub(super) fn plan_moves(&mut self, now_us: u64) {
        let mut loads = self.loads(now_us);
        let mut room = self.rules.moves_max.saturating_sub(self.fresh_moves(now_us));
        for place in &self.places {
            // What is under way will be given to the least loaded.
            if let Place::Leaving { .. } = place
                && let Some(shard) = loads.least(None).cloned()
            {
                loads.add(&shard);
            }
        }
        while room > 0 {
            let Some(least) = loads.least(None).cloned() else { return };
            let Some((partition, from)) =
                self.next_of_draining(now_us).or_else(|| self.next_of_fullest(&loads, &least))
            else {
                return;
            };
            loads.remove(&from);
            loads.add(&least);
            if let Some(place) = self.places.get_mut(partition) {
                *place = Place::Leaving { from: from.node, since_us: now_us };
            }
            room -= 1;
        }
    }

    fn next_of_draining(&self, now_us: u64) -> Option<(usize, ShardKey)> {
        self.places.iter().enumerate().find_map(|(partition, place)| match place {
            Place::Named { shard, taken: true, .. } => {
                let node = self.nodes.get(&shard.node)?;
                let leaves = node.report.draining && !node.is_suspected(now_us, &self.rules);
                leaves.then(|| (partition, shard.clone()))
            }
            _ => None,
        })
    }

    /// A partition of the fullest shard that has two more than the emptiest. What is not served yet stays: its owner
    /// would have read its log for nothing.
    fn next_of_fullest(&self, loads: &Loads, least: &ShardKey) -> Option<(usize, ShardKey)> {
        let floor = loads.0.get(least)?.partitions;
        let candidates = self.places.iter().enumerate().filter_map(|(partition, place)| match place {
            Place::Named { shard, serving: true, .. } => {
                let full = loads.0.get(shard)?.partitions;
                (full >= floor + 2).then_some((full, std::cmp::Reverse(partition), shard))
            }
            _ => None,
        });
        let (_, std::cmp::Reverse(partition), shard) = candidates.max()?;
        Some((partition, shard.clone()))
    }
}

/// The place of a partition that was named to nobody and is claimed by these.
fn adopted(holdings: &[Holding], now_us: u64) -> Option<Place> {
    let holder = holdings.iter().max_by_key(|holding| holding.claim.generation)?;
    if !holder.managed {
        // It keeps what it has whatever we say: nobody else may be told to take it.
        return Some(ORPHAN);
    }
    if holder.claim.state == State::Releasing {
        return Some(Place::Leaving { from: Arc::clone(&holder.shard.node), since_us: now_us });
    }
    Some(named(holder.shard.clone(), now_us, Some(&holder.claim), None))
}
