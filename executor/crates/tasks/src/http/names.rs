//! Names to addresses: looked up by the system, once, kept for a while, and only such as may be called.
//!
//! Invariants: what is connected to is what was judged, since the connection takes its addresses from here; what is kept is
//! bounded in number and time. What may fail: the look-up, with [`NameError`], which is kept for a moment too.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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

/// The names of one client.
#[derive(Debug)]
pub(super) struct Names {
    egress: Egress,
    kept: Arc<Mutex<HashMap<String, (Instant, Answer)>>>,
}

impl Names {
    pub fn new(egress: Egress) -> Self {
        Self { egress, kept: Arc::default() }
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let (egress, kept) = (self.egress.clone(), Arc::clone(&self.kept));
        Box::pin(async move {
            let known = recall(&kept, &name);
            let answer = match known {
                Some(answer) => answer,
                None => {
                    let answer = look_up(&name, &egress).await;
                    keep(&kept, name, answer.clone());
                    answer
                }
            };
            let addresses = answer?;
            // Port 0: the caller's.
            let sockets: Vec<SocketAddr> =
                addresses.iter().map(|address| SocketAddr::new(*address, 0)).collect();
            Ok(Box::new(sockets.into_iter()) as Addrs)
        })
    }
}

fn recall(kept: &Mutex<HashMap<String, (Instant, Answer)>>, name: &str) -> Option<Answer> {
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.get(name).filter(|(until, _)| *until > Instant::now()).map(|(_, answer)| answer.clone())
}

fn keep(kept: &Mutex<HashMap<String, (Instant, Answer)>>, name: String, answer: Answer) {
    let now = Instant::now();
    let until = now + if answer.is_ok() { KEPT } else { FAILURE_KEPT };
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() >= NAMES_MAX {
        kept.retain(|_, (until, _)| *until > now);
    }
    if kept.len() < NAMES_MAX {
        kept.insert(name, (until, answer));
    }
}

async fn look_up(name: &str, egress: &Egress) -> Answer {
    let found = tokio::net::lookup_host((name, 0)).await;
    let found: Vec<IpAddr> =
        found.map_err(|error| NameError::Unknown(error.to_string()))?.map(|socket| socket.ip()).collect();
    let mut refused = None;
    let allowed: Arc<[IpAddr]> = found
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
