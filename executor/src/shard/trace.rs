//! The trace that an execution belongs to, and whether its spans are told.
//!
//! An execution that came with a context belongs to its caller's trace; its spans are told where the caller's are, as far as a
//! rate allows. One that came without has a trace of its own, derived from its id, if that is among the share that is sampled;
//! else it has none, and nothing is kept for it. Where spans are told, whoever it calls is told to hang below the span of the
//! state that calls; where they are not, the caller's context goes on as it came, for there is no span of ours to hang below.
//! Invariants: what came with an execution, and whether it is told, stands in its block; what was derived is derived again. So
//! another owner with the same settings gives the same ids and goes on. What may fail: nothing.

use std::rc::Rc;

use asl::Timestamp;
use ids::{ExecutionId, SpanId, SpanOf, TraceContext, TraceId, TraceIds};
use proto::executor::v1;

use super::execution::OpenExecution;
use super::spans::Run;

/// Where trace ids, as far as they are random, end.
const RANDOMNESS: f64 = (1_u64 << 56) as f64;
const SECOND_US: u64 = 1_000_000;

/// How a shard samples.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sampling {
    /// Of executions that came without a context: from 0 to 1.
    pub ratio: f64,
    /// Of executions whose callers are sampled, so many a second on this shard.
    pub followed_per_s: f64,
}

/// Decides, for one shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sampler {
    /// Of the shard's cluster.
    pub ids: TraceIds,
    /// Whether spans are told at all.
    tells: bool,
    /// Traces below this are told.
    own_below: u64,
    /// Between two callers who are followed; `None`: nobody is.
    pause_us: Option<u64>,
    /// When the next one would be due if they came evenly.
    due_us: u64,
}

/// What is known of an execution's trace.
#[derive(Debug, PartialEq, Eq)]
pub struct Trace {
    ids: TraceIds,
    context: TraceContext,
    /// Whether it came with the execution.
    came: bool,
    /// Whether spans are told.
    told: bool,
    /// What the block keeps of it.
    stored: Option<Box<[u8]>>,
}

impl Sampler {
    /// One that tells spans, or none that does.
    pub fn new(sampling: Option<Sampling>) -> Self {
        let Sampling { ratio, followed_per_s } = sampling.unwrap_or_default();
        let pause_us = (followed_per_s > 0.0).then(|| (SECOND_US as f64 / followed_per_s).max(1.0) as u64);
        Self {
            ids: TraceIds::default(),
            tells: sampling.is_some(),
            own_below: (ratio.clamp(0.0, 1.0) * RANDOMNESS) as u64,
            pause_us,
            due_us: 0,
        }
    }

    /// The trace of an execution that begins.
    #[inline]
    pub fn begin(
        &mut self,
        id: ExecutionId,
        said: Option<&v1::TraceContext>,
        now_us: u64,
    ) -> Option<Rc<Trace>> {
        match said {
            Some(said) if !said.traceparent.is_empty() => self.follow(id, said, now_us),
            _ => self.own(id),
        }
    }

    #[cold]
    fn follow(&mut self, id: ExecutionId, said: &v1::TraceContext, now_us: u64) -> Option<Rc<Trace>> {
        let Some(context) = Option::<TraceContext>::from(said) else { return self.own(id) };
        let told = self.tells && context.is_sampled() && self.may_follow(now_us);
        let stored = Some(context.encode(told).into());
        Some(Rc::new(Trace { ids: self.ids, context, came: true, told, stored }))
    }

    /// Evenly, with as many at once as a second has.
    fn may_follow(&mut self, now_us: u64) -> bool {
        let Some(pause_us) = self.pause_us else { return false };
        let due_us = self.due_us.max(now_us);
        if due_us - now_us > SECOND_US.saturating_sub(pause_us) {
            return false;
        }
        self.due_us = due_us + pause_us;
        true
    }

    #[inline]
    fn own(&self, id: ExecutionId) -> Option<Rc<Trace>> {
        (self.own_below > 0 && self.ids.randomness(id) < self.own_below).then(|| self.derive(id))
    }

    #[cold]
    fn derive(&self, id: ExecutionId) -> Rc<Trace> {
        let ids = self.ids;
        let context = TraceContext::sampled(ids.trace_of(id), ids.span_of(id, SpanOf::Run(0)));
        Rc::new(Trace { ids, context, came: false, told: true, stored: None })
    }

    /// The trace of an execution that an earlier owner began, as its block has it.
    pub fn recovered(&self, id: ExecutionId, stored: Option<&[u8]>) -> Option<Rc<Trace>> {
        let Some(bytes) = stored else { return self.own(id) };
        let (context, told) = TraceContext::decode(bytes)?;
        let told = told && self.tells;
        Some(Rc::new(Trace { ids: self.ids, context, came: true, told, stored: Some(bytes.into()) }))
    }
}

impl Trace {
    /// Its id.
    pub fn id(&self) -> TraceId {
        self.context.trace_id
    }

    /// What other vendors have to say of it.
    pub fn state(&self) -> &str {
        self.context.tracestate()
    }

    /// The caller's span.
    pub fn parent(&self) -> Option<SpanId> {
        self.came.then_some(self.context.span_id)
    }

    /// Whether spans are told.
    #[inline]
    pub fn is_told(&self) -> bool {
        self.told
    }

    /// Whether its caller is sampled, and no span is told all the same.
    #[inline]
    pub fn is_not_followed(&self) -> bool {
        self.came && !self.told && self.context.is_sampled()
    }

    /// A run of its execution, where its spans are told.
    pub fn run(&self, id: ExecutionId, redrives: u32, since: Timestamp) -> Option<Run> {
        self.told.then(|| Run::new(self.ids, id, redrives, since))
    }

    /// What the block keeps of it.
    pub fn stored(&self) -> Option<&[u8]> {
        self.stored.as_deref()
    }

    /// What is told to whoever is called from this span.
    fn onwards(&self, id: ExecutionId, from: SpanOf) -> TraceContext {
        match self.told {
            true => self.context.under(self.ids.span_of(id, from)),
            false => self.context.clone(),
        }
    }
}

impl OpenExecution {
    /// What is told to whoever is asked for this effect.
    #[inline]
    pub fn onwards(&self, effect: asl::EffectId) -> Option<TraceContext> {
        let trace = self.trace.as_deref()?;
        let redrives = self.execution.redrives();
        let entered = self.execution.entered_by(effect);
        let from = entered.map_or(SpanOf::Run(redrives), |entered| SpanOf::State(redrives, entered));
        Some(trace.onwards(self.id, from))
    }
}

#[cfg(test)]
mod tests {
    use ids::{BatchId, PartitionId};

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn id(sequence: u64) -> ExecutionId {
        let partition = PartitionId::new(7).expect("in range");
        BatchId::new(partition, 1, sequence).expect("in range").execution(3)
    }

    fn said(traceparent: &str) -> v1::TraceContext {
        v1::TraceContext { traceparent: traceparent.to_owned(), tracestate: "a=1".to_owned() }
    }

    fn sampler(ratio: f64, followed_per_s: f64) -> Sampler {
        Sampler::new(Some(Sampling { ratio, followed_per_s }))
    }

    #[test]
    fn of_executions_without_a_context_the_share_is_told_that_was_asked_for_and_always_the_same() {
        for (ratio, least, most) in [(0.0, 0, 0), (0.01, 60, 140), (0.5, 4_800, 5_200), (1.0, 10_000, 10_000)]
        {
            let mut sampler = sampler(ratio, 1.0);
            let traces = |sampler: &mut Sampler| -> Vec<_> {
                (0..10_000).map(|at| sampler.begin(id(at), None, 0)).collect()
            };
            let first = traces(&mut sampler);
            let told = first.iter().flatten().filter(|trace| trace.is_told()).count();
            assert!((least..=most).contains(&told), "{told} at {ratio}");
            assert_eq!(traces(&mut sampler), first);
            let recovered: Vec<_> = (0..10_000).map(|at| sampler.recovered(id(at), None)).collect();
            assert_eq!(recovered, first);
        }
    }

    #[test]
    fn a_sampled_caller_is_followed_up_to_a_rate_and_one_that_is_not_never() {
        let mut sampler = sampler(1.0, 2.0);
        let mut told = |parent: &str, now_us| {
            let trace = sampler.begin(id(1), Some(&said(parent)), now_us).expect("a trace");
            assert_eq!(trace.parent(), Some([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]));
            let again = sampler.recovered(id(1), trace.stored());
            assert_eq!(again.as_ref(), Some(&trace), "its block says it");
            trace.is_told()
        };
        assert!(!told(&PARENT.replace("-01", "-00"), 9));
        assert_eq!(
            [9, 9, 9, 400_000, 600_000, 600_000].map(|at| told(PARENT, at)),
            [true, true, false, false, true, false]
        );
        assert_eq!([9_000_000; 3].map(|at| told(PARENT, at)), [true, true, false]);
    }

    #[test]
    fn whoever_is_called_hangs_below_the_state_where_spans_are_told_and_below_the_caller_where_they_are_not()
    {
        let told = sampler(0.0, 1.0).begin(id(1), Some(&said(PARENT)), 0).expect("a trace");
        let state = TraceIds::default().span_of(id(1), SpanOf::State(0, 2));
        let onwards = told.onwards(id(1), SpanOf::State(0, 2));
        assert_eq!((onwards.trace_id, onwards.span_id, onwards.tracestate()), (told.id(), state, "a=1"));
        let silent = Sampler::new(None).begin(id(1), Some(&said(PARENT)), 0).expect("a trace");
        assert_eq!(silent.onwards(id(1), SpanOf::State(0, 2)).traceparent(), PARENT);
        // A node that tells nothing takes over, and one that tells takes over from it.
        let taken = Sampler::new(None).recovered(id(1), told.stored()).expect("a trace");
        assert_eq!(taken.onwards(id(1), SpanOf::State(0, 2)).traceparent(), PARENT);
        let back = sampler(0.0, 0.0).recovered(id(1), taken.stored()).expect("a trace");
        assert_eq!(back.onwards(id(1), SpanOf::State(0, 2)), onwards);
    }

    #[test]
    fn executions_of_the_same_number_in_two_clusters_have_other_ids_and_are_sampled_apart() {
        let [one, two] = [[1; 16], [2; 16]].map(|cluster| {
            let mut sampler = sampler(0.5, 1.0);
            sampler.ids = TraceIds::of_cluster(cluster);
            let mut begun = |said: Option<&v1::TraceContext>| -> Vec<_> {
                (0..1_000).map(|at| sampler.begin(id(at), said, 0)).collect()
            };
            let own: Vec<_> =
                begun(None).iter().map(|trace| trace.as_ref().map(|trace| trace.id())).collect();
            let below =
                begun(Some(&said(PARENT)))[0].as_ref().expect("a trace").onwards(id(0), SpanOf::Run(0));
            (own, below)
        });
        let pairs = || std::iter::zip(&one.0, &two.0);
        assert!(pairs().all(|(one, two)| one.is_none() || one != two));
        let differently = pairs().filter(|(one, two)| one.is_some() != two.is_some()).count();
        assert!((400..600).contains(&differently), "{differently}");
        assert_ne!(one.1.span_id, two.1.span_id, "below the same caller");
    }

    #[test]
    fn what_cannot_be_read_is_as_if_it_had_not_come() {
        let wrong = said("00-what");
        assert_eq!(sampler(0.0, 1.0).begin(id(1), Some(&wrong), 0), None);
        let own = sampler(1.0, 1.0).begin(id(1), Some(&wrong), 0).expect("its own");
        assert_eq!((own.parent(), own.stored(), own.id()), (None, None, TraceIds::default().trace_of(id(1))));
    }
}
