//! What keys may do: grants of the file, and what the authorization service says.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use super::super::checks::{ANSWERS_WITHIN, AWAY_FOR, GOOD_FOR, REFUSED_FOR};
use super::*;

#[tokio::test]
async fn rights_are_those_of_the_file_by_machine() {
    let grants = "[[key.grant]]\nrights = ['read', 'start']\nmachines = ['orders-*']";
    let world = world(&format!("{}{}", key("AKIA1", SECRET, grants), key("AKIA2", OTHER, GRANT)));
    let denied = Err(Kind::AccessDenied);
    for (id, right, machine, expected) in [
        ("AKIA1", Right::Start, Some("orders-eu"), Ok(())),
        ("AKIA1", Right::Manage, Some("orders-eu"), denied),
        ("AKIA1", Right::Start, Some("bills"), denied),
        ("AKIA1", Right::Read, None, denied),
        ("AKIA2", Right::Manage, Some("bills"), Ok(())),
        ("AKIA2", Right::Read, None, Ok(())),
        ("gone", Right::Read, Some("orders-eu"), denied),
    ] {
        assert_eq!(world.may(id, right, machine).await, expected, "{id} {right:?} {machine:?}");
    }
    let anonymous = world.desk.allow(&Caller::anonymous(), Right::Read, None).await;
    assert_eq!(anonymous.map_err(|fault| fault.kind()), denied);
}

/// A service that is told what to say, and counts.
#[derive(Default)]
struct Service {
    says: Mutex<Option<Result<bool, String>>>,
    asked: AtomicUsize,
}

impl Checks for Service {
    async fn check(&self, question: &Question) -> Result<bool, String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert_eq!((&*question.id, &*question.account), ("AKIA1", "123456789012"));
        tokio::time::sleep(Duration::from_millis(10)).await;
        let says = self.says.lock().expect("no panic").clone();
        match says {
            Some(said) => said,
            None => std::future::pending().await,
        }
    }
}

impl Service {
    fn says(&self, said: Option<Result<bool, String>>) {
        *self.says.lock().expect("no panic") = said;
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }
}

fn with_service() -> (World<Arc<Service>>, Arc<Service>) {
    let service = Arc::<Service>::default();
    let grants = "ask = true\n[[key.grant]]\nrights = ['read']\nmachines = ['own']";
    (asking(&key("AKIA1", SECRET, grants), Some(Arc::clone(&service))), service)
}

#[tokio::test(start_paused = true)]
async fn what_no_grant_gives_is_asked_once_and_the_answer_holds_for_a_while() {
    let (world, service) = with_service();
    service.says(Some(Ok(true)));
    let may = async |right, machine| world.may("AKIA1", right, machine).await;
    assert_eq!((may(Right::Read, Some("own")).await, service.asked()), (Ok(()), 0), "the file knows");
    let ten = futures_util::future::join_all((0..10).map(|_| may(Right::Start, Some("other")))).await;
    assert_eq!((ten, service.asked()), (vec![Ok(()); 10], 1));
    service.says(Some(Ok(false)));
    tokio::time::advance(GOOD_FOR - Duration::from_secs(1)).await;
    assert_eq!((may(Right::Start, Some("other")).await, service.asked()), (Ok(()), 0));
    for (right, machine) in
        [(Right::Manage, Some("other")), (Right::Start, Some("another")), (Right::Start, None)]
    {
        assert_eq!((may(right, machine).await, service.asked()), (Err(Kind::AccessDenied), 1));
        assert_eq!((may(right, machine).await, service.asked()), (Err(Kind::AccessDenied), 0));
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!((may(Right::Start, Some("other")).await, service.asked()), (Err(Kind::AccessDenied), 1));
    service.says(Some(Ok(true)));
    tokio::time::advance(REFUSED_FOR).await;
    assert_eq!((may(Right::Start, Some("other")).await, service.asked()), (Ok(()), 1));
}

#[tokio::test(start_paused = true)]
async fn while_the_service_cannot_tell_nobody_is_let_in_and_nobody_asks_it_for_a_second() {
    let (world, service) = with_service();
    let may = async || world.may("AKIA1", Right::Start, Some("other")).await;
    let begun = tokio::time::Instant::now();
    let both = futures_util::future::join(may(), may()).await;
    assert_eq!(
        (both.0, both.1, service.asked()),
        (Err(Kind::ServiceUnavailable), Err(Kind::ServiceUnavailable), 1)
    );
    assert_eq!(begun.elapsed(), ANSWERS_WITHIN);
    service.says(Some(Err("it starts".to_owned())));
    assert_eq!((may().await, service.asked()), (Err(Kind::ServiceUnavailable), 0));
    tokio::time::advance(AWAY_FOR).await;
    assert_eq!((may().await, service.asked()), (Err(Kind::ServiceUnavailable), 1));
    service.says(Some(Ok(true)));
    tokio::time::advance(AWAY_FOR).await;
    assert_eq!((may().await, service.asked()), (Ok(()), 1));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_leaves_the_question_to_the_next() {
    let (world, service) = with_service();
    service.says(Some(Ok(true)));
    let may = async || world.may("AKIA1", Right::Start, Some("other")).await;
    let given_up = tokio::time::timeout(Duration::from_millis(5), may()).await;
    assert!(given_up.is_err() && service.asked() == 1);
    assert_eq!((may().await, service.asked()), (Ok(()), 1));
}

#[test]
fn a_file_that_wants_a_service_asked_needs_one() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(path(&folder), key("AKIA1", SECRET, "ask = true")).expect("written");
    let error = Desk::<NoChecks>::open(&path(&folder), None).expect_err("nobody to ask");
    assert!(error.to_string().contains("no authorization service"), "{error}");
}
