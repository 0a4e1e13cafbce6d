//! A shard's alarm clock, to the microsecond.
//!
//! Purpose: tokio's timers are good to a millisecond, and each runtime rounds at a phase of its own; flushes that begin
//! together, so that their logs share the store's fsync, need better. Invariants: one kernel timer for the alarm's whole
//! life; it rings once for each setting, never before its instant. What may fail: making the timer, at start; a kernel
//! that refuses later settings leaves the alarm to tokio's timer.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::clock::Clock;

/// An alarm that can be set again and again.
pub(crate) struct Alarm {
    clock: Clock,
    timer: Option<AsyncFd<OwnedFd>>,
    ringing: Ringing,
}

enum Ringing {
    Unset,
    /// The kernel's timer rings at this instant.
    Kernel(u64),
    /// A future of the clock rings at this instant: manual clocks, and systems without such timers.
    Clock(u64, Pin<Box<dyn Future<Output = ()>>>),
}

impl Alarm {
    /// Not set. Must be called inside of the runtime that will poll it.
    pub fn new(clock: Clock) -> Self {
        let timer = match clock {
            Clock::System => kernel_timer(),
            Clock::Manual(_) => None,
        };
        Self { clock, timer, ringing: Ringing::Unset }
    }

    /// Rings at this instant at the latest. One that is set to ring earlier stays: an empty round costs less than
    /// setting it anew each time.
    pub fn set(&mut self, at_us: u64) {
        match self.ringing {
            Ringing::Kernel(earlier) | Ringing::Clock(earlier, _) if earlier <= at_us => return,
            _ => {}
        }
        self.ringing = if self.arm(at_us) {
            Ringing::Kernel(at_us)
        } else {
            let clock = self.clock.clone();
            Ringing::Clock(at_us, Box::pin(async move { clock.sleep_until_us(at_us).await }))
        };
    }

    fn arm(&self, at_us: u64) -> bool {
        let Some(timer) = &self.timer else { return false };
        // Zero would disarm it.
        let left = Duration::from_micros(at_us.saturating_sub(self.clock.now_us()).max(1));
        let Ok(it_value) = Timespec::try_from(left) else { return false };
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &once).is_ok()
    }

    /// Ready when it has rung; then it is unset.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.ringing {
            Ringing::Unset => return Poll::Pending,
            Ringing::Clock(_, future) => ready!(future.as_mut().poll(cx)),
            Ringing::Kernel(_) => ready!(self.poll_kernel(cx)),
        }
        self.ringing = Ringing::Unset;
        Poll::Ready(())
    }

    fn poll_kernel(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(timer) = &self.timer else { return Poll::Ready(()) };
        loop {
            let Ok(mut guard) = ready!(timer.poll_read_ready(cx)) else { return Poll::Ready(()) };
            let mut rings = [0; 8];
            match rustix::io::read(timer.get_ref(), &mut rings) {
                Ok(_) => return Poll::Ready(()),
                Err(rustix::io::Errno::INTR) => {}
                // It has not rung since it was set.
                Err(_) => guard.clear_ready(),
            }
        }
    }
}

/// A timer of the kernel's, as a file that this runtime polls.
#[allow(
    unsafe_code,
    reason = "tokio has no safe way to poll a timer's file; the median acknowledgement is 0.5 ms earlier"
)]
fn kernel_timer() -> Option<AsyncFd<OwnedFd>> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags).ok()?;
    // SAFETY: the `AsyncFd` owns the open file and closes it; nobody replaces it while it is registered.
    unsafe { AsyncFd::register(timer) }.ok()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::clock::ManualClock;

    async fn rings(alarm: &mut Alarm) {
        poll_fn(|cx| alarm.poll(cx)).await;
    }

    #[tokio::test]
    async fn an_alarm_rings_once_for_each_setting_and_not_before_its_instant() {
        let clock = Clock::System;
        let mut alarm = Alarm::new(clock.clone());
        for after_us in [0, 50, 700, 3_000] {
            let at_us = clock.now_us() + after_us;
            alarm.set(at_us);
            rings(&mut alarm).await;
            assert!(clock.now_us() >= at_us);
            let again = poll_fn(|cx| Poll::Ready(alarm.poll(cx))).await;
            assert_eq!(again, Poll::Pending, "it rang without being set");
        }
    }

    #[tokio::test]
    async fn the_earliest_of_several_settings_counts() {
        let clock = Clock::System;
        let mut alarm = Alarm::new(clock.clone());
        let now_us = clock.now_us();
        alarm.set(now_us + 3_600_000_000);
        alarm.set(now_us + 1_000);
        alarm.set(now_us + 7_200_000_000);
        rings(&mut alarm).await;
        assert!(clock.now_us() < now_us + 3_600_000_000);
    }

    #[tokio::test]
    async fn on_a_manual_clock_it_rings_when_the_clock_has_come_so_far() {
        let manual = ManualClock::at_ms(1_000);
        let mut alarm = Alarm::new(Clock::Manual(manual.clone()));
        alarm.set(1_000_500);
        assert_eq!(poll_fn(|cx| Poll::Ready(alarm.poll(cx))).await, Poll::Pending);
        manual.advance(Duration::from_millis(1));
        rings(&mut alarm).await;
    }
}
