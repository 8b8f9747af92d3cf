//! What is done all the time and fails: told once, and not again before it has gone well or fails for another reason.

use std::collections::BTreeMap;
use std::fmt::Display;

/// What fails by now, and why.
#[derive(Debug, Default)]
pub(super) struct Failing(BTreeMap<&'static str, String>);

impl Failing {
    /// What came of it, if anything did. Its failure is told where it is news.
    pub(super) fn look<T, E: Display>(&mut self, what: &'static str, outcome: Result<T, E>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.0.remove(what);
                Some(value)
            }
            Err(error) => {
                if self.is_news(what, error.to_string()) {
                    tracing::warn!(%error, what, "figures of forwarding stand still");
                }
                None
            }
        }
    }

    fn is_news(&mut self, what: &'static str, why: String) -> bool {
        self.0.get(what) != Some(&why) && {
            self.0.insert(what, why);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_until_it_is_another_or_over() {
        let mut failing = Failing::default();
        let mut is_news = |why: Option<&str>| match why {
            Some(why) => failing.is_news("flows", why.to_owned()),
            None => failing.look("flows", Ok::<_, String>(())).is_none(),
        };
        let outcomes = [Some("no memory"), Some("no memory"), Some("no map"), None, Some("no map")];
        assert_eq!(outcomes.map(&mut is_news), [true, false, true, false, true]);
        assert!(failing.is_news("tallies", "no map".to_owned()), "each has its own");
    }
}
