//! Both ends of tunnels in one process, with sessions between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outwork_engine::Time;
use outwork_wireguard::entropy::System;
use outwork_wireguard::gate::Limits;
use outwork_wireguard::index::Table;
use outwork_wireguard::peer::Settings;
use outwork_wireguard::session::{Opener, Sealer};
use outwork_wireguard::{PresharedKey, PrivateKey, PublicKey};

use super::{BenchError, Counted};
use crate::control::peers::{News, Peers};
use crate::plane::tunnel::{Owner, Receiving, Tunnel, TunnelId, UplinkIndex};

const MTU: u16 = 1420;
const NOW: Time = Time::from_secs(100);
/// Between handshakes: so many at once would be asked for cookies.
const EVERY: Duration = Duration::from_millis(100);
const UPLINK: UplinkIndex = UplinkIndex(0);

/// One end: everything that a tunnel has in it, handshakes as well.
struct End {
    peers: Peers,
    table: Arc<Table<Receiving>>,
    tunnels: Vec<Arc<Tunnel>>,
}

/// Where an end has a socket for its uplink.
fn address(end: u8, uplink: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, end], 1024 + uplink))
}

impl End {
    /// With these keys, an uplink each.
    fn new(keys: &[PrivateKey], indices: u32) -> Result<End, BenchError> {
        let table = Arc::new(Table::new(indices));
        let clock = (NOW, Duration::from_secs(1_700_000_000));
        let mut peers = Peers::new(Arc::clone(&table), clock, Box::<System>::default(), 1);
        let be = |(key, uplink): (&PrivateKey, u16)| {
            peers.be(NOW, UplinkIndex(uplink), &key.clone().into(), Limits::default())
        };
        let is_ready = keys.iter().zip(0..).all(be);
        if is_ready { Ok(End { peers, table, tunnels: vec![] }) } else { Err(BenchError::NoSession) }
    }

    /// Has a tunnel by an uplink to whoever has a key.
    fn join(&mut self, uplink: UplinkIndex, remote: &PublicKey, at: SocketAddr) -> Result<(), BenchError> {
        let id = self.tunnels.len() as u32 + 1;
        let tunnel = Arc::new(Tunnel::new(TunnelId(id), "bench", uplink, Owner(id), MTU));
        let settings = Settings { remote: *remote, psk: PresharedKey::default(), endpoint: Some(at), keepalive: None };
        if !self.peers.add(NOW, Arc::clone(&tunnel), settings) {
            return Err(BenchError::NoSession);
        }
        self.tunnels.push(tunnel);
        Ok(())
    }

    /// Hands over what it has to send, from where it has it.
    fn tell(&mut self, now: Time, end: u8, other: &mut End) {
        while let Some(news) = self.peers.poll_news() {
            if let News::Send { uplink, to, datagram, .. } = news {
                let there = UplinkIndex(to.port().saturating_sub(1024));
                // What is no handshake is not missed here.
                let _ = other.peers.datagram(now, there, (address(end, uplink.0), None), &datagram);
            }
        }
    }
}

/// So many tunnels with a session each: of an end with one uplink to an end that has one for each of them.
fn tunnels(count: u16) -> Result<[End; 2], BenchError> {
    let key = || PrivateKey::generate(&mut System::default());
    let own = [key()?];
    let others = (0..count).map(|_| key()).collect::<Result<Vec<_>, _>>()?;
    // A session and the handshake before it; reserved beyond that is nothing.
    let indices = u32::from(count).saturating_mul(4).next_power_of_two().max(16);
    let (mut one, mut two) = (End::new(&own, indices)?, End::new(&others, indices)?);
    let [first] = &own;
    for (key, uplink) in others.iter().zip(0..) {
        one.join(UPLINK, key.public(), address(2, uplink))?;
        two.join(UplinkIndex(uplink), first.public(), address(1, 0))?;
    }
    let mut now = NOW;
    for id in (1..=u32::from(count)).map(TunnelId) {
        now += EVERY;
        one.peers.wanted(now, id).map_err(|_| BenchError::NoSession)?;
        one.tell(now, 1, &mut two);
        two.tell(now, 2, &mut one);
    }
    let have_keys = one.tunnels.iter().all(|tunnel| tunnel.sealer().is_some());
    if have_keys { Ok([one, two]) } else { Err(BenchError::NoSession) }
}

/// Both halves of a session, made by a handshake.
pub(super) fn session() -> Result<(Arc<Sealer>, Arc<Opener>), BenchError> {
    let [one, two] = tunnels(1)?;
    let sealer = one.tunnels.first().and_then(|tunnel| tunnel.sealer().as_ref().map(Arc::clone));
    let sealer = sealer.ok_or(BenchError::NoSession)?;
    let receiving = two.table.find(sealer.remote()).ok_or(BenchError::NoSession)?;
    Ok((sealer, Arc::clone(&receiving.opener)))
}

/// Octets of a tunnel with a session, at one end, in the mean of so many: what it gives back when it is let go of.
pub(super) fn octets(count: u16, counted: Counted) -> Result<Option<u64>, BenchError> {
    if counted().is_none() {
        return Ok(None);
    }
    let [one, _two] = tunnels(count)?;
    let End { peers, table, tunnels } = one;
    let Some((_, before)) = counted() else { return Ok(None) };
    drop((peers, tunnels, table));
    let Some((_, after)) = counted() else { return Ok(None) };
    Ok(Some(after.saturating_sub(before) / u64::from(count.max(1))))
}
