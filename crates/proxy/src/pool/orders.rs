//! What was said of backends by hand. It is in a file, and so holds through restarts and upgrades until it is taken back. A process that makes way for another follows
//! what that says.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outwork_balance::settings::MAX_WEIGHT;
use outwork_balance::{Member, Slot};
use outwork_engine::Time;
use outwork_store::file::replace_private;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Pool;

/// Backends of which something is kept. What a name stands for changes, and what was said of an address that is gone holds until somebody takes it back.
const MOST: usize = 10_000;

/// Why nothing was taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    /// There are as many as there may be.
    #[error(
        "of {} backends something is kept already; take back what was said of those that are gone (`outwork backends list` names them)",
        MOST
    )]
    Full,
    /// The file cannot be written.
    #[error("what is said of backends cannot be kept: {0}")]
    File(#[from] io::Error),
}

/// What was said of a backend. Moments are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    pool: String,
    backend: String,
    /// It gets nothing new, and goes on with what it had until then.
    drains_until: Option<u64>,
    /// It is left out until then.
    ejected_until: Option<u64>,
    /// What it weighs in the place of what the configuration says. A file without any is read by versions that know nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
}

/// What holds of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) backend: String,
    /// It gets nothing new, and may go on with what it has for so long; for no time, where that is over.
    pub(crate) drains: Option<Duration>,
    /// It is left out for so long.
    pub(crate) ejected: Option<Duration>,
    /// What it weighs in the place of what the configuration says.
    pub(crate) weight: Option<u32>,
}

/// What becomes of a backend by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByHand {
    /// It gets nothing new, and may go on with what it has for so long.
    Drain(Duration),
    /// It is left out for so long.
    Eject(Duration),
    /// It gets requests again.
    Admit,
    /// It weighs so much; `None`, what the configuration says. It is in force with the next snapshot: whoever says it makes one
    /// ([`Pool::refresh`]), once this is taken in.
    Weight(Option<u32>),
}

/// What holds of all backends.
#[derive(Debug, Default)]
pub struct Orders {
    /// Where they are kept.
    path: Option<PathBuf>,
    known: Mutex<Vec<Order>>,
    /// Another process keeps them.
    followed: AtomicBool,
}

impl Orders {
    /// Those in this file, which keeps them from now on; none where there is no such file.
    ///
    /// # Errors
    /// Those of the system, and when the file holds something else.
    pub fn keep(path: &Path) -> io::Result<Orders> {
        let known = Mutex::new(read(path)?);
        Ok(Orders { path: Some(path.to_owned()), known, followed: AtomicBool::new(false) })
    }

    /// Another process keeps the file from now on.
    pub(super) fn follow(&self, is_followed: bool) {
        self.followed.store(is_followed, Relaxed);
    }

    pub(super) fn are_followed(&self) -> bool {
        self.followed.load(Relaxed)
    }

    /// Has done what was said of backends, of a pool each, since the file was last read.
    ///
    /// # Errors
    /// Those of the system, and when the file holds something else.
    pub(super) fn hear(&self, done: impl Fn(&str, &str, ByHand)) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut known = self.known.lock();
        let heard = read(path)?;
        for (order, by_hand) in changes(&known, &heard, since_1970()) {
            done(&order.pool, &order.backend, by_hand);
        }
        *known = heard;
        Ok(())
    }

    /// Takes in what was said of a backend, and has it `done`. It is on disk when that is; and nobody else says anything, nor does what was said before with a
    /// member that comes, until it is. Orders for pools that are not `there` are forgotten.
    ///
    /// # Errors
    /// Those of the system, and when there are too many; nothing has changed then.
    pub(crate) fn take(
        &self,
        pool: &str,
        backend: &str,
        by_hand: ByHand,
        there: impl Fn(&str) -> bool,
        done: impl FnOnce(),
    ) -> Result<(), OrderError> {
        let mut known = self.known.lock();
        let mut orders = known.clone();
        let is_it = |order: &Order| order.pool == pool && order.backend == backend;
        let at = orders.iter().position(is_it).unwrap_or_else(|| {
            let (pool, backend) = (pool.to_owned(), backend.to_owned());
            orders.push(Order { pool, backend, drains_until: None, ejected_until: None, weight: None });
            orders.len() - 1
        });
        let now = since_1970();
        let then = |lasts: Duration| Some(millis(now.saturating_add(lasts)));
        if let Some(order) = orders.get_mut(at) {
            match by_hand {
                ByHand::Drain(lasts) => order.drains_until = then(lasts),
                ByHand::Eject(lasts) => order.ejected_until = then(lasts),
                ByHand::Admit => (order.drains_until, order.ejected_until) = (None, None),
                ByHand::Weight(weight) => order.weight = weight,
            }
        }
        orders.retain_mut(|order| {
            order.ejected_until = order.ejected_until.filter(|until| *until > millis(now));
            let holds = order.drains_until.is_some() || order.ejected_until.is_some() || order.weight.is_some();
            holds && there(&order.pool)
        });
        // Whoever takes something back is let.
        if orders.len() > MOST.max(known.len()) {
            return Err(OrderError::Full);
        }
        if let Some(path) = &self.path {
            replace_private(path, &serde_json::to_vec(&orders).map_err(io::Error::from)?)?;
        }
        *known = orders;
        done();
        Ok(())
    }

    /// Does with members that have just come what was said of them, and then what makes them be there: nobody says anything in between.
    pub(crate) fn apply<'a>(
        &self,
        pool: &str,
        members: impl Iterator<Item = &'a Arc<Member>>,
        now: Time,
        then: impl FnOnce(),
    ) {
        let known = self.known.lock();
        let of_pool: Vec<&Order> = known.iter().filter(|order| order.pool == pool).collect();
        let unix = since_1970();
        let left = |until: u64| now + Duration::from_millis(until).saturating_sub(unix);
        for member in members.filter(|_| !of_pool.is_empty()) {
            for order in of_pool.iter().filter(|order| order.backend == member.key()) {
                if let Some(until) = order.drains_until {
                    member.drain(left(until));
                }
                if let Some(until) = order.ejected_until {
                    member.eject_until(left(until));
                }
            }
        }
        then();
    }

    /// What holds of backends of this pool.
    pub(crate) fn of(&self, pool: &str) -> Vec<Standing> {
        let unix = millis(since_1970());
        let left = |until: u64| Duration::from_millis(until.saturating_sub(unix));
        let known = self.known.lock();
        let standing = known.iter().filter(|order| order.pool == pool).map(|order| Standing {
            backend: order.backend.clone(),
            drains: order.drains_until.map(left),
            ejected: order.ejected_until.filter(|until| *until > unix).map(left),
            weight: order.weight,
        });
        let holds = |one: &Standing| one.drains.is_some() || one.ejected.is_some() || one.weight.is_some();
        standing.filter(holds).collect()
    }

    /// What backends of this pool weigh in the place of what the configuration says.
    pub(crate) fn weights(&self, pool: &str) -> BTreeMap<String, u32> {
        let known = self.known.lock();
        let of_pool = known.iter().filter(|order| order.pool == pool);
        of_pool.filter_map(|order| Some((order.backend.clone(), order.weight?.min(MAX_WEIGHT)))).collect()
    }
}

/// Does with a member what was said of it, if it is there.
pub(crate) fn obey(pool: &Pool, backend: &str, by_hand: ByHand) {
    let (snapshot, now) = (pool.snapshot(), pool.now());
    let Some(member) = snapshot.balance.find(backend).map(Slot::member) else { return };
    match by_hand {
        ByHand::Drain(lasts) => member.drain(now + lasts),
        ByHand::Eject(lasts) => {
            pool.watch.lock().ejected(member.id(), None);
            member.eject_until(now + lasts);
        }
        ByHand::Admit => {
            member.undrain();
            if now < member.ejected_until() {
                member.eject_until(now);
            }
        }
        // It is the snapshot's, and no snapshot can be made while somebody says something.
        ByHand::Weight(_) => {}
    }
}

/// Those in a file; none where there is no such file.
fn read(path: &Path) -> io::Result<Vec<Order>> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            let what = format!("it does not say which backends are drained ({error}); remove it, and none is");
            io::Error::new(io::ErrorKind::InvalidData, what)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// What makes of the former what the latter say, now.
fn changes<'a>(before: &'a [Order], after: &'a [Order], now: Duration) -> Vec<(&'a Order, ByHand)> {
    let is_same = |one: &Order, other: &Order| one.pool == other.pool && one.backend == other.backend;
    let mut changes = Vec::new();
    for was in before {
        let is = after.iter().find(|is| is_same(is, was));
        let drains = is.is_some_and(|is| is.drains_until.is_some());
        let is_left_out = is.is_some_and(|is| is.ejected_until.is_some());
        // One that is over is taken back by nobody.
        let was_left_out = was.ejected_until.is_some_and(|until| Duration::from_millis(until) > now);
        if (was.drains_until.is_some() && !drains) || (was_left_out && !is_left_out) {
            changes.push((was, ByHand::Admit));
        }
        if was.weight.is_some() && is.is_none_or(|is| is.weight.is_none()) {
            changes.push((was, ByHand::Weight(None)));
        }
    }
    let left = |until: u64| Duration::from_millis(until).saturating_sub(now);
    for is in after.iter().filter(|is| !before.contains(is)) {
        changes.extend(is.drains_until.map(|until| (is, ByHand::Drain(left(until)))));
        changes.extend(is.ejected_until.map(|until| (is, ByHand::Eject(left(until)))));
        let weighed = before.iter().find(|was| is_same(was, is)).and_then(|was| was.weight);
        changes.extend(is.weight.filter(|_| is.weight != weighed).map(|weight| (is, ByHand::Weight(Some(weight)))));
    }
    changes
}

fn since_1970() -> Duration {
    // A clock that stands before 1970 has every deadline ahead.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn millis(since: Duration) -> u64 {
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_kept_until_they_are_taken_back_or_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orders");
        let orders = Orders::keep(&path).unwrap();
        let take = |pool: &str, by_hand| orders.take(pool, "a", by_hand, |pool| pool != "gone", || ()).unwrap();
        take("app", ByHand::Drain(Duration::ZERO));
        take("app", ByHand::Eject(Duration::ZERO));
        take("gone", ByHand::Eject(Duration::MAX));
        take("other", ByHand::Eject(Duration::from_secs(60)));
        take("third", ByHand::Drain(Duration::MAX));
        take("third", ByHand::Admit);
        let again = Orders::keep(&path).unwrap().known.into_inner();
        let told: Vec<_> = again
            .iter()
            .map(|order| (&*order.pool, order.drains_until.is_some(), order.ejected_until.is_some()))
            .collect();
        assert_eq!(told, [("app", true, false), ("other", false, true)], "an ejection ends, a drained one stays out");
        std::fs::write(&path, "[{}]").unwrap();
        assert!(Orders::keep(&path).unwrap_err().to_string().contains("remove it"));
    }

    #[test]
    fn what_another_process_says_is_heard_once_and_so_is_what_it_takes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orders");
        let [first, second] = [(); 2].map(|()| Orders::keep(&path).unwrap());
        let take = |backend: &str, by_hand| second.take("app", backend, by_hand, |_| true, || ()).unwrap();
        let heard = || {
            let heard = std::cell::RefCell::<Vec<String>>::default();
            first
                .hear(|pool, backend, by_hand| {
                    let what = match by_hand {
                        ByHand::Drain(lasts) => format!("drain {}", lasts > Duration::from_secs(60)),
                        ByHand::Eject(lasts) => format!("eject {}", lasts > Duration::from_secs(60)),
                        ByHand::Admit => "admit".to_owned(),
                        ByHand::Weight(weight) => format!("weight {weight:?}"),
                    };
                    heard.borrow_mut().push(format!("{pool} {backend}: {what}"));
                })
                .unwrap();
            heard.into_inner()
        };
        let nothing: Vec<String> = Vec::new();
        assert_eq!(heard(), nothing, "there is no file");
        take("a", ByHand::Drain(Duration::from_secs(600)));
        take("b", ByHand::Eject(Duration::from_secs(600)));
        assert_eq!(heard(), ["app a: drain true", "app b: eject true"]);
        assert_eq!(heard(), nothing);
        take("a", ByHand::Drain(Duration::ZERO));
        take("b", ByHand::Admit);
        assert_eq!(heard(), ["app b: admit", "app a: drain false"]);
        // Both between two looks.
        take("a", ByHand::Admit);
        take("a", ByHand::Eject(Duration::from_secs(600)));
        assert_eq!(heard(), ["app a: admit", "app a: eject true"]);
        take("a", ByHand::Admit);
        take("b", ByHand::Weight(Some(0)));
        assert_eq!(heard(), ["app a: admit", "app b: weight Some(0)"]);
        take("b", ByHand::Drain(Duration::from_secs(600)));
        assert_eq!(heard(), ["app b: drain true"], "what it weighs is known");
        take("b", ByHand::Admit);
        take("b", ByHand::Weight(Some(7)));
        assert_eq!(heard(), ["app b: admit", "app b: weight Some(7)"]);
        take("b", ByHand::Weight(None));
        assert_eq!(heard(), ["app b: weight None"]);
        assert_eq!(heard(), nothing);
    }

    #[test]
    fn a_weight_by_hand_is_kept_until_it_is_taken_back_whatever_else_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orders");
        let orders = Orders::keep(&path).unwrap();
        let take = |backend: &str, by_hand| orders.take("app", backend, by_hand, |_| true, || ()).unwrap();
        let kept = || Orders::keep(&path).unwrap().weights("app");
        take("a", ByHand::Weight(Some(0)));
        take("b", ByHand::Weight(Some(3)));
        take("b", ByHand::Drain(Duration::ZERO));
        take("b", ByHand::Admit);
        assert_eq!(
            kept(),
            BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), 3)]),
            "who is let in weighs what it did"
        );
        assert_eq!((orders.of("app").len(), orders.weights("other").len()), (2, 0));
        take("a", ByHand::Weight(None));
        take("b", ByHand::Weight(None));
        assert!(kept().is_empty() && orders.of("app").is_empty());
        // As it was before there were weights.
        std::fs::write(&path, r#"[{"pool": "app", "backend": "a", "drains_until": 1, "ejected_until": null}]"#)
            .unwrap();
        assert_eq!(Orders::keep(&path).unwrap().of("app").len(), 1);
        std::fs::write(&path, r#"[{"pool": "app", "backend": "a", "weight": 4000000000}]"#).unwrap();
        assert_eq!(kept()["a"], MAX_WEIGHT, "no file keeps a pool from being made");
    }

    #[test]
    fn of_too_many_backends_nothing_more_is_kept_until_something_is_taken_back() {
        let orders = Orders::default();
        let order = |number: usize| Order {
            pool: "app".to_owned(),
            backend: number.to_string(),
            drains_until: Some(0),
            ejected_until: None,
            weight: None,
        };
        orders.known.lock().extend((0..MOST).map(order));
        let take = |backend: &str, by_hand| orders.take("app", backend, by_hand, |_| true, || ());
        let refused = take("another", ByHand::Weight(Some(1))).unwrap_err();
        assert!(matches!(refused, OrderError::Full) && refused.to_string().contains("take back"), "{refused}");
        take("7", ByHand::Weight(Some(1))).unwrap();
        assert_eq!(orders.known.lock().len(), MOST);
        take("8", ByHand::Admit).unwrap();
        take("another", ByHand::Weight(Some(1))).unwrap();
    }

    #[test]
    fn what_is_over_by_itself_is_taken_back_by_nobody() {
        let order = |drains_until, ejected_until| Order {
            pool: "app".to_owned(),
            backend: "a".to_owned(),
            drains_until,
            ejected_until,
            weight: None,
        };
        let said = |before: &Order, after: &[Order]| -> Vec<ByHand> {
            let before = std::slice::from_ref(before);
            changes(before, after, Duration::from_secs(1)).into_iter().map(|(_, by_hand)| by_hand).collect()
        };
        assert_eq!(said(&order(None, Some(500)), &[]), [], "its time was over");
        assert_eq!(said(&order(None, Some(1500)), &[]), [ByHand::Admit]);
        assert_eq!(said(&order(Some(500), None), &[]), [ByHand::Admit], "a drained one stays out");
        let drained = order(Some(2000), None);
        assert_eq!(said(&order(Some(2000), Some(500)), &[drained]), [ByHand::Drain(Duration::from_secs(1))]);
    }
}
