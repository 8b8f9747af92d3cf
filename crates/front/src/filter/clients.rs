//! Connections that one client has open on a listener.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;

use super::networks::client;

/// Locks that threads spread over. A power of two.
const SHARDS: usize = 16;

/// Counts of open connections by listener and client. There are never more of them than open connections.
#[derive(Debug, Default)]
pub struct Clients {
    shards: [Mutex<HashMap<Who, u32>>; SHARDS],
    hasher: RandomState,
}

type Who = (SocketAddr, u128);

/// A connection among those of its client; dropped, it has ended.
#[derive(Debug)]
pub struct Place {
    clients: Arc<Clients>,
    who: Who,
}

impl Clients {
    /// Another connection of `peer` on the listener at `local`; `None` where it has `limit` already.
    pub fn enter(self: &Arc<Self>, local: SocketAddr, peer: IpAddr, limit: u32) -> Option<Place> {
        let who = (local, client(peer));
        let mut shard = self.shard(&who)?.lock();
        let open = shard.entry(who).or_insert(0);
        if *open >= limit {
            return None;
        }
        *open += 1;
        drop(shard);
        Some(Place { clients: Arc::clone(self), who })
    }

    fn shard(&self, who: &Who) -> Option<&Mutex<HashMap<Who, u32>>> {
        self.shards.get(self.hasher.hash_one(who) as usize % SHARDS)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(shard) = self.clients.shard(&self.who) else { return };
        let mut shard = shard.lock();
        if let Some(open) = shard.get_mut(&self.who) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                shard.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_connections_on_each_listener_and_nothing_is_kept_of_who_has_none() {
        let clients = Arc::new(Clients::default());
        let (one, other) = (([127, 0, 0, 1], 80).into(), ([127, 0, 0, 1], 81).into());
        let enter = |local, peer: &str| clients.enter(local, peer.parse().unwrap(), 2);
        let places =
            [enter(one, "192.0.2.1"), enter(one, "192.0.2.1"), enter(other, "192.0.2.1"), enter(one, "192.0.2.2")];
        assert!(places.iter().all(Option::is_some) && enter(one, "192.0.2.1").is_none());
        let v6 = [enter(one, "2001:db8::1"), enter(one, "2001:db8::2")];
        assert!(v6.iter().all(Option::is_some) && enter(one, "2001:db8::3").is_none(), "a /64 is one client");
        drop((places, v6));
        assert!(clients.shards.iter().all(|shard| shard.lock().is_empty()));
    }
}
