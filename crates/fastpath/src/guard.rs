//! How much may come of one source: what the engine, the programs in the kernel (bpf/decide.h) and sockets have in common.

use std::net::IpAddr;
use std::time::Duration;

use crate::layout::Address;
use crate::settings::Rate;
use crate::tables::BoundedMap;

/// Whether one more is within a rate: `paid` is when all before it are paid off (the generic cell rate algorithm, ITU-T I.371).
pub(crate) fn admit(paid: &mut u64, now: u64, interval: u64, tolerance: u64) -> bool {
    let from = (*paid).max(now);
    let admitted = from - now <= tolerance;
    if admitted {
        *paid = from.wrapping_add(interval);
    }
    admitted
}

/// Who is counted as one source on IPv6: a client changes addresses within its /64 as it likes (RFC 8981).
pub(crate) fn network(mut address: Address) -> Address {
    address.0.iter_mut().skip(8).for_each(|octet| *octet = 0);
    address
}

/// Whether one more of this source is within its rate, which is said by what one costs and what may be owed.
pub(crate) fn admit_source(
    sources: &mut BoundedMap<Address, u64>,
    source: Address,
    (interval, tolerance): (u64, u64),
    now: u64,
) -> bool {
    match sources.get_mut(&source) {
        Some(paid) => admit(paid, now, interval, tolerance),
        None => {
            sources.insert(source, now.wrapping_add(interval));
            true
        }
    }
}

/// When what came of each source is paid off, for those who are served by sockets.
#[derive(Debug)]
pub struct Sources(BoundedMap<Address, u64>);

impl Sources {
    /// For so many sources at once; who was not heard for the longest makes room.
    pub fn new(most: u32) -> Sources {
        Sources(BoundedMap::new(most as usize))
    }

    /// Of `count` that come at once from this source, how many are within the rate. `now` is since whenever, as long as it goes on.
    pub fn admitted(&mut self, source: IpAddr, count: usize, rate: Rate, now: Duration) -> usize {
        let source = source.to_canonical();
        let key = if source.is_ipv6() { network(Address::from(source)) } else { Address::from(source) };
        let (cost, now) = (rate.nanos(), u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        (0..count).take_while(|_| admit_source(&mut self.0, key, cost, now)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_may_send_a_burst_and_then_so_many_a_second() {
        let (mut sources, rate) = (Sources::new(64), Rate { per_second: 10, burst: 3 });
        let mut admitted =
            |source: &str, count, at| sources.admitted(source.parse().unwrap(), count, rate, Duration::from_millis(at));
        assert_eq!((admitted("192.0.2.1", 9, 1000), admitted("192.0.2.1", 1, 1050)), (3, 0));
        assert_eq!((admitted("192.0.2.1", 9, 1100), admitted("192.0.2.2", 2, 1100)), (1, 2), "each has its own");
        assert_eq!(admitted("::ffff:192.0.2.1", 1, 1100), 0, "an address is one, however it is written");
        assert_eq!((admitted("2001:db8::1", 2, 1100), admitted("2001:db8::ffff:2", 2, 1100)), (2, 1), "a /64 is one");
        assert_eq!(admitted("2001:db8:0:1::1", 1, 1100), 1);
    }

    #[test]
    fn there_are_never_more_sources_than_their_table_holds() {
        let (mut sources, rate) = (Sources::new(2), Rate { per_second: 1, burst: 1 });
        for last in 1..=9_u8 {
            assert_eq!(sources.admitted(IpAddr::from([192, 0, 2, last]), 1, rate, Duration::ZERO), 1);
        }
        assert_eq!((sources.0.len(), sources.0.forgotten()), (2, 7));
    }
}
