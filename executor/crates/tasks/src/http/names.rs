//! Names to addresses: looked up once, kept for as long as they hold, and only such as may be called.
//!
//! Invariants: what is connected to is what was judged, since the connection takes its addresses from here; what is kept, and
//! what is looked up at once, is bounded in number and time; calls that come at once share a look-up, and one that is not
//! answered holds up calls of its own name alone. What held last is good for a while longer where nobody says what holds now
//! (RFC 8767); that a name has no address any more, or one that is refused, is said. What may fail: the look-up, with
//! [`NameError`], which is kept for a moment too.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::egress::Egress;
use super::name_files::NameSources;
use super::name_servers::{Found, NameServers};

/// How long a look-up may take: less than a connection may take to stand, or its failure would not be told as its own.
pub(super) const LOOK_UP_WITHIN: Duration = Duration::from_secs(4);
/// The shortest and the longest time for which an answer is kept, whatever its name server says.
const KEPT_MIN: Duration = Duration::from_secs(1);
const KEPT_MAX: Duration = Duration::from_secs(300);
/// How long a failure is kept, so that a name that does not exist is not asked for by every task.
const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// How long an answer that does not hold any more is good where nobody says what does.
const STALE_MAX: Duration = Duration::from_secs(300);
/// How long a look-up may take before an answer that does not hold any more is taken.
const STALE_AFTER: Duration = Duration::from_secs(1);
/// Names that are kept, those that are looked up among them.
const NAMES_MAX: usize = 1_024;
/// Names that are looked up at once; each takes up to three sockets for each name server of three.
const LOOK_UPS_MAX: usize = 256;

/// Why a name has no address that may be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NameError {
    /// The policy refuses all that it has.
    #[error("{0}")]
    Egress(String),
    /// It has none.
    #[error("its name has no address: {0}.")]
    Unknown(String),
    /// Nobody says whether it has one.
    #[error("the address of its name is not known: {0}.")]
    Unanswered(String),
}

type Addresses = Arc<[IpAddr]>;
type Answer = Result<Addresses, NameError>;

/// What a look-up gave, and how long that is kept.
#[derive(Clone)]
struct Known {
    until: Instant,
    answer: Answer,
}

/// A name: how it is asked for, and what it had before.
#[derive(Clone)]
struct Kept {
    since: Instant,
    /// A look-up that all who ask meanwhile share, and what came of it.
    asked: watch::Receiver<Option<Known>>,
    /// What held last, and until when it is good.
    last: Option<(Instant, Addresses)>,
}

impl Kept {
    fn is_under_way(&self) -> bool {
        self.asked.borrow().is_none() && self.asked.has_changed().is_ok()
    }

    /// Whether nobody has to ask again.
    fn serves(&self, now: Instant) -> bool {
        self.is_under_way() || self.asked.borrow().as_ref().is_some_and(|known| known.until > now)
    }

    /// What is good where nobody says what holds now.
    fn stale(&self, now: Instant) -> Option<(Instant, Addresses)> {
        let last = match self.asked.borrow().as_ref() {
            Some(Known { until, answer: Ok(addresses) }) => Some((*until + STALE_MAX, Arc::clone(addresses))),
            Some(Known { answer: Err(NameError::Unanswered(_)), .. }) | None => self.last.clone(),
            Some(_) => None,
        };
        last.filter(|(until, _)| *until > now)
    }

    async fn answer(mut self) -> Answer {
        let asked = async {
            let known = self.asked.wait_for(Option::is_some).await;
            // It ends without an answer where the node does.
            known.ok().and_then(|known| known.clone()).map_or_else(|| Err(late()), |known| known.answer)
        };
        let Some((_, last)) = self.last.filter(|(until, _)| *until > Instant::now()) else {
            return asked.await;
        };
        match timeout_at(self.since + STALE_AFTER, asked).await {
            Ok(Err(NameError::Unanswered(_))) | Err(_) => Ok(last),
            Ok(answer) => answer,
        }
    }
}

/// The names of one client.
pub(super) struct Names {
    asker: Arc<Asker>,
    kept: Mutex<HashMap<String, Kept>>,
}

/// Who looks names up.
struct Asker {
    egress: Egress,
    servers: NameServers,
    places: Semaphore,
}

impl Names {
    /// With these name servers and files.
    pub fn new(egress: Egress, sources: NameSources) -> Self {
        let (servers, places) = (NameServers::new(sources), Semaphore::new(LOOK_UPS_MAX));
        Self { asker: Arc::new(Asker { egress, servers, places }), kept: Mutex::default() }
    }

    fn look_up(&self, name: &str) -> Result<Kept, NameError> {
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.get(name);
        if let Some(known) = known.filter(|known| known.serves(now)) {
            return Ok(known.clone());
        }
        let last = known.and_then(|known| known.stale(now));
        if known.is_none() && kept.len() >= NAMES_MAX {
            make_room(&mut kept, now)?;
        }
        let (asker, asked) = (Arc::clone(&self.asker), name.to_owned());
        let (tell, told) = watch::channel(None);
        // It goes on when nobody waits for it any more, so that the next one finds its answer.
        tokio::spawn(async move { tell.send_replace(Some(asker.look_up(&asked).await)) });
        let asked = Kept { since: now, asked: told, last };
        kept.insert(name.to_owned(), asked.clone());
        Ok(asked)
    }
}

/// Forgets what serves nobody, and if all does, all that is known.
fn make_room(kept: &mut HashMap<String, Kept>, now: Instant) -> Result<(), NameError> {
    kept.retain(|_, known| known.serves(now) || known.stale(now).is_some());
    if kept.len() >= NAMES_MAX {
        kept.retain(|_, known| known.is_under_way());
    }
    let crowded = || NameError::Unanswered(format!("{NAMES_MAX} names are looked up, which is the most"));
    if kept.len() >= NAMES_MAX { Err(crowded()) } else { Ok(()) }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let asked = self.look_up(name.as_str());
        Box::pin(async move {
            let addresses = asked?.answer().await?;
            // Port 0: the caller's.
            let sockets: Vec<SocketAddr> =
                addresses.iter().map(|address| SocketAddr::new(*address, 0)).collect();
            Ok(Box::new(sockets.into_iter()) as Addrs)
        })
    }
}

impl Asker {
    async fn look_up(&self, name: &str) -> Known {
        let asked = async {
            if let Some(known) = self.servers.known(name)? {
                return Ok(known);
            }
            let _place = self.places.acquire().await.map_err(|_| late())?;
            self.servers.ask(name).await
        };
        match timeout(LOOK_UP_WITHIN, asked).await.unwrap_or_else(|_| Err(late())) {
            Ok(Found { addresses, ttl }) => {
                let answer = allowed(addresses, &self.egress);
                Known { until: Instant::now() + ttl.clamp(KEPT_MIN, KEPT_MAX), answer }
            }
            Err(error) => failure(error),
        }
    }
}

fn late() -> NameError {
    NameError::Unanswered("no name server has answered".to_owned())
}

fn failure(error: NameError) -> Known {
    Known { until: Instant::now() + FAILURE_KEPT, answer: Err(error) }
}

/// Those of a name's addresses that may be called.
fn allowed(found: Vec<IpAddr>, egress: &Egress) -> Answer {
    let mut refused = None;
    let allowed: Addresses = found
        .into_iter()
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
        allowed(found.collect(), &Egress::default())
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
}
