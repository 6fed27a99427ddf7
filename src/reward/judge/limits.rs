//! Limits of requests and tokens in any minute.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// Longest pause between two looks at the stop flag.
const LOOK: Duration = Duration::from_millis(50);

pub(super) struct Limits {
    requests: Option<u32>,
    tokens: Option<u32>,
    /// Time and tokens of each request of the last minute.
    sent: Mutex<VecDeque<(Instant, u64)>>,
}

impl Limits {
    pub fn new(requests: Option<u32>, tokens: Option<u32>) -> Self {
        Self { requests, tokens, sent: Mutex::default() }
    }

    /// Waits until a request of this many tokens is allowed, and counts it. A request of more tokens than a minute has is
    /// allowed once nothing else was sent. Returns false if `stop` is set.
    pub fn wait(&self, tokens: u64, stop: &AtomicBool) -> bool {
        loop {
            let Some(left) = self.try_send(tokens, Instant::now()) else { return !stop.load(Ordering::Relaxed) };
            if !pause(left, stop) {
                return false;
            }
        }
    }

    /// Counts a request if it is allowed; or else returns the time until the oldest one is a minute old.
    fn try_send(&self, tokens: u64, now: Instant) -> Option<Duration> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        while sent.front().is_some_and(|(time, _)| now.duration_since(*time) >= MINUTE) {
            sent.pop_front();
        }
        let used: u64 = sent.iter().map(|(_, tokens)| tokens).sum();
        let is_full = self.requests.is_some_and(|most| sent.len() >= most as usize)
            || self.tokens.is_some_and(|most| used > 0 && used + tokens > u64::from(most));
        match sent.front() {
            Some((oldest, _)) if is_full => Some(MINUTE.saturating_sub(now.duration_since(*oldest))),
            _ => {
                sent.push_back((now, tokens));
                None
            }
        }
    }
}

/// Waits. Returns false if `stop` is set.
pub(super) fn pause(length: Duration, stop: &AtomicBool) -> bool {
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let left = length.saturating_sub(began.elapsed());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(LOOK));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_tokens_of_any_minute_are_bounded() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let requests = Limits::new(Some(2), None);
        assert_eq!([0, 1].map(|second| requests.try_send(9, at(second))), [None, None]);
        assert_eq!(requests.try_send(9, at(2)), Some(Duration::from_secs(58)));
        assert_eq!([60, 61].map(|second| requests.try_send(9, at(second))), [None, None]);
        let tokens = Limits::new(None, Some(100));
        assert_eq!(tokens.try_send(500, at(0)), None, "larger than a minute, and alone");
        assert_eq!(tokens.try_send(1, at(10)), Some(Duration::from_secs(50)));
        assert_eq!([60, 60].map(|second| tokens.try_send(50, at(second))), [None, None]);
        assert_eq!(tokens.try_send(1, at(60)), Some(MINUTE));
    }
}
