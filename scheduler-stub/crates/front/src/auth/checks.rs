//! Rights that the authorization service knows, and for how long its answers hold.
//!
//! Invariants: an answer is kept for [`GOOD_FOR`], a refusal and an outage for less, so that a new right and a service that is
//! back are noticed soon; callers of one thread that ask the same wait for one question; who gives up leaves it to the next;
//! when the service does not answer in time nobody is let in. What may fail: the service, in its own words.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::recent::Recent;
use crate::operations::Right;

/// How long a right holds that the service has said.
pub(super) const GOOD_FOR: Duration = Duration::from_secs(60);
/// How long a refusal holds.
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(5);
/// How long nobody asks again after the service could not be asked.
pub(super) const AWAY_FOR: Duration = Duration::from_secs(1);
/// How long the service may take.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// Answers that one thread keeps.
const ANSWERS_MAX: usize = 10_000;

/// What the authorization service is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// `AccessKeyId`, `SecretId`.
    pub id: Arc<str>,
    /// AWS's account id, Tencent's uin.
    pub account: Arc<str>,
    /// Which right.
    pub right: Right,
    /// On which machine, by its own name; `None`: on all, for the call is about none.
    pub machine: Option<Box<str>>,
}

impl Question {
    fn name(&self) -> String {
        // Neither an id nor a right holds a zero; a machine's name may, and is the last.
        let mut name = format!("{}\0{}", self.id, self.right.as_str());
        if let Some(machine) = &self.machine {
            name.push('\0');
            name.push_str(machine);
        }
        name
    }
}

/// The authorization service. Asked by all threads of the door.
pub trait Checks: Send + Sync + 'static {
    /// Whether a right is given. Dropped when it takes longer than 3 s.
    ///
    /// # Errors
    /// In words: the service cannot tell now.
    fn check(&self, question: &Question) -> impl Future<Output = Result<bool, String>>;
}

impl<C: Checks> Checks for Arc<C> {
    async fn check(&self, question: &Question) -> Result<bool, String> {
        C::check(self, question).await
    }
}

/// No service: rights are those of the credentials file.
#[derive(Debug, Clone, Copy)]
pub enum NoChecks {}

impl Checks for NoChecks {
    async fn check(&self, _question: &Question) -> Result<bool, String> {
        match *self {}
    }
}

/// What the service said, and until when it holds.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) said: Result<bool, String>,
    until: Instant,
}

/// The answers of one thread.
pub(super) struct Answers(Recent<Rc<OnceCell<Answer>>>);

impl Answers {
    pub(super) fn new() -> Self {
        Self(Recent::new(ANSWERS_MAX))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Where the answer to a question is, or will be.
    pub(super) fn place(&mut self, question: &Question) -> Rc<OnceCell<Answer>> {
        let name = question.name();
        let now = Instant::now();
        let holds = |place: &&Rc<OnceCell<Answer>>| place.get().is_none_or(|answer| now < answer.until);
        if let Some(place) = self.0.get(&name).filter(holds) {
            return Rc::clone(place);
        }
        let place = Rc::new(OnceCell::new());
        self.0.put(name, Rc::clone(&place));
        place
    }
}

/// Asks, unless somebody has asked or does.
pub(super) async fn answer<'p>(
    place: &'p OnceCell<Answer>,
    checks: &impl Checks,
    question: &Question,
) -> &'p Answer {
    let ask = || async {
        let said = tokio::time::timeout(ANSWERS_WITHIN, checks.check(question)).await;
        let late = |_| Err(format!("it has not answered within {} s", ANSWERS_WITHIN.as_secs()));
        let said = said.unwrap_or_else(late);
        let holds = match said {
            Ok(true) => GOOD_FOR,
            Ok(false) => REFUSED_FOR,
            Err(_) => AWAY_FOR,
        };
        Answer { said, until: Instant::now() + holds }
    };
    place.get_or_init(ask).await
}
