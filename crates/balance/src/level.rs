//! Which level and zone gets how much, by how many of it are usable; and who stands for election there.
//!
//! The arithmetic is that of Envoy's priority levels: a level takes the part of the load that the usable part of it, times the overprovisioning factor,
//! can take; the next one takes what is left. Where all together cannot take everything, the load is spread in proportion, and a level of which
//! less is usable than the panic threshold ignores health: a few members under everybody's load would soon be none.

use outwork_engine::Time;

use crate::member::Standing;
use crate::pool::{Pool, Slot};

/// Shares are in parts of this.
pub(crate) const WHOLE: u32 = 10_000;

/// Who may be chosen, as of one moment. It is made again when the ledger's version moves, or time does past `until`.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// As the pool's ranks.
    pub(crate) levels: Vec<Level>,
    pub(crate) made: Time,
    /// When what was found here may be different without anybody saying so: an ejection ends, or a draining.
    pub(crate) until: Time,
}

#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) share: u32,
    /// Health is ignored.
    pub(crate) panicking: bool,
    /// As the rank's cohorts.
    pub(crate) groups: Vec<Group>,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) share: u32,
    /// Indices of slots.
    pub(crate) members: Vec<u32>,
}

/// How many of some members are usable, of how many that might be.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    usable: usize,
    total: usize,
}

impl Tally {
    fn sum(tallies: &[Tally]) -> Tally {
        let sum = |one: fn(&Tally) -> usize| tallies.iter().map(one).sum();
        Tally { usable: sum(|tally| tally.usable), total: sum(|tally| tally.total) }
    }

    fn is_below(&self, percent: u32) -> bool {
        self.total > 0 && self.usable * 100 < self.total * percent as usize
    }
}

impl Plan {
    pub(crate) fn new(pool: &Pool, now: Time) -> Plan {
        let mut until = Time::MAX;
        let tallies: Vec<Vec<Tally>> = pool
            .ranks()
            .iter()
            .map(|rank| rank.cohorts().iter().map(|cohort| tally(pool, cohort.slots(), now, &mut until)).collect())
            .collect();
        let settings = pool.settings();
        let levels: Vec<Tally> = tallies.iter().map(|cohorts| Tally::sum(cohorts)).collect();
        let (mut shares, enough) = spread(&levels, settings.overprovisioning);
        let panics = |level: &Tally| !enough && level.is_below(settings.panic_threshold);
        if levels.iter().all(|level| level.total == 0 || panics(level)) {
            shares = proportion(&levels.iter().map(|level| level.total as u64).collect::<Vec<_>>());
        }
        let levels =
            pool.ranks().iter().zip(&tallies).zip(levels).zip(shares).map(|(((rank, tallies), level), share)| {
                let panicking = panics(&level);
                let shares = match panicking {
                    true => proportion(&tallies.iter().map(|tally| tally.total as u64).collect::<Vec<_>>()),
                    false => spread(tallies, settings.overprovisioning).0,
                };
                let groups = rank.cohorts().iter().zip(shares).map(|(cohort, share)| {
                    let stands = |index: &u32| {
                        pool.slots().get(*index as usize).is_some_and(|slot| match standing(pool, slot, now) {
                            Standing::Usable => true,
                            Standing::Unhealthy | Standing::Ejected => panicking,
                            Standing::Draining | Standing::Drained => false,
                        })
                    };
                    Group { share, members: cohort.slots().iter().copied().filter(stands).collect() }
                });
                Level { share, panicking, groups: groups.collect() }
            });
        Plan { levels: levels.collect(), made: now, until }
    }
}

fn standing(pool: &Pool, slot: &Slot, now: Time) -> Standing {
    slot.standing(now, pool.settings().trust_unknown)
}

fn tally(pool: &Pool, indices: &[u32], now: Time, until: &mut Time) -> Tally {
    let mut tally = Tally::default();
    for slot in indices.iter().filter_map(|index| pool.slots().get(*index as usize)) {
        let ejected_until = slot.member().ejected_until();
        if now < ejected_until {
            *until = (*until).min(ejected_until);
        }
        match standing(pool, slot, now) {
            Standing::Usable => (tally.usable, tally.total) = (tally.usable + 1, tally.total + 1),
            Standing::Unhealthy | Standing::Ejected => tally.total += 1,
            // They are on their way out: what remains is not weaker for it.
            Standing::Draining | Standing::Drained => {}
        }
    }
    tally
}

/// The share of each, first things first, and whether all together can take everything. Shares add up to [`WHOLE`], or are all 0 when nothing is usable.
fn spread(tallies: &[Tally], overprovisioning: u32) -> (Vec<u32>, bool) {
    // Below 100 a level in which nobody fails could not take its own load.
    let factor = u64::from(overprovisioning.max(100));
    let score = |tally: &Tally| {
        let part = tally.usable as u64 * factor * u64::from(WHOLE / 100);
        part.checked_div(tally.total as u64).unwrap_or(0).min(u64::from(WHOLE))
    };
    let scores: Vec<u64> = tallies.iter().map(score).collect();
    if scores.iter().sum::<u64>() < u64::from(WHOLE) {
        return (proportion(&scores), false);
    }
    let mut left = WHOLE;
    let shares = scores.into_iter().map(|score| {
        let share = left.min(score as u32);
        left -= share;
        share
    });
    (shares.collect(), true)
}

/// Shares in proportion to `parts`. What rounding leaves goes to the first that has a part.
fn proportion(parts: &[u64]) -> Vec<u32> {
    let sum: u64 = parts.iter().sum();
    let share = |part: &u64| (part * u64::from(WHOLE)).checked_div(sum).unwrap_or(0) as u32;
    let mut shares: Vec<u32> = parts.iter().map(share).collect();
    let left = WHOLE - shares.iter().sum::<u32>();
    if let Some((first, _)) = shares.iter_mut().zip(parts).find(|(_, part)| **part > 0) {
        *first += left;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percents(levels: &[(usize, usize)]) -> (Vec<u32>, bool) {
        let tallies: Vec<_> = levels.iter().map(|&(usable, total)| Tally { usable, total }).collect();
        let (shares, enough) = spread(&tallies, 140);
        (shares.iter().map(|share| share / 100).collect(), enough)
    }

    #[test]
    fn load_moves_to_the_next_level_as_a_level_fails() {
        // The table of Envoy's documentation for two levels.
        for (healthy, first, second) in
            [(100, 100, 0), (72, 100, 0), (71, 99, 0), (50, 70, 30), (25, 35, 65), (0, 0, 100)]
        {
            let (shares, enough) = percents(&[(healthy, 100), (100, 100)]);
            assert!(enough);
            assert!(shares[0] == first && shares[1] >= second, "{healthy}: {shares:?}");
        }
        // And for three.
        assert_eq!(percents(&[(25, 100), (25, 100), (100, 100)]).0, [35, 35, 30]);
    }

    #[test]
    fn a_level_in_which_nobody_fails_takes_everything_whatever_the_factor() {
        let tally = Tally { usable: 3, total: 3 };
        assert_eq!(spread(&[tally, tally], 0), (vec![WHOLE, 0], true));
    }

    #[test]
    fn where_all_together_are_too_few_load_is_spread_in_proportion() {
        assert_eq!(percents(&[(20, 100), (20, 100)]), (vec![50, 50], false));
        assert!(!percents(&[(25, 100), (25, 100), (20, 100)]).1);
        assert_eq!(percents(&[(0, 3), (0, 5)]), (vec![0, 0], false));
        assert_eq!(percents(&[(0, 0), (1, 1)]), (vec![0, 100], true), "a level without members takes nothing");
        assert_eq!(percents(&[]), (vec![], false));
    }

    #[test]
    fn shares_add_up_whatever_rounding_does() {
        for parts in [[1, 1, 1], [0, 3, 4], [0, 0, 7], [65_535, 1, 1]] {
            let shares = proportion(&parts);
            assert_eq!(shares.iter().sum::<u32>(), WHOLE);
            assert!(shares.iter().zip(parts).all(|(share, part)| part > 0 || *share == 0), "{shares:?}");
        }
    }
}
