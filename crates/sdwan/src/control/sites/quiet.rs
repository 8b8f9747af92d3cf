//! What a site tells another of silence: for how long nothing has come by a path, said by that path and by others.
//!
//! The first octet is 0, as that of hellos. Numbers are big-endian. Who does not know the kind counts it as something that it does not understand, and waits for timers.

use std::time::Duration;

use outwork_engine::Time;

use super::Sites;
use crate::engine::site::PathId;
use crate::engine::{Input, Silence};
use crate::plane::relay::{PLACE, Place};

/// Octets of it.
const LENGTH: usize = 8 + 2 * PLACE;

const KIND: u8 = 35;
/// It is of another path than the one it comes by.
const ANOTHER: u8 = 1;

/// Of which path nothing has come, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quiet {
    /// The uplinks of another path than the one it comes by: its sender's, and that of who gets it.
    pub(super) of: Option<(Place, Place)>,
    /// For how long, in milliseconds on the way.
    pub(super) silence: Silence,
}

impl Quiet {
    /// As octets. Fractions of a millisecond are cut off from the silence, and make the lateness a whole one.
    pub(super) fn encode(&self) -> [u8; LENGTH] {
        let lasts = u16::try_from(self.silence.lasts.as_millis()).unwrap_or(u16::MAX).to_be_bytes();
        let late = u8::try_from(self.silence.late.as_micros().div_ceil(1000)).unwrap_or(u8::MAX);
        let mut octets = [0; LENGTH];
        let (from, to) = self.of.map_or(([0; PLACE], [0; PLACE]), |(from, to)| (from.octets(), to.octets()));
        let flags = if self.of.is_some() { ANOTHER } else { 0 };
        let fields: [&[u8]; 5] = [&[0, KIND, flags, late], &lasts, &[0, 0], &from, &to];
        octets.iter_mut().zip(fields.into_iter().flatten()).for_each(|(slot, octet)| *slot = *octet);
        octets
    }

    /// From octets, and maybe padding; none when they are something else, or cut short.
    pub(super) fn decode(octets: &[u8]) -> Option<Quiet> {
        let ([0, KIND, flags, late, l0, l1, _, _], places) = octets.split_first_chunk::<8>()? else { return None };
        let (from, to) = (Place::read(places.get(..PLACE)?)?, Place::read(places.get(PLACE..)?)?);
        let millis = |millis: u16| Duration::from_millis(u64::from(millis));
        let silence = Silence { lasts: millis(u16::from_be_bytes([*l0, *l1])), late: millis(u16::from(*late)) };
        Some(Quiet { of: (flags & ANOTHER != 0).then_some((from, to)), silence })
    }
}

impl Sites {
    /// The other end says for how long nothing has come by a path, maybe another one than it says so by.
    pub(super) fn hear_of_silence(&mut self, now: Time, by: PathId, quiet: &Quiet) {
        let of = match quiet.of {
            None => Some(by),
            Some((theirs, ours)) => self.index.reaching(&theirs).iter().copied().find(|id| {
                let path = self.paths.get(id);
                path.is_some_and(|path| self.own.get(&path.tunnel.uplink) == Some(&ours))
            }),
        };
        if let Some(of) = of {
            self.feed(now, by);
            self.feed(now, of);
            self.engine.handle_input(now, Input::Silent { by, of, silence: quiet.silence });
        }
    }

    /// How the other end is told of silence; none where a path has no name that both ends know, as those by hubs have none.
    pub(super) fn quiet(&self, by: PathId, of: PathId, silence: Silence) -> Option<Quiet> {
        if by == of {
            return Some(Quiet { of: None, silence });
        }
        let path = self.paths.get(&of).filter(|path| path.key.via.is_none())?;
        let (own, remote) = (self.own.get(&path.tunnel.uplink)?, self.plan.remote.get(&path.key.remote)?);
        Some(Quiet { of: Some((*own, remote.place())), silence })
    }
}

#[cfg(test)]
mod tests {
    use outwork_engine::sim;
    use outwork_wireguard::PublicKey;

    use super::*;
    use crate::control::seen::Word;
    use crate::engine::hello::Hello;
    use crate::engine::mtu::Probe;
    use crate::plane::frame::Frame;
    use crate::plane::relay::Passage;

    #[test]
    fn what_is_said_of_silence_survives_its_way_and_half_of_it_is_none() {
        sim::seeds(200, |rng| {
            let mut place = || Place::of(&PublicKey([rng.next_u32() as u8; 32]));
            let places = (place(), place());
            let of = rng.chance(0.5).then_some(places);
            let millis = |millis: u32| Duration::from_millis(millis.into());
            let silence = Silence { lasts: millis(rng.below(70_000) as u32), late: millis(rng.below(300) as u32) };
            let mut octets = Quiet { of, silence }.encode().to_vec();
            assert!((0..octets.len()).all(|length| Quiet::decode(&octets[..length]).is_none()));
            octets.extend([0; 9]);
            let (lasts, late) = (silence.lasts.min(millis(65_535)), silence.late.min(millis(255)));
            assert_eq!(Quiet::decode(&octets), Some(Quiet { of, silence: Silence { lasts, late } }));
            assert!(Hello::decode(&octets).is_none() && Probe::decode(&octets).is_none());
            assert!(Word::decode(&octets).is_none() && Passage::decode(&octets).is_none());
            assert!(Frame::decode(&octets).is_none());
            let mut noise = vec![0; rng.below(64) as usize];
            rng.fill(&mut noise);
            let _ = Quiet::decode(&noise);
        });
    }
}
