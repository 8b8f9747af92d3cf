//! What was measured of a path of late, for who counts. Control writes it, whoever asks reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::engine::liveness::State;
use crate::engine::quality::Figures;

/// All states, by their place.
pub const STATES: [State; 5] = [State::New, State::Down, State::Trial, State::Up, State::Suspect];

/// What was measured of a path to another site.
#[derive(Debug)]
pub struct Gauge {
    /// The site that it leads to.
    pub site: Box<str>,
    /// By which uplink it leaves us.
    pub own: Box<str>,
    /// By which it reaches them.
    pub remote: Box<str>,
    /// The hub that passes it on; empty where none does.
    pub via: Box<str>,
    /// The place among [`STATES`].
    state: AtomicU8,
    /// In nanoseconds.
    latency: AtomicU64,
    /// As above.
    jitter: AtomicU64,
    /// The bits of the number.
    loss: AtomicU64,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Gauge {
    /// Of the path to `site` from our uplink `own` to their uplink `remote`, of which nothing is known yet.
    pub fn new(site: &str, own: &str, remote: &str) -> Gauge {
        Gauge {
            site: site.into(),
            own: own.into(),
            remote: remote.into(),
            via: Box::default(),
            state: AtomicU8::new(0),
            latency: AtomicU64::new(0),
            jitter: AtomicU64::new(0),
            loss: AtomicU64::new(0),
        }
    }

    /// The same, by a hub.
    #[must_use]
    pub fn by(self, hub: Option<&str>) -> Gauge {
        Gauge { via: hub.unwrap_or_default().into(), ..self }
    }

    /// What the path is taken for from now on.
    pub fn set_state(&self, state: State) {
        let place = STATES.iter().zip(0..).find(|(one, _)| **one == state).map_or(0, |(_, place)| place);
        self.state.store(place, Relaxed);
    }

    /// What was measured now.
    pub fn set_figures(&self, figures: &Figures) {
        self.latency.store(nanos(figures.latency), Relaxed);
        self.jitter.store(nanos(figures.jitter), Relaxed);
        self.loss.store(figures.loss.to_bits(), Relaxed);
    }

    /// What the path is taken for.
    pub fn state(&self) -> State {
        STATES.get(usize::from(self.state.load(Relaxed))).copied().unwrap_or(State::New)
    }

    /// What was measured last.
    pub fn figures(&self) -> Figures {
        Figures {
            latency: Duration::from_nanos(self.latency.load(Relaxed)),
            jitter: Duration::from_nanos(self.jitter.load(Relaxed)),
            loss: f64::from_bits(self.loss.load(Relaxed)),
        }
    }
}

/// What the sites are called to which there are paths and none works, by name.
pub fn cut_off(gauges: &[Arc<Gauge>]) -> Vec<String> {
    let mut works = BTreeMap::new();
    for gauge in gauges {
        let is_heard = matches!(gauge.state(), State::Trial | State::Up | State::Suspect);
        *works.entry(&*gauge.site).or_insert(false) |= is_heard;
    }
    works.into_iter().filter(|(_, works)| !works).map(|(site, _)| site.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_cut_off_where_none_of_its_paths_works() {
        let gauge = |site, state| {
            let gauge = Gauge::new(site, "fibre", "dsl");
            gauge.set_state(state);
            Arc::new(gauge)
        };
        let gauges = [
            gauge("south", State::Down),
            gauge("north", State::Down),
            gauge("north", State::Suspect),
            gauge("south", State::New),
            gauge("east", State::Down),
        ];
        assert_eq!(cut_off(&gauges), ["east", "south"]);
        assert!(cut_off(&[]).is_empty());
    }

    #[test]
    fn a_gauge_says_what_it_was_told_last_and_begins_as_a_path_that_was_never_heard_of() {
        let gauge = Gauge::new("north", "fibre", "dsl");
        assert_eq!((gauge.state(), gauge.figures().latency), (State::New, Duration::ZERO));
        for state in STATES {
            gauge.set_state(state);
            assert_eq!(gauge.state(), state);
        }
        let (latency, jitter) = (Duration::from_micros(12_345), Duration::from_nanos(67));
        gauge.set_figures(&Figures { latency, jitter, loss: 0.25 });
        let told = gauge.figures();
        assert_eq!((told.latency, told.jitter, told.loss), (latency, jitter, 0.25));
    }
}
