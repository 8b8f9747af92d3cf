//! Whether what failed is tried again: a plain function of what is known.

use http::Method;
use outwork_balance::Outcome;

use crate::config::Retry;
use crate::metrics::Retried;

/// What is known of an attempt that failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed<'a> {
    pub(super) method: &'a Method,
    pub(super) outcome: Outcome,
    /// The status of the answer, where there was one.
    pub(super) status: Option<u16>,
    /// The backend may have begun with it.
    pub(super) begun: bool,
    /// All of its content can be sent again.
    pub(super) whole: bool,
    /// Attempts before this one.
    pub(super) before: u32,
}

/// `Again`, or why not. Whether the budget has room for it is asked after this.
pub(super) fn judge(settings: &Retry, failed: Failed<'_>) -> Retried {
    // What no backend has begun with can be asked of another, whatever it is.
    let harmless = !failed.begun || is_idempotent(failed.method);
    let wanted = match (failed.status, failed.outcome) {
        (Some(status), _) => settings.statuses.contains(&status),
        (None, Outcome::ConnectFailed) => true,
        (None, Outcome::TimedOut | Outcome::Reset) => settings.on_failure,
        (None, _) => false,
    };
    match () {
        () if !wanted || !harmless || !failed.whole => Retried::NotSafe,
        () if failed.before >= settings.attempts => Retried::Spent,
        () => Retried::Again,
    }
}

/// Whether asking twice does no more than asking once (RFC 9110 section 9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::TRACE].contains(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(method: &Method, outcome: Outcome) -> Failed<'_> {
        Failed { method, outcome, status: None, begun: true, whole: true, before: 0 }
    }

    #[test]
    fn what_may_be_asked_twice_is_asked_twice_and_nothing_else() {
        let settings = Retry::default();
        let of = |failed| judge(&settings, failed);
        assert_eq!(of(failed(&Method::GET, Outcome::Reset)), Retried::Again);
        assert_eq!(of(failed(&Method::PUT, Outcome::TimedOut)), Retried::Again);
        assert_eq!(of(failed(&Method::POST, Outcome::Reset)), Retried::NotSafe);
        assert_eq!(of(Failed { whole: false, ..failed(&Method::PUT, Outcome::Reset) }), Retried::NotSafe);
        let refused = Failed { begun: false, ..failed(&Method::POST, Outcome::ConnectFailed) };
        assert_eq!(of(refused), Retried::Again, "nobody has begun with it");
    }

    #[test]
    fn an_answer_is_tried_again_where_it_is_one_of_those() {
        let settings = Retry { statuses: vec![503], ..Retry::default() };
        let answered = |status, method| {
            judge(&settings, Failed { status: Some(status), ..failed(method, Outcome::of_status(status)) })
        };
        assert_eq!(answered(503, &Method::GET), Retried::Again);
        assert_eq!(answered(503, &Method::POST), Retried::NotSafe);
        assert_eq!(answered(502, &Method::GET), Retried::NotSafe);
    }

    #[test]
    fn it_ends_after_so_many_and_failures_can_be_left_alone() {
        let settings = Retry { attempts: 2, on_failure: false, ..Retry::default() };
        assert_eq!(judge(&settings, failed(&Method::GET, Outcome::Reset)), Retried::NotSafe);
        let refused = |before| Failed { before, ..failed(&Method::GET, Outcome::ConnectFailed) };
        assert_eq!(
            [0, 1, 2].map(|before| judge(&settings, refused(before))),
            [Retried::Again, Retried::Again, Retried::Spent]
        );
    }
}
