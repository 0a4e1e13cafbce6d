//! Whose clock is right does not matter: what a provider says of time is read against its own `Date`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

use super::transport::Reply;
use crate::Now;

/// Below this a signature is not refused for its time.
const NOTICED_SECONDS: i64 = 60;

/// Our clock and how far a provider's is ahead of it.
pub(super) struct Times {
    now: Now,
    ahead_seconds: AtomicI64,
}

impl Times {
    pub(super) fn new(now: Now) -> Self {
        Self { now, ahead_seconds: AtomicI64::new(0) }
    }

    /// Unix milliseconds of our clock.
    pub(super) fn now_ms(&self) -> u64 {
        (self.now)()
    }

    /// Unix seconds of the provider's clock, as far as we know: what requests to it are signed with.
    pub(super) fn theirs(&self) -> u64 {
        (self.now_ms() / 1_000).saturating_add_signed(self.ahead_seconds.load(Ordering::Relaxed))
    }

    /// Takes in what the provider's clock says. Whether that differs so much from what was thought that a request, which was
    /// refused for its time, should be signed again.
    pub(super) fn learn(&self, reply: &Reply) -> bool {
        let Some(date) = reply.date.as_deref().and_then(http_date) else { return false };
        let (date, ours) = (i64::try_from(date), i64::try_from(self.now_ms() / 1_000));
        let (Ok(date), Ok(ours)) = (date, ours) else { return false };
        let ahead = date - ours;
        let known = self.ahead_seconds.load(Ordering::Relaxed);
        if (ahead - known).abs() < NOTICED_SECONDS {
            return false;
        }
        self.ahead_seconds.store(ahead, Ordering::Relaxed);
        true
    }

    /// When, by our clock, something expires that was asked for at `sent_ms` and expires at `expiry_seconds` by theirs.
    pub(super) fn ours(&self, expiry_seconds: u64, reply: &Reply, sent_ms: u64) -> SystemTime {
        let said = reply.date.as_deref().and_then(http_date);
        let theirs = said.unwrap_or_else(|| self.theirs());
        after(sent_ms, Duration::from_secs(expiry_seconds.saturating_sub(theirs)))
    }
}

/// A while after Unix milliseconds.
pub(super) fn after(unix_ms: u64, lifetime: Duration) -> SystemTime {
    let at = Duration::from_millis(unix_ms).saturating_add(lifetime);
    // Beyond the calendar: as far as it goes is long enough.
    UNIX_EPOCH.checked_add(at).unwrap_or(UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX) * 2))
}

/// A `Date` header as Unix seconds.
fn http_date(text: &str) -> Option<u64> {
    u64::try_from(OffsetDateTime::parse(text, &Rfc2822).ok()?.unix_timestamp()).ok()
}

/// ISO 8601 as Unix seconds.
pub(super) fn iso(text: &str) -> Option<u64> {
    u64::try_from(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::StatusCode;

    use super::*;

    fn reply(date: &str) -> Reply {
        Reply { status: StatusCode::OK, date: Some(date.to_owned()), body: Bytes::new() }
    }

    #[test]
    fn expiry_is_told_by_our_clock_however_wrong_theirs_is() {
        let times = Times::new(Arc::new(|| 1_000_000_000));
        let sent = 1_000_000_000 - 2_000;
        // 784111777 is the time that RFC 9110 writes so.
        let at = times.ours(784_111_777 + 3_600, &reply("Sun, 06 Nov 1994 08:49:37 GMT"), sent);
        assert_eq!(at, UNIX_EPOCH + Duration::from_secs(998 + 3_600 + 999_000));
        let at = times.ours(1_000_000 + 60, &reply("yesterday"), sent);
        assert_eq!(at, UNIX_EPOCH + Duration::from_secs(999_998 + 60));
    }

    #[test]
    fn a_clock_that_is_far_away_is_followed() {
        let times = Times::new(Arc::new(|| 1_000_000_000));
        assert!(times.learn(&reply("Sun, 06 Nov 1994 08:49:37 GMT")));
        assert_eq!(times.theirs(), 784_111_777);
        assert!(!times.learn(&reply("Sun, 06 Nov 1994 08:49:39 GMT")), "a second is no reason to sign again");
        assert!(!times.learn(&reply("")));
        assert_eq!(iso("2026-11-26T18:00:00Z"), Some(1_795_716_000));
    }
}
