//! Who has come and has not said yet who it is: so many at once, and so many of them from one network. Where all rooms are taken, whoever has had one for longest leaves: a site needs
//! its room for a blink, and who keeps one for longer wants something else.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The rooms.
#[derive(Debug)]
pub(super) struct Rooms {
    most: usize,
    most_of_one: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    by: BTreeMap<u64, (IpAddr, Arc<Notify>)>,
    from: HashMap<IpAddr, usize>,
}

/// A room; dropped, it is free.
#[derive(Debug)]
pub(super) struct Room {
    number: u64,
    asked: Arc<Notify>,
    of: Arc<Rooms>,
}

/// Whose an address is: the machine's that has it, or, of version 6, that of the network of 64 bits that it is in (RFC 4291 section 2.5.1).
fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

impl Rooms {
    /// So many at once, and so many of one owner of addresses.
    pub(super) fn new(most: usize, most_of_one: usize) -> Arc<Rooms> {
        Arc::new(Rooms { most, most_of_one, taken: Mutex::default() })
    }

    /// A room for who comes from `address`; none where too many are from there already.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Room> {
        let (owner, asked) = (owner(address), Arc::new(Notify::new()));
        let taken = &mut *self.taken.lock();
        if taken.from.get(&owner).is_some_and(|count| *count >= self.most_of_one) {
            return None;
        }
        if taken.by.len() >= self.most
            && let Some((number, (_, asked))) = taken.by.first_key_value()
        {
            asked.notify_one();
            let number = *number;
            taken.leave(number);
        }
        taken.last += 1;
        taken.by.insert(taken.last, (owner, Arc::clone(&asked)));
        *taken.from.entry(owner).or_default() += 1;
        Some(Room { number: taken.last, asked, of: Arc::clone(self) })
    }

    #[cfg(test)]
    fn len(&self) -> (usize, usize) {
        let taken = self.taken.lock();
        (taken.by.len(), taken.from.values().sum())
    }
}

impl Taken {
    fn leave(&mut self, number: u64) {
        let Some((owner, _)) = self.by.remove(&number) else { return };
        if let Some(count) = self.from.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.from.remove(&owner);
            }
        }
    }
}

impl Room {
    /// Waits until somebody else is to have it.
    pub(super) async fn wanted(&self) {
        self.asked.notified().await;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.taken.lock().leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn is_wanted(room: &Room) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = room.wanted() => true,
                () = std::future::ready(()) => false,
            }
        })
    }

    #[test]
    fn one_address_has_its_share_of_rooms_and_a_network_of_version_6_no_more() {
        let rooms = Rooms::new(8, 2);
        for (own, other) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8:0:1::1")] {
            let both: Vec<_> = (0..2).map(|_| rooms.enter(at(own)).unwrap()).collect();
            assert!(rooms.enter(at(own)).is_none());
            assert!(rooms.enter(at(other)).is_some());
            drop(both);
            assert!(rooms.enter(at(own)).is_some());
        }
        let both: Vec<_> = ["2001:db8::1", "2001:db8::2"].map(|from| rooms.enter(at(from)).unwrap()).into();
        assert!(rooms.enter(at("2001:db8::3")).is_none(), "it is the same network");
        assert!(rooms.enter(at("::ffff:192.0.2.1")).is_some());
        drop(both);
        assert_eq!(rooms.len(), (0, 0));
    }

    #[test]
    fn where_all_rooms_are_taken_who_has_had_one_for_longest_leaves() {
        let rooms = Rooms::new(3, 3);
        let [first, second, _third] = [1, 2, 3].map(|host| rooms.enter(at(&format!("192.0.2.{host}"))).unwrap());
        assert!(!is_wanted(&first));
        let _fourth = rooms.enter(at("192.0.2.4")).unwrap();
        assert!(is_wanted(&first) && !is_wanted(&second));
        assert_eq!(rooms.len(), (3, 3));
        // That it goes then frees no room of somebody else.
        drop(first);
        assert_eq!(rooms.len(), (3, 3));
    }
}
