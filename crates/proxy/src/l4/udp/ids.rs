//! Which session the packets of a QUIC connection belong to, by its connection ids.
//!
//! A server says in its handshake which id it wants to be addressed by, in clear; from then on its client's packets begin with that, wherever they come from. Ids
//! that it gives out later are encrypted, and unknown here: a client that moves on purpose takes one of those (RFC 9000 section 9.5), and is found
//! again by its address alone, where the pool's policy goes by that.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use outwork_wire::quic::{Header, LONGEST_ID};

/// Ids that one session is known by at most; an old one makes room for a new one.
const IDS: usize = 8;
/// Lengths that ids of a listener's backends have at most.
const LENGTHS: usize = 4;

/// A connection id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Id {
    length: u8,
    octets: [u8; LONGEST_ID],
}

impl Id {
    /// None where there is nothing to tell connections apart by.
    fn of(bytes: &[u8]) -> Option<Self> {
        let mut octets = [0; LONGEST_ID];
        octets.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { length: u8::try_from(bytes.len()).ok().filter(|length| *length > 0)?, octets })
    }
}

/// Sessions by the ids that their backends have chosen.
#[derive(Debug)]
pub(in crate::l4) struct Ids<S> {
    sessions: HashMap<Id, S, RandomState>,
    /// Those of each session, by its number.
    known: HashMap<u64, VecDeque<Id>, RandomState>,
    lengths: Vec<u8>,
}

impl<S> Default for Ids<S> {
    fn default() -> Self {
        Self { sessions: HashMap::default(), known: HashMap::default(), lengths: Vec::new() }
    }
}

impl<S: Clone> Ids<S> {
    /// Takes in what a backend says of itself in an answer to a session's client.
    pub(super) fn learn(&mut self, number: u64, session: &S, answer: &[u8]) {
        let Some(Header::Long { source, .. }) = Header::read(answer) else { return };
        let Some(id) = Id::of(source) else { return };
        if !self.lengths.contains(&id.length) {
            if self.lengths.len() >= LENGTHS {
                return;
            }
            self.lengths.push(id.length);
        }
        let known = self.known.entry(number).or_default();
        if known.contains(&id) {
            return;
        }
        if known.len() >= IDS
            && let Some(old) = known.pop_front()
        {
            self.sessions.remove(&old);
        }
        known.push_back(id);
        self.sessions.insert(id, session.clone());
    }

    /// The session of a client's datagram, where its id says that.
    pub(super) fn find(&self, datagram: &[u8]) -> Option<&S> {
        match Header::read(datagram)? {
            Header::Long { destination, .. } => self.sessions.get(&Id::of(destination)?),
            Header::Short { rest } => {
                self.lengths.iter().find_map(|length| self.sessions.get(&Id::of(rest.get(..usize::from(*length))?)?))
            }
        }
    }

    /// Whether a backend's answer says something that nobody knew.
    pub(super) fn is_news(answer: &[u8]) -> bool {
        matches!(Header::read(answer), Some(Header::Long { source, .. }) if !source.is_empty())
    }

    /// Forgets a session.
    pub(super) fn forget(&mut self, number: u64) {
        for id in self.known.remove(&number).into_iter().flatten() {
            self.sessions.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(destination: &[u8], source: &[u8]) -> Vec<u8> {
        let id = |id: &[u8]| [&[id.len() as u8][..], id].concat();
        [&[0xe0, 0, 0, 0, 1][..], &id(destination), &id(source), b"sealed"].concat()
    }

    #[test]
    fn a_session_is_found_by_the_ids_that_its_backend_has_chosen_and_by_no_others() {
        let mut ids = Ids::default();
        ids.learn(1, &"one", &long(b"client", b"server-1"));
        ids.learn(2, &"two", &long(b"client", b"2222"));
        assert_eq!(ids.find(&long(b"server-1", b"client")), Some(&"one"));
        assert_eq!(ids.find(b"\x40server-1sealed"), Some(&"one"));
        assert_eq!(ids.find(b"\x402222sealed"), Some(&"two"));
        assert_eq!(ids.find(b"\x40server-9sealed"), None);
        assert_eq!(ids.find(&long(b"client", b"")), None);
        ids.forget(1);
        assert_eq!(ids.find(b"\x40server-1sealed"), None);
        assert_eq!(ids.find(b"\x402222sealed"), Some(&"two"));
        assert!(ids.known.len() == 1 && ids.sessions.len() == 1);
    }

    #[test]
    fn what_a_backend_may_have_remembered_is_bounded() {
        let mut ids = Ids::default();
        for number in 0..100_u8 {
            ids.learn(1, &(), &long(b"", &[number; 8]));
        }
        assert_eq!((ids.sessions.len(), ids.known[&1].len()), (IDS, IDS));
        assert!(ids.find(&[&[0x40][..], &[99; 8]].concat()).is_some());
        for length in 1..=20 {
            ids.learn(2, &(), &long(b"", &vec![9; length]));
        }
        assert_eq!(ids.lengths.len(), LENGTHS);
        // Without an id there is nothing to go by.
        ids.learn(3, &(), &long(b"a", b""));
        assert!(!ids.known.contains_key(&3));
    }
}
