//! What ICMP says of datagrams of ours. Anybody can say it: it is heard when it quotes a datagram of a session that we have, sent to where that session's other
//! end is, and of each tunnel once until control has heard it. Even then it is not believed: it begins a look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use foldhash::fast::FixedState;
use outwork_net::carrier::{Failure, Reason};
use outwork_wire::octets::read;
use outwork_wireguard::Index;

use super::streams::lock;
use super::tunnel::{Once, Tunnel, TunnelId, UplinkIndex};

/// What becomes of it: the words for [`super::shared::Counters::icmp`].
pub const WORDS: [&str; 5] = ["heard", "pending", "stranger", "elsewhere", "other"];

/// What becomes of what ICMP says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// Control is to hear it.
    Heard,
    /// Control has yet to hear what was said of the same tunnel before.
    Pending,
    /// It quotes no datagram of a session of ours.
    Stranger,
    /// It quotes one that went somewhere else than the other end is.
    Elsewhere,
    /// It says something else than that the datagram is too long: hellos tell that better.
    Other,
}

impl Judged {
    /// Its place among [`WORDS`].
    pub fn place(self) -> usize {
        self as usize
    }
}

/// What datagrams of one session begin with: by which uplink of ours they leave, and what the other end calls the session.
type Mark = (UplinkIndex, Index);

#[derive(Debug, Default)]
struct Known {
    tunnels: HashMap<Mark, Arc<Tunnel>, FixedState>,
    marks: HashMap<TunnelId, Mark, FixedState>,
}

/// Whose datagrams are that are quoted. Locked by control when keys change, and by workers only when ICMP says something.
#[derive(Debug, Default)]
pub struct Quoted(Mutex<Known>);

impl Quoted {
    /// Datagrams of a tunnel are of this session from now on.
    pub fn set(&self, tunnel: &Arc<Tunnel>, session: Index) {
        self.forget(tunnel.id);
        let (mark, mut known) = ((tunnel.uplink, session), lock(&self.0));
        known.marks.insert(tunnel.id, mark);
        known.tunnels.insert(mark, Arc::clone(tunnel));
    }

    /// A tunnel has no keys any more.
    pub fn forget(&self, id: TunnelId) {
        let mut known = lock(&self.0);
        if let Some(mark) = known.marks.remove(&id)
            && known.tunnels.get(&mark).is_some_and(|tunnel| tunnel.id == id)
        {
            known.tunnels.remove(&mark);
        }
    }

    /// What becomes of what is said, and of which tunnel it is if control is to hear it.
    pub fn judge(&self, uplink: UplinkIndex, failure: &Failure<'_>) -> (Judged, Option<Arc<Tunnel>>) {
        // A datagram of a session: its kind, three octets of nothing, and the session (whitepaper section 5.4.6).
        let session = read(failure.quote, 4).map(u32::from_le_bytes).map(Index);
        let session = session.filter(|_| failure.quote.starts_with(&[4, 0, 0, 0]));
        let tunnel = session.and_then(|session| lock(&self.0).tunnels.get(&(uplink, session)).cloned());
        let Some(tunnel) = tunnel else { return (Judged::Stranger, None) };
        // Where this host refuses it itself, the port is not told.
        let is_there =
            |at: std::net::SocketAddr| at.ip() == failure.to.ip() && [0, at.port()].contains(&failure.to.port());
        if !tunnel.endpoint().is_some_and(is_there) {
            return (Judged::Elsewhere, None);
        }
        if failure.reason != Reason::TooLong {
            return (Judged::Other, None);
        }
        if tunnel.first(Once::Hint) { (Judged::Heard, Some(tunnel)) } else { (Judged::Pending, None) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::plane::tunnel::Owner;

    const UPLINK: UplinkIndex = UplinkIndex(3);

    fn tunnel(id: u32) -> Arc<Tunnel> {
        let tunnel = Arc::new(Tunnel::new(TunnelId(id), "site", UPLINK, Owner(1), 1420));
        tunnel.set_endpoint(Some("192.0.2.9:51820".parse().unwrap()));
        tunnel
    }

    fn said<'a>(quote: &'a [u8], to: &str) -> Failure<'a> {
        let to: SocketAddr = to.parse().unwrap();
        Failure { to, told_by: Some("198.51.100.1".parse().unwrap()), reason: Reason::TooLong, mtu: 1400, quote }
    }

    fn quote(kind: u8, session: u32) -> Vec<u8> {
        [&[kind, 0, 0, 0][..], &session.to_le_bytes(), &[0; 8]].concat()
    }

    #[test]
    fn what_icmp_says_is_heard_of_sessions_that_there_are_and_of_each_tunnel_once_until_it_was() {
        let (quoted, tunnel) = (Quoted::default(), tunnel(1));
        quoted.set(&tunnel, Index(77));
        let judge = |quote: &[u8], to: &str| quoted.judge(UPLINK, &said(quote, to)).0;
        let (own, at) = (quote(4, 77), "192.0.2.9:51820");
        assert_eq!(judge(&quote(4, 78), at), Judged::Stranger, "who does not know the session");
        assert_eq!(judge(&quote(1, 77), at), Judged::Stranger, "no datagram of a session");
        assert_eq!(judge(&own[..7], at), Judged::Stranger, "too little of it");
        assert_eq!(judge(&[], at), Judged::Stranger);
        assert_eq!(quoted.judge(UplinkIndex(4), &said(&own, at)).0, Judged::Stranger, "it left by another uplink");
        assert_eq!(judge(&own, "192.0.2.8:51820"), Judged::Elsewhere);
        assert_eq!(judge(&own, "192.0.2.9:51821"), Judged::Elsewhere);
        let other = Failure { reason: Reason::HostUnreachable, ..said(&own, at) };
        assert_eq!(quoted.judge(UPLINK, &other).0, Judged::Other);
        let (judged, whose) = quoted.judge(UPLINK, &said(&own, at));
        assert_eq!((judged, whose.map(|tunnel| tunnel.id)), (Judged::Heard, Some(TunnelId(1))));
        assert!((0..1000).all(|_| judge(&own, at) == Judged::Pending));
        tunnel.done(Once::Hint);
        assert_eq!(judge(&own, "192.0.2.9:0"), Judged::Heard, "this host does not tell the port");
    }

    #[test]
    fn a_session_that_is_over_is_nobodys_and_another_tunnel_may_have_its_number() {
        let (quoted, [one, other]) = (Quoted::default(), [tunnel(1), tunnel(2)]);
        let whose = || quoted.judge(UPLINK, &said(&quote(4, 77), "192.0.2.9:51820")).1.map(|tunnel| tunnel.id);
        quoted.set(&one, Index(77));
        quoted.set(&other, Index(77));
        quoted.forget(one.id);
        assert_eq!(whose(), Some(other.id));
        other.done(Once::Hint);
        quoted.set(&other, Index(78));
        assert_eq!(whose(), None);
        quoted.forget(other.id);
        assert!(lock(&quoted.0).tunnels.is_empty() && lock(&quoted.0).marks.is_empty());
    }

    #[test]
    fn each_judgement_has_its_word() {
        let all = [Judged::Heard, Judged::Pending, Judged::Stranger, Judged::Elsewhere, Judged::Other];
        assert_eq!(
            all.map(|judged| WORDS[judged.place()].to_owned()),
            all.map(|one| format!("{one:?}").to_lowercase())
        );
    }
}
