//! The better of two random members (Mitzenmacher 2001), by what a request there would cost: peak EWMA of latency, times the requests that would be in
//! flight, by weight.
//!
//! Both are drawn by weight, so that a heavy member is seen as often as its part of the load wants. Workers need not know of each other: chance keeps them
//! from all running to the same member.

use outwork_engine::Rng;

use crate::attempt::Attempt;
use crate::breaker::Resource;
use crate::lease::Lease;
use crate::pool::Slot;

/// Draws that are made before everybody is looked at.
const DRAWS: usize = 8;
/// Nanoseconds that a member is taken to need which has requests in flight and has never answered: it gets its first one at once, and no heap of them.
const UNKNOWN: f32 = 1e9;

/// Draws members, each as often as its weight says.
#[derive(Debug)]
pub(crate) enum Choices {
    /// All weigh the same.
    Even,
    /// The alias method (Vose 1991): by place, the part of draws that stay there, and the place where the others go.
    Alias(Vec<(f32, u32)>),
}

impl Choices {
    pub(crate) fn new(attempt: &Attempt<'_>, members: &[u32]) -> Choices {
        // Slow starts grow while a plan stays: they count where costs are compared, which is enough.
        let weight = |index: &u32| attempt.pool.slots().get(*index as usize).map_or(1, |slot| slot.settings().weight);
        let weights: Vec<u32> = members.iter().map(weight).collect();
        match weights.array_windows().all(|[a, b]| a == b) {
            true => Choices::Even,
            false => Choices::Alias(aliases(&weights)),
        }
    }

    fn draw(&self, members: &[u32], rng: &mut Rng) -> Option<u32> {
        let place = rng.below(members.len() as u64) as usize;
        let place = match self {
            Choices::Even => place,
            Choices::Alias(aliases) => {
                let (stay, alias) = *aliases.get(place)?;
                if (rng.unit() as f32) < stay { place } else { alias as usize }
            }
        };
        members.get(place).copied()
    }

    pub(crate) fn choose(&self, attempt: &mut Attempt<'_>, members: &[u32], rng: &mut Rng) -> Option<Lease> {
        for _ in 0..DRAWS {
            let first = self.draw(members, rng)?;
            // One heavy member may be drawn again and again; then there is one choice.
            let second = (0..DRAWS).find_map(|_| self.draw(members, rng).filter(|second| *second != first));
            let mut cost = |index: u32| {
                let slot = attempt.admitted(index)?;
                Some((cost(attempt, index, slot), index))
            };
            let (first, second) = (cost(first), second.and_then(&mut cost));
            let best = match (first, second) {
                (Some(first), Some(second)) => {
                    if second.0 < first.0 {
                        second.1
                    } else {
                        first.1
                    }
                }
                (Some(only), None) | (None, Some(only)) => only.1,
                (None, None) => continue,
            };
            if let Some(lease) = attempt.take(best) {
                return Some(lease);
            }
        }
        None
    }
}

/// What a request there would cost; nanoseconds, but for the weight.
fn cost(attempt: &Attempt<'_>, index: u32, slot: &Slot) -> f32 {
    let in_flight = slot.member().gauge(Resource::Requests).now() as f32;
    let latency = slot.member().latency.nanos(attempt.now, attempt.pool.settings().latency_decay);
    let latency = latency.unwrap_or(if in_flight > 0.0 { UNKNOWN } else { 0.0 });
    latency * (in_flight + 1.0) / attempt.weight(index) as f32
}

/// The tables of the alias method.
fn aliases(weights: &[u32]) -> Vec<(f32, u32)> {
    let mean = weights.iter().map(|weight| f64::from(*weight)).sum::<f64>() / weights.len().max(1) as f64;
    let mut left: Vec<f64> = weights.iter().map(|weight| f64::from(*weight) / mean).collect();
    let mut table: Vec<(f32, u32)> = (0..weights.len() as u32).map(|place| (1.0, place)).collect();
    let (mut light, mut heavy): (Vec<usize>, Vec<usize>) =
        (0..left.len()).partition(|place| left.get(*place).is_some_and(|left| *left < 1.0));
    while let (Some(poor), Some(rich)) = (light.pop(), heavy.pop()) {
        let Some(part) = left.get(poor).copied() else { break };
        if let Some(entry) = table.get_mut(poor) {
            *entry = (part as f32, rich as u32);
        }
        let Some(rest) = left.get_mut(rich) else { break };
        *rest -= 1.0 - part;
        if *rest < 1.0 { light.push(rich) } else { heavy.push(rich) }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_drawn_as_often_as_their_weights_say() {
        let weights = [1, 10, 100, 1, 0, 3];
        let (choices, members) = (Choices::Alias(aliases(&weights)), [0, 1, 2, 3, 4, 5]);
        let (mut counts, mut rng) = ([0u32; 6], Rng::new(1));
        for _ in 0..1_150_000 {
            counts[choices.draw(&members, &mut rng).unwrap() as usize] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            assert!(count.abs_diff(weight * 10_000) < 500, "{counts:?}");
        }
    }
}
