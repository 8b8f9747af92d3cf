//! Who may come at all: what `proxy.acceleration` says of networks, of sources and of new connections, for those that sockets serve. Programs of the kernel and
//! ports of user space do the same with packets, and a source has an account with each of them.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use outwork_balance::hash;
use outwork_fastpath::guard::Sources;
use outwork_fastpath::layout::Address;
use outwork_fastpath::settings::Rate;
use outwork_fastpath::tables::PrefixSet;
use parking_lot::Mutex;

use super::metrics::{Cells, Refused};
use crate::config::Acceleration;
use crate::config::acceleration::rate;

/// Parts that sources are shared out to, a power of two: while one is looked at, other threads look at others.
const PARTS: usize = 32;

/// Who may come, of all threads and listeners.
#[derive(Debug, Default)]
pub(super) struct Guard {
    rules: ArcSwap<Rules>,
    /// Nobody is counted before there is a rate.
    sources: [Part; PARTS],
    /// Which part a source is counted in: nobody chooses addresses that crowd out those of one part.
    hasher: RandomState,
}

/// Those who are counted in one part.
type Part = Mutex<Option<Sources>>;

/// What a configuration says of it.
#[derive(Debug, Default)]
pub(super) struct Rules {
    denied: PrefixSet,
    /// Datagrams and new connections of one source.
    source: Option<Rate>,
    /// New connections to one address of a listener that says nothing of it.
    opening: Option<Rate>,
    /// Sources that are counted at once.
    sources: u32,
}

impl Rules {
    pub(super) fn new(acceleration: &Acceleration) -> Self {
        let mut denied = PrefixSet::default();
        acceleration.denied().into_iter().for_each(|prefix| denied.insert(prefix));
        Self {
            denied,
            source: rate(acceleration.source_rate, acceleration.source_burst),
            opening: rate(acceleration.syn_rate, acceleration.syn_burst),
            sources: acceleration.tables.sources,
        }
    }
}

impl Guard {
    /// From now on this holds.
    pub(super) fn set(&self, rules: Rules) {
        let forgets = rules.source.is_none() || self.rules.load().sources != rules.sources;
        self.rules.store(Arc::new(rules));
        if forgets {
            self.sources.iter().for_each(|part| drop(part.lock().take()));
        }
    }

    /// Whether nothing is taken from there.
    pub(super) fn is_denied(&self, source: IpAddr) -> bool {
        self.rules.load().denied.covers(Address::from(source.to_canonical()))
    }

    /// Whether another connection of this source may begin.
    pub(super) fn admits(&self, source: IpAddr, now: Duration) -> Result<(), Refused> {
        if self.is_denied(source) {
            return Err(Refused::Denied);
        }
        match self.admitted(source, 1, now) {
            0 => Err(Refused::Source),
            _ => Ok(()),
        }
    }

    /// What of a run of datagrams is taken, if any; the others are counted. A run without an octet is one datagram, too.
    pub(super) fn take<'a>(
        &self,
        source: IpAddr,
        run: &'a [u8],
        stride: usize,
        now: Duration,
        cells: &Cells,
    ) -> Option<&'a [u8]> {
        let count = run.len().div_ceil(stride.max(1)).max(1);
        if self.is_denied(source) {
            cells.refused_several(Refused::Denied, count);
            return None;
        }
        let admitted = self.admitted(source, count, now);
        if admitted == count {
            return Some(run);
        }
        cells.refused_several(Refused::Source, count - admitted);
        run.get(..admitted * stride).filter(|_| admitted > 0)
    }

    /// How fast connections may begin at an address whose listener says nothing of it.
    pub(super) fn opening(&self) -> Option<Rate> {
        self.rules.load().opening
    }

    /// Of so many that come at once, how many are within the rate of their source.
    fn admitted(&self, source: IpAddr, count: usize, now: Duration) -> usize {
        let rules = self.rules.load();
        let Some(rate) = rules.source else { return count };
        let Some(part) = self.part(source) else { return count };
        let each = rules.sources.div_ceil(PARTS as u32);
        part.lock().get_or_insert_with(|| Sources::new(each)).admitted(source, count, rate, now)
    }

    /// Where a source is counted: all of what counts as one in the same part.
    fn part(&self, source: IpAddr) -> Option<&Part> {
        self.sources.get(self.hasher.hash_one(hash::address(source)) as usize % PARTS)
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::L4Metrics;
    use super::*;

    fn guard(set: impl FnOnce(&mut Acceleration)) -> Guard {
        let mut acceleration = Acceleration::default();
        set(&mut acceleration);
        let guard = Guard::default();
        guard.set(Rules::new(&acceleration));
        guard
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_is_denied_is_taken_nothing_from_and_all_of_it_is_counted() {
        let guard = guard(|acceleration| {
            acceleration.deny = vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        });
        let cells = Cells::new(&L4Metrics::default(), "app");
        for (source, is_denied) in
            [("192.0.2.9", true), ("::ffff:192.0.2.9", true), ("2001:db8::9", true), ("192.0.3.9", false)]
        {
            assert_eq!(guard.is_denied(ip(source)), is_denied, "{source}");
            assert_eq!(guard.admits(ip(source), Duration::ZERO).is_err(), is_denied, "{source}");
        }
        let run = [7_u8; 25];
        assert_eq!(guard.take(ip("192.0.2.9"), &run, 10, Duration::ZERO, &cells), None);
        assert_eq!(cells.all_refused(), 3);
        assert_eq!(guard.take(ip("192.0.3.9"), &run, 10, Duration::ZERO, &cells), Some(&run[..]));
        assert_eq!(cells.all_refused(), 3);
    }

    #[test]
    fn of_a_run_is_taken_what_is_within_the_rate_of_its_source() {
        let guard = guard(|acceleration| {
            (acceleration.source_rate, acceleration.source_burst) = (10, Some(2));
        });
        let cells = Cells::new(&L4Metrics::default(), "app");
        let (run, now) = ([7_u8; 25], Duration::from_secs(5));
        assert_eq!(guard.take(ip("192.0.2.1"), &run, 10, now, &cells), Some(&run[..20]));
        assert_eq!(cells.all_refused(), 1);
        assert_eq!(guard.admits(ip("192.0.2.1"), now), Err(Refused::Source));
        assert_eq!(guard.admits(ip("192.0.2.2"), now), Ok(()));
        assert_eq!(guard.admits(ip("192.0.2.1"), now + Duration::from_millis(200)), Ok(()));
        guard.set(Rules::default());
        assert_eq!(guard.take(ip("192.0.2.1"), &run, 10, now, &cells), Some(&run[..]), "there is no rate any longer");
        assert!(guard.sources.iter().all(|part| part.lock().is_none()), "nor anybody who is counted");
    }

    #[test]
    fn an_empty_datagram_is_taken_and_counts_as_one() {
        let guard = guard(|acceleration| {
            (acceleration.source_rate, acceleration.source_burst) = (1, Some(2));
        });
        let cells = Cells::new(&L4Metrics::default(), "app");
        let taken = || guard.take(ip("192.0.2.1"), b"", 1, Duration::from_secs(5), &cells);
        assert_eq!([taken(), taken(), taken()], [Some(&b""[..]), Some(&b""[..]), None]);
        assert_eq!(cells.all_refused(), 1);
    }

    #[test]
    fn a_source_keeps_its_account_through_a_reload() {
        let guard = guard(|acceleration| acceleration.source_rate = 1);
        assert_eq!(guard.admits(ip("192.0.2.1"), Duration::ZERO), Ok(()));
        guard.set(Rules::new(&Acceleration { source_rate: 2, source_burst: Some(1), ..Acceleration::default() }));
        assert_eq!(guard.admits(ip("192.0.2.1"), Duration::ZERO), Err(Refused::Source));
    }

    #[test]
    fn a_source_that_is_looked_at_keeps_nobody_waiting_who_looks_at_one_of_another_part() {
        let guard = guard(|acceleration| acceleration.source_rate = 1);
        let of = |source: IpAddr| guard.part(source).unwrap();
        let looked_at = of(ip("192.0.2.1")).lock();
        let all = (0..=u8::MAX).map(|last| IpAddr::from([198, 51, 100, last]));
        let free: Vec<IpAddr> = all.filter(|source| of(*source).try_lock().is_some()).collect();
        assert!(free.len() > 128, "{}", free.len());
        free.iter().for_each(|source| assert_eq!(guard.admits(*source, Duration::ZERO), Ok(())));
        drop(looked_at);
        for (one, other) in [("2001:db8::1", "2001:db8::ffff:1"), ("192.0.2.1", "::ffff:192.0.2.1")] {
            assert!(std::ptr::eq(of(ip(one)), of(ip(other))), "{one} and {other} are one source");
        }
    }
}
