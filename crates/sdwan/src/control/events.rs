//! What has happened lately, so that what matters is not forgotten for what does not.

use std::collections::VecDeque;
use std::time::Duration;

use outwork_engine::Time;

use crate::engine::Event;
use crate::engine::liveness::{Change, State};

/// Events that are remembered.
const EVENTS: usize = 1024;
/// Doubts of a path that are no further apart are one event.
const ROW: Duration = Duration::from_secs(600);

/// Something that has happened, and when.
#[derive(Debug, Clone)]
pub struct Happened {
    /// Counts them.
    pub number: u64,
    /// When; the last time, where it is of several in a row.
    pub at: Time,
    /// What.
    pub event: Event,
    /// Of a switch, the class of the traffic, and how its paths are chosen: lanes are others after a reload.
    pub lane: Option<(String, String)>,
    /// How often in a row: doubts of a path that came to nothing are one event.
    pub count: u32,
    /// When it was the first time.
    pub since: Time,
}

/// Events, the oldest first.
#[derive(Debug, Default)]
pub struct Events {
    kept: VecDeque<Happened>,
    number: u64,
}

/// Whether a change is a doubt, or the end of one that came to nothing.
fn is_doubt(change: &Change) -> Option<bool> {
    match (change.from, change.to) {
        (State::Up, State::Suspect) => Some(true),
        (State::Suspect, State::Up) => Some(false),
        _ => None,
    }
}

impl Events {
    /// One more; the oldest goes where there are too many.
    pub fn add(&mut self, now: Time, event: Event, lane: Option<(String, String)>) {
        if self.is_folded(now, &event) {
            return;
        }
        if self.kept.len() == EVENTS {
            self.kept.pop_front();
        }
        self.number += 1;
        self.kept.push_back(Happened { number: self.number, at: now, event, lane, count: 1, since: now });
    }

    /// They.
    pub fn iter(&self) -> impl Iterator<Item = &Happened> {
        self.kept.iter()
    }

    /// Whether something is but one more doubt of a path, or the end of one, and was added to the doubts before.
    fn is_folded(&mut self, now: Time, event: &Event) -> bool {
        let Event::Path { path, change } = event else { return false };
        let Some(begins) = is_doubt(change) else { return false };
        let of_path = |other: &&mut Happened| matches!(other.event, Event::Path { path: of, .. } if of == *path);
        // Whatever else has happened to the path since ends the row.
        let Some(last) = self.kept.iter_mut().rev().find(of_path) else { return false };
        let Event::Path { change: before, .. } = &last.event else { return false };
        if is_doubt(before) != Some(true) || begins && now.since(last.at) > ROW {
            return false;
        }
        if begins {
            last.count = last.count.saturating_add(1);
            last.at = now;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::damp::Why;
    use crate::engine::liveness::Cause;
    use crate::engine::policy::LaneId;
    use crate::engine::site::{PathId, SiteId};

    fn path(path: u32, from: State, to: State) -> Event {
        let cause = (to == State::Down).then_some(Cause::Silence);
        Event::Path { path: PathId(path), change: Change { from, to, cause } }
    }

    fn doubt(events: &mut Events, secs: u64, of: u32) {
        events.add(Time::from_secs(secs), path(of, State::Up, State::Suspect), None);
        events.add(Time::from_secs(secs), path(of, State::Suspect, State::Up), None);
    }

    #[test]
    fn doubts_that_came_to_nothing_are_one_event_that_says_how_many_and_since_when() {
        let mut events = Events::default();
        let to = Some(PathId(2));
        let switch = Event::Switch { site: SiteId(1), lane: LaneId(0), from: None, to, why: Why::First };
        events.add(Time::from_secs(1), switch, None);
        for secs in 2..5000 {
            doubt(&mut events, secs, 1);
            doubt(&mut events, secs, 2);
        }
        let told = |one: &Happened| (one.number, one.count, one.since, one.at);
        let (first, last) = (Time::from_secs(2), Time::from_secs(4999));
        let expected = [(1, 1, Time::from_secs(1), Time::from_secs(1)), (2, 4998, first, last), (3, 4998, first, last)];
        assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_doubt_that_came_to_something_or_that_is_of_another_day_is_told_by_itself() {
        let mut events = Events::default();
        doubt(&mut events, 10, 1);
        events.add(Time::from_secs(20), path(1, State::Up, State::Suspect), None);
        events.add(Time::from_secs(21), path(1, State::Suspect, State::Down), None);
        events.add(Time::from_secs(22), path(1, State::Down, State::Trial), None);
        events.add(Time::from_secs(30), path(1, State::Trial, State::Up), None);
        doubt(&mut events, 40, 1);
        doubt(&mut events, 10_000, 1);
        let told = |one: &Happened| match one.event {
            Event::Path { change, .. } => (change.to, one.count),
            Event::Mtu { .. } | Event::Switch { .. } => panic!("{one:?}"),
        };
        let expected = [
            (State::Suspect, 2),
            (State::Down, 1),
            (State::Trial, 1),
            (State::Up, 1),
            (State::Suspect, 1),
            (State::Suspect, 1),
        ];
        assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_oldest_events_go_and_numbers_go_on() {
        let mut events = Events::default();
        let switch = Event::Switch { site: SiteId(1), lane: LaneId(0), from: None, to: None, why: Why::NoneLeft };
        (0..2000).for_each(|secs| events.add(Time::from_secs(secs), switch, None));
        assert_eq!((events.iter().count(), events.iter().last().map(|one| one.number)), (EVENTS, Some(2000)));
    }
}
