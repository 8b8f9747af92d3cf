//! How what is known of paths becomes choices, and choices a table.

use std::sync::Arc;

use outwork_engine::Time;

use super::class::Class;
use super::damp::{Candidate, Fitness, Tier, Why};
use super::liveness::State;
use super::policy::{Lane, LaneId, Strategy};
use super::site::PathId;
use super::table::{Choice, Entry, Mode, Table};
use super::{Engine, Event, Path, Remote};

impl Engine {
    /// Decides anew for all sites of which something has changed.
    pub(super) fn settle(&mut self, now: Time) {
        for place in std::mem::take(&mut self.dirty) {
            self.decide(now, place);
            self.need(now, place);
        }
    }

    fn decide(&mut self, now: Time, place: u32) {
        let matcher = Arc::clone(&self.matcher);
        let Some(remote) = self.remotes.get_mut(place as usize) else { return };
        remote.dirty = false;
        let (site, entry, mut seats) = (remote.id, Arc::clone(&remote.entry), std::mem::take(&mut remote.seats));
        let widest = entry.paths.iter().filter_map(|id| Some(self.path(*id)?.spec.bandwidth)).max().unwrap_or(0);
        let mut choices = Vec::with_capacity(seats.len());
        let mut differs = entry.choices.len() != seats.len();
        for ((lane, seat), id) in matcher.lanes().iter().zip(&mut seats).zip(0..) {
            let old = entry.choices.get(usize::from(id));
            let mut order: Vec<Candidate> =
                entry.paths.iter().filter_map(|path| self.candidate(now, *path, lane)).collect();
            order.sort_by(Candidate::compare);
            if order.first().is_some_and(|best| best.fitness < Fitness::Last) {
                // As long as anything works, what does not is tried by nobody.
                order.iter_mut().filter(|one| one.fitness == Fitness::Last).for_each(|one| one.fitness = Fitness::Out);
            }
            let stays = order.iter().any(|one| Some(one.path) == seat.path() && one.fitness < Fitness::Last);
            if !stays {
                // Who has to go somewhere goes to what nobody doubts, if there is such a path.
                order.sort_by_key(|one| (one.fitness, self.is_suspect(one.path)));
            }
            if let Some((from, why)) = seat.choose(now, &order, &self.settings.damp) {
                self.kept += u64::from(why == Why::Last);
                if matches!(why, Why::Gone | Why::Limits | Why::Last) {
                    self.left.get_or_insert(now);
                }
                self.tell(Event::Switch { site, lane: LaneId(id), from, to: seat.path(), why });
            }
            order.sort_by_key(|one| Some(one.path) != seat.path());
            let mode = Mode::from(&lane.strategy);
            match mode {
                Mode::Duplicate | Mode::Fec { .. } => {
                    let before = old.and_then(|old| old.second(&entry.paths));
                    self.pair(&mut order, before);
                }
                // Backups and relays take no share while there are others.
                Mode::Weighted => spare(&mut order),
                Mode::First => {}
            }
            let slots = order.iter().filter_map(|one| {
                let place = entry.paths.iter().position(|path| *path == one.path)?;
                let bandwidth = self.path(one.path)?.spec.bandwidth;
                Some((place as u8, one.fitness, weight(bandwidth, widest)))
            });
            let choice = Choice::new(mode, slots);
            let kept = old.filter(|old| old.is_alike(&choice)).copied();
            differs |= kept.is_none();
            choices.push(kept.unwrap_or(choice));
        }
        let Some(remote) = self.remotes.get_mut(place as usize) else { return };
        remote.seats = seats;
        if differs {
            remote.entry = Arc::new(Entry { site, paths: entry.paths.clone(), choices: choices.into() });
            self.table_is_old = true;
        }
    }

    fn path(&self, id: PathId) -> Option<&Path> {
        self.paths.get(id.0 as usize)?.as_ref()
    }

    fn is_suspect(&self, id: PathId) -> bool {
        self.path(id).is_some_and(|path| path.liveness.state() == State::Suspect)
    }

    fn candidate(&mut self, now: Time, id: PathId, lane: &Lane) -> Option<Candidate> {
        let damp = self.settings.damp;
        let class = self.classes.get(usize::from(lane.class.0)).copied().unwrap_or(Class::BULK);
        let path = self.path_mut(id)?;
        let kept = path.verdicts.get(usize::from(lane.class.0)).is_none_or(|verdict| verdict.is_kept());
        let fitness = match path.liveness.state() {
            State::Trial if path.liveness.is_proven() => Fitness::Trial,
            // Of one on trial we hear them; whether they hear us, nobody has said.
            State::New | State::Down | State::Trial if path.liveness.is_tried() => Fitness::Last,
            State::New | State::Down | State::Trial => Fitness::Out,
            State::Up | State::Suspect if kept => Fitness::Good,
            State::Up | State::Suspect => Fitness::Poor,
        };
        let ordered = match &lane.strategy {
            Strategy::Ordered(uplinks) => {
                uplinks.iter().position(|uplink| *uplink == path.spec.key.own).unwrap_or(uplinks.len())
            }
            _ => 0,
        };
        let tier = Tier {
            flaps: path.flaps.is_suppressed(now, &damp),
            backup: path.spec.backup,
            relayed: path.spec.key.via.is_some(),
            place: ordered.min(255) as u8,
            metered: path.spec.metered,
        };
        let penalty = class.penalty(&path.quality.steady()) + path.spec.cost as f32;
        Some(Candidate { path: id, fitness, tier, penalty })
    }

    /// Puts behind the first path the one that fails least likely with it; of equal ones that of `before`.
    fn pair(&self, order: &mut Vec<Candidate>, before: Option<PathId>) {
        let Some(first) = order.first().and_then(|first| self.path(first.path)).map(|path| path.spec.key) else {
            return;
        };
        let shared = |one: &Candidate| {
            self.path(one.path)
                .map_or(3, |path| u8::from(path.spec.key.fails_with(&first)) + u8::from(path.spec.key.own == first.own))
        };
        let rest = order.iter().enumerate().skip(1).filter(|(_, one)| one.fitness < Fitness::Out);
        let best = rest.min_by_key(|(index, one)| (shared(one), one.fitness, Some(one.path) != before, *index));
        if let Some(index) = best.map(|(index, _)| index) {
            let second = order.remove(index);
            order.insert(1, second);
        }
    }

    /// Says which paths of a site must be watched closely: those that carry, and one to go to.
    fn need(&mut self, now: Time, place: u32) {
        let Some(remote) = self.remotes.get(place as usize) else { return };
        let mut needed: Vec<PathId> = vec![];
        if remote.needed {
            let entry = &remote.entry;
            needed.extend(entry.choices.iter().flat_map(|choice| choice.carrying(&entry.paths)));
            let quiet = self.settings.quiet;
            let busy = |path: &Path| path.busy.is_some_and(|busy| now.since(busy) < quiet);
            needed.extend(remote.paths.iter().filter(|id| self.path(**id).is_some_and(busy)));
            needed.sort_unstable();
            needed.dedup();
            let keys: Vec<_> = needed.iter().filter_map(|id| Some(self.path(*id)?.spec.key)).collect();
            let spare = remote.paths.iter().filter(|id| !needed.contains(id));
            let spare =
                spare.filter_map(|id| self.path(*id).filter(|path| path.liveness.is_up()).map(|path| (*id, path)));
            let apart = |path: &Path| keys.iter().filter(|key| path.spec.key.fails_with(key)).count();
            let hot = spare.min_by_key(|(id, path)| {
                (apart(path), path.spec.backup, path.spec.cost, !path.liveness.is_needed(), *id)
            });
            needed.extend(hot.map(|(id, _)| id));
        }
        for id in remote.paths.clone() {
            if let Some(path) = self.path_mut(id) {
                path.liveness.need(needed.contains(&id), now);
            }
            self.wait_for(id);
        }
    }

    pub(super) fn make_table(&mut self) -> Arc<Table> {
        self.epoch += 1;
        let entries = self.remotes.iter().map(|remote| Arc::clone(&remote.entry)).collect();
        Arc::new(Table::new(self.epoch, Arc::clone(&self.matcher), Arc::clone(&self.routes), entries))
    }

    /// Whether new flows of any lane take a path: as the first, as one of many, or as the second of what goes by two.
    pub fn carries(&self, id: PathId) -> bool {
        let remote = self.path(id).and_then(|path| self.remotes.get(path.site as usize));
        remote.is_some_and(|Remote { entry, .. }| {
            entry.choices.iter().any(|choice| choice.carrying(&entry.paths).any(|one| one == id))
        })
    }
}

/// Leaves shares to the paths of the first one's kind.
fn spare(order: &mut [Candidate]) {
    let Some(first) = order.first().copied() else { return };
    let kind = |tier: &Tier| (tier.flaps, tier.backup, tier.relayed);
    for one in order.iter_mut().filter(|one| kind(&one.tier) > kind(&first.tier) && one.fitness == Fitness::Good) {
        one.fitness = Fitness::Poor;
    }
    order[1..].sort_by_key(|one| one.fitness);
}

/// A share of 255 as wide as the path; the middle when nobody has said how wide that is.
fn weight(bandwidth: u64, widest: u64) -> u8 {
    match (bandwidth, widest) {
        (0, _) | (_, 0) => 128,
        (bandwidth, widest) => ((u128::from(bandwidth) * 255 / u128::from(widest)) as u8).max(1),
    }
}
