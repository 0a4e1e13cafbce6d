//! Names to addresses: looked up by the system, once, kept for a while, and only such as may be called.
//!
//! Invariants: what is connected to is what was judged, since the connection takes its addresses from here; what is kept is
//! bounded in number and time; calls that come at once share a look-up, so that a name server that hangs holds one thread for
//! each name. What may fail: the look-up, with [`NameError`], which is kept for a moment too.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::Instant;

use super::egress::Egress;

/// How long an answer is kept. The system does not tell how long it may be.
const KEPT: Duration = Duration::from_secs(30);
/// How long a failure is kept, so that a name that does not exist is not asked for by every task.
const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// Names that are kept.
const NAMES_MAX: usize = 1_024;

/// Why a name has no address that may be called.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum NameError {
    /// The policy refuses all that it has.
    #[error("{0}")]
    Egress(String),
    /// It has none.
    #[error("its name has no address: {0}")]
    Unknown(String),
}

type Answer = Result<Arc<[IpAddr]>, NameError>;

/// What a look-up gave, and how long that is kept.
#[derive(Clone)]
struct Known {
    until: Instant,
    answer: Answer,
}

/// A look-up that all who ask meanwhile share, and what came of it.
type LookUp = Shared<BoxFuture<'static, Known>>;

/// The names of one client.
pub(super) struct Names {
    egress: Egress,
    kept: Mutex<HashMap<String, LookUp>>,
}

impl Names {
    pub fn new(egress: Egress) -> Self {
        Self { egress, kept: Mutex::default() }
    }

    fn look_up(&self, name: &str) -> LookUp {
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let serves = |known: &LookUp| known.peek().is_none_or(|known| known.until > now);
        if let Some(known) = kept.get(name).filter(|known| serves(known)) {
            return known.clone();
        }
        if kept.len() >= NAMES_MAX {
            // One under way that nobody waits for any more goes too.
            kept.retain(|_, known| serves(known) && (known.peek().is_some() || is_awaited(known)));
        }
        let asked = look_up(name.to_owned(), self.egress.clone()).boxed().shared();
        if kept.len() < NAMES_MAX {
            kept.insert(name.to_owned(), asked.clone());
        }
        asked
    }
}

fn is_awaited(known: &LookUp) -> bool {
    known.strong_count().is_some_and(|count| count > 1)
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let asked = self.look_up(name.as_str());
        Box::pin(async move {
            let addresses = asked.await.answer?;
            // Port 0: the caller's.
            let sockets: Vec<SocketAddr> =
                addresses.iter().map(|address| SocketAddr::new(*address, 0)).collect();
            Ok(Box::new(sockets.into_iter()) as Addrs)
        })
    }
}

async fn look_up(name: String, egress: Egress) -> Known {
    let answer = addresses(&name, &egress).await;
    let kept = if answer.is_ok() { KEPT } else { FAILURE_KEPT };
    Known { until: Instant::now() + kept, answer }
}

async fn addresses(name: &str, egress: &Egress) -> Answer {
    let found = tokio::net::lookup_host((name, 0)).await;
    let found = found.map_err(|error| NameError::Unknown(error.to_string()))?;
    allowed(found.map(|socket| socket.ip()), egress)
}

/// Those of a name's addresses that may be called.
fn allowed(found: impl Iterator<Item = IpAddr>, egress: &Egress) -> Answer {
    let mut refused = None;
    let allowed: Arc<[IpAddr]> = found
        .filter(|address| {
            let refusal = egress.refusal(*address);
            refused = refused.or(refusal);
            refusal.is_none()
        })
        .collect();
    match (allowed.is_empty(), refused) {
        (false, _) => Ok(allowed),
        (true, Some(why)) => Err(NameError::Egress(forbidden(why))),
        (true, None) => Err(NameError::Unknown("none was given".to_owned())),
    }
}

/// What a refusal says.
pub(super) fn forbidden(why: &str) -> String {
    format!("it is {why}, which the node's egress policy refuses (--egress-allow NETWORK allows one).")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(addresses: &[&str]) -> Answer {
        let found = addresses.iter().map(|address| address.parse().expect("an address"));
        allowed(found, &Egress::default())
    }

    #[test]
    fn a_name_that_points_to_a_metadata_service_has_no_address() {
        for addresses in [&["169.254.169.254"][..], &["fd00:ec2::254", "100.100.100.200"]] {
            let error = judged(addresses).expect_err("it is refused");
            assert!(
                matches!(&error, NameError::Egress(_)) && error.to_string().contains("metadata"),
                "{error}"
            );
        }
        assert!(matches!(judged(&[]), Err(NameError::Unknown(_))));
    }

    #[test]
    fn of_several_addresses_those_are_called_that_may_be() {
        let public: IpAddr = "1.1.1.1".parse().expect("an address");
        assert_eq!(*judged(&["169.254.169.254", "1.1.1.1", "10.0.0.1"]).expect("one"), [public]);
    }

    #[tokio::test]
    async fn calls_that_come_at_once_share_a_look_up() {
        let names = Names::new(Egress::new(vec![Egress::network("127.0.0.0/8").expect("a network")], false));
        let (first, second) = (names.look_up("localhost"), names.look_up("localhost"));
        assert!(first.ptr_eq(&second));
        first.await.answer.expect("an address");
        assert!(names.look_up("localhost").ptr_eq(&second), "it is kept");
        tokio::time::pause();
        tokio::time::advance(KEPT).await;
        assert!(!names.look_up("localhost").ptr_eq(&second), "and not for ever");
    }
}
