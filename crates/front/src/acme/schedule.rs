//! When a certificate is ordered: decided from what is known and from chance, which come in.

use std::time::{Duration, SystemTime};

/// The wait after a first failure; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// The longest wait. Authorities count failures by the hour (Let's Encrypt: five for a name).
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3600);
/// From one order of a name to the next, whatever else is said: also where an authority gives certificates that are about
/// to expire.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest that an authority's `Retry-After` is heeded.
const LONGEST_RETRY: Duration = Duration::from_secs(7 * 86_400);

/// What has been tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    /// Failures since the last success.
    pub(crate) failures: u32,
    /// When the last attempt ended.
    pub(crate) last: Option<SystemTime>,
    /// The authority wants to hear nothing before this.
    pub(crate) retry_after: Option<SystemTime>,
}

/// When the authority suggests to renew (RFC 9773 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
}

/// What is known of a certificate's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// There is none yet.
    Nothing,
    /// It is good from one moment to another.
    Valid { from: SystemTime, until: SystemTime },
}

/// When the next order is due. `chance`, from 0 to 1, spreads the orders of many servers, and stays the same for a certificate.
pub(crate) fn due(held: Held, window: Option<Window>, attempts: &Attempts, now: SystemTime, chance: f64) -> SystemTime {
    let wanted = match (held, window) {
        (Held::Nothing, _) => now,
        (Held::Valid { .. }, Some(Window { start, end })) => {
            after(start, end.duration_since(start).unwrap_or_default().mul_f64(chance))
        }
        (Held::Valid { from, until }, None) => {
            let life = until.duration_since(from).unwrap_or_default();
            // At two thirds of its life, or up to a twenty-fourth of it sooner.
            after(from, (life * 2 / 3).saturating_sub((life / 24).mul_f64(chance)))
        }
    };
    let again = attempts.last.map(|last| after(last, wait(attempts.failures, chance).max(PAUSE)));
    let allowed = attempts.retry_after.map(|at| at.min(after(now, LONGEST_RETRY)));
    [again, allowed].into_iter().flatten().fold(wanted, SystemTime::max)
}

/// How long failures make it wait: for each up to a fifth less, by chance.
fn wait(failures: u32, chance: f64) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    let wait = FIRST_WAIT.saturating_mul(1 << doublings.min(16)).min(LONGEST_WAIT);
    wait - (wait / 5).mul_f64(chance)
}

fn after(moment: SystemTime, time: Duration) -> SystemTime {
    moment.checked_add(time).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn held() -> Held {
        Held::Valid { from: at(0), until: at(0) + DAY * 90 }
    }

    #[test]
    fn a_certificate_is_ordered_at_once_and_renewed_about_two_thirds_into_its_life() {
        let none = Attempts::default();
        assert_eq!(due(Held::Nothing, None, &none, at(5), 0.5), at(5));
        assert_eq!(due(held(), None, &none, at(5), 0.0), at(0) + DAY * 60);
        let early = due(held(), None, &none, at(5), 1.0);
        assert!(early < at(0) + DAY * 57 && early > at(0) + DAY * 56);
    }

    #[test]
    fn the_authority_s_suggestion_goes_before_that_and_is_spread_over_its_window() {
        let window = Some(Window { start: at(100), end: at(300) });
        let none = Attempts::default();
        assert_eq!(due(held(), window, &none, at(0), 0.0), at(100));
        assert_eq!(due(held(), window, &none, at(0), 0.75), at(250));
        let past = Some(Window { start: at(300), end: at(100) });
        assert_eq!(due(held(), past, &none, at(900), 0.75), at(300), "one that ends before it begins has no width");
    }

    #[test]
    fn failures_wait_longer_and_longer_and_never_too_long() {
        let waits = |failures, chance| {
            let attempts = Attempts { failures, last: Some(at(0)), retry_after: None };
            due(Held::Nothing, None, &attempts, at(0), chance).duration_since(at(0)).unwrap().as_secs()
        };
        assert_eq!([1, 2, 3, 9, 40].map(|failures| waits(failures, 0.0)), [60, 120, 240, 15_360, 21_600]);
        assert_eq!(waits(1, 1.0), 48);
        assert_eq!(waits(0, 0.5), 10, "no loop is tight");
    }

    #[test]
    fn an_authority_that_wants_to_be_left_alone_is_left_alone() {
        let attempts = Attempts { failures: 1, last: Some(at(0)), retry_after: Some(at(7_200)) };
        assert_eq!(due(Held::Nothing, None, &attempts, at(1), 0.0), at(7_200));
        let forever = Attempts { retry_after: Some(at(0) + DAY * 9_000), ..attempts };
        assert_eq!(due(Held::Nothing, None, &forever, at(1), 0.0), at(1) + DAY * 7);
    }

    #[test]
    fn a_certificate_that_is_born_expired_makes_no_loop() {
        let held = Held::Valid { from: at(0), until: at(0) };
        let attempts = Attempts { failures: 0, last: Some(at(50)), retry_after: None };
        assert_eq!(due(held, None, &attempts, at(50), 0.5), at(60));
    }
}
