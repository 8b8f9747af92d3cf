//! How silence is judged: what has been handed in, what other paths say of the other end, and which of them may have failed as well.

use std::time::Duration;

use outwork_engine::Time;

use super::liveness::{Change, Silence, State};
use super::site::{self, PathId};
use super::{Engine, Event, Output, Path};

impl Engine {
    /// A hello came by a path: the other end is at work, and what it has said by others before is due by now.
    pub(super) fn witness(&mut self, now: Time, by: PathId, late: u8) {
        let settings = self.settings.liveness;
        let Some((site, ahead)) = self.path_mut(by).map(|path| (path.site, path.quality.rtt() / 2)) else { return };
        for place in 0..site::PATHS_A_SITE {
            let Some(id) = self.remotes.get(site as usize).and_then(|remote| remote.paths.get(place)).copied() else {
                return;
            };
            let suspect = |path: &&mut Path| path.liveness.state() == State::Suspect;
            if let Some(path) = self.path_mut(id).filter(|_| id != by).filter(suspect) {
                let measured = path.measured();
                // What it says before a question can have come is no sign that it would have answered. Where the way is long, no more than a period is waited for.
                let asked = (measured.round_trip / 2 + ahead + settings.fast / 4).min(settings.fast);
                let behind = (measured.round_trip / 2).saturating_sub(ahead) + measured.widen(&settings);
                // Who was late of late may be so again, between one path and the next.
                let late = Duration::from_millis(u64::from(late));
                if path.liveness.witness(now, asked, now + behind + settings.fast / 4 + late) {
                    self.wait_for(id);
                }
            }
        }
    }

    /// Everything that came until some time was handed in.
    pub(super) fn looked(&mut self, now: Time, until: Time) {
        self.looked = self.looked.max(until);
        self.looks = false;
        self.tell_silences(now, until);
        for id in std::mem::take(&mut self.waiting) {
            if let Some(path) = self.path_mut(id) {
                path.liveness.looked();
                let change = self.judge(now, id);
                self.changed(now, id, change);
            }
        }
    }

    /// What silence on a path has come to.
    pub(super) fn judge(&mut self, now: Time, id: PathId) -> Option<Change> {
        let (settings, looked) = (self.settings.liveness, self.looked);
        let path = self.path_mut(id)?;
        match path.liveness.silence(now, looked, path.measured(), &settings)? {
            Silence::Turns(change) => Some(change),
            Silence::Look => {
                self.waiting.push(id);
                self.look();
                None
            }
        }
    }

    /// Has everything that has come handed in.
    pub(super) fn look(&mut self) {
        if !std::mem::replace(&mut self.looks, true) {
            self.outputs.push_back(Output::Look);
        }
    }

    /// How late this engine is called: the latest of late, by half less with each second.
    pub(super) fn lateness(&self, now: Time) -> Duration {
        let (late, at) = self.late;
        late.mul_f64((-now.since(at).as_secs_f64()).exp2())
    }

    /// A path that carries traffic is silent: others of its site that are watched from afar are asked whether the other end is at work.
    pub(super) fn inquire(&mut self, now: Time, silent: PathId, site: u32) {
        let settings = self.settings.liveness;
        if !self.path_mut(silent).is_some_and(|path| path.liveness.is_needed()) {
            return;
        }
        let Some(others) = self.remotes.get(site as usize).map(|remote| remote.paths.clone()) else { return };
        for id in others.into_iter().filter(|id| *id != silent) {
            if let Some(path) = self.path_mut(id) {
                path.liveness.inquire(now, &settings);
                self.wait_for(id);
            }
        }
    }

    /// What may have failed with a path and is watched from afar would be found dead only by traffic that goes there: it is asked, and taken after others.
    pub(super) fn doubt_others(&mut self, now: Time, failed: PathId, site: u32) {
        let settings = self.settings.liveness;
        let Some(key) = self.path_mut(failed).map(|path| path.spec.key) else { return };
        let Some(others) = self.remotes.get(site as usize).map(|remote| remote.paths.clone()) else { return };
        for id in others.into_iter().filter(|id| *id != failed) {
            let path = self.path_mut(id).filter(|path| path.spec.key.fails_with(&key));
            if let Some(change) = path.and_then(|path| path.liveness.doubt(now, &settings)) {
                self.tell(Event::Path { path: id, change });
                self.wait_for(id);
            }
        }
    }
}
