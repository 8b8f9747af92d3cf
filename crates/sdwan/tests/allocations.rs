//! What a worker's turn allocates: nothing. A process of its own, for its allocator counts.
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use outwork_engine::Time;
use outwork_net::carrier::{Options, Socket};
use outwork_net::poll::Waker;
use outwork_net::tun::{Queue, ROOM, VnetHeader};
use outwork_sdwan::control::peers::{News, Peers};
use outwork_sdwan::engine::prefix::Prefix;
use outwork_sdwan::plane::join::Offload;
use outwork_sdwan::plane::shared::{Notice, Shared};
use outwork_sdwan::plane::tunnel::{Owner, Tunnel, TunnelId, UplinkIndex};
use outwork_sdwan::plane::view::View;
use outwork_sdwan::plane::worker::Worker;
use outwork_wireguard::entropy::System as Random;
use outwork_wireguard::gate::Limits;
use outwork_wireguard::index::Table;
use outwork_wireguard::peer::Settings;
use outwork_wireguard::{Identity, Index, PresharedKey, PrivateKey};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is the system allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is going away has no counter any more.
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those that the system allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above; `place` came from `alloc` above.
        unsafe { System.dealloc(place, layout) }
    }
}

const UPLINK: UplinkIndex = UplinkIndex(0);
const ID: TunnelId = TunnelId(1);
const NOW: Time = Time::from_secs(1);

struct End {
    shared: Arc<Shared>,
    heard: Receiver<Notice>,
    peers: Peers,
    device: UnixDatagram,
    worker: Worker,
    socket: Arc<Socket>,
}

fn ends() -> [End; 2] {
    let keys = [(); 2].map(|()| PrivateKey::generate(&mut Random::default()).unwrap());
    let sockets = [(); 2].map(|()| Arc::new(Socket::bind(&Options::new("127.0.0.1:0".parse().unwrap())).unwrap()));
    [0, 1].map(|own| {
        let (far, table) = (1 - own, Arc::new(Table::new(16)));
        let tunnel = Arc::new(Tunnel::new(ID, "far", UPLINK, Owner(1), 1420));
        let clock = (NOW, Duration::from_secs(1_700_000_000));
        let mut peers = Peers::new(Arc::clone(&table), clock, Box::<Random>::default(), 1);
        let (remote, endpoint) = (*keys[far].public(), Some(sockets[far].local()));
        let settings = Settings { remote, psk: PresharedKey::default(), endpoint, keepalive: None };
        assert!(peers.be(NOW, UPLINK, &Identity::from(keys[own].clone()), Limits::default()));
        assert!(peers.add(NOW, Arc::clone(&tunnel), settings));
        let network = Prefix::new([10, 0, 1 + far as u8, 0].into(), 24).unwrap();
        let (to, heard) = sync_channel(64);
        let wakers = [Waker::new().unwrap()].into();
        let view = View::new([(network, Owner(1))], [tunnel], []);
        let shared = Arc::new(Shared::new(view, table, to, Arc::new(Waker::new().unwrap()), wakers, 1));
        let (queue, device) = Queue::pair().unwrap();
        shared.lines.put(UPLINK, &Arc::from("uplink"), vec![vec![Arc::clone(&sockets[own])]]);
        let worker = Worker::new(0, queue, Offload { tcp: true, udp: true }, Arc::clone(&shared));
        End { shared, heard, peers, device, worker, socket: Arc::clone(&sockets[own]) }
    })
}

/// The first end asks for a session, and the second has it confirmed.
fn shake(ends: &mut [End; 2]) {
    ends[0].peers.wanted(NOW, ID).unwrap();
    for turn in [0, 1, 0] {
        while let Some(news) = ends[turn].peers.poll_news() {
            let News::Send { mut datagram, .. } = news else { continue };
            let (from, other) = (ends[turn].socket.local(), &mut ends[1 - turn]);
            let own = Some(other.socket.local().ip());
            if datagram[0] != 4 {
                other.peers.datagram(NOW, UPLINK, (from, own), &datagram).unwrap();
                continue;
            }
            let index = Index(u32::from_le_bytes(datagram[4..8].try_into().unwrap()));
            if other.shared.sessions.find(index).unwrap().opener.open(NOW, &mut datagram).unwrap().confirms {
                other.peers.confirmed(NOW, ID, index);
            }
        }
    }
}

/// A datagram of UDP from behind one end to behind the other, without checksums: nobody looks at them here.
fn datagram(from: usize, length: u16) -> Vec<u8> {
    let (own, far) = (1 + from as u8, 2 - from as u8);
    let mut packet = VnetHeader::default().write().to_vec();
    packet.extend([0x45, 0]);
    packet.extend(length.to_be_bytes());
    packet.extend([0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, own, 1, 10, 0, far, 1, 0x9c, 0x40, 1, 0xbb]);
    packet.extend((length - 20).to_be_bytes());
    packet.resize(VnetHeader::LENGTH + usize::from(length), 0);
    packet
}

/// What a turn of one end allocates.
fn turn(end: &mut End) -> u64 {
    end.shared.waker(0).unwrap().wake();
    let before = COUNT.get();
    end.worker.turn().unwrap();
    COUNT.get() - before
}

#[test]
fn a_turn_of_a_worker_allocates_nothing_whichever_way_packets_go() {
    let mut ends = ends();
    shake(&mut ends);
    let (pieces, mut room) = ([0, 1].map(|from| [datagram(from, 80), datagram(from, 1400)]), vec![0; ROOM]);
    let mut allocated = 0;
    for round in 0..300 {
        for from in 0..2 {
            for piece in &pieces[from] {
                ends[from].device.send(piece).unwrap();
            }
            let count = turn(&mut ends[from]) + turn(&mut ends[1 - from]);
            // The first turns of a thread make what it keeps.
            allocated += if round < 10 { 0 } else { count };
            let came = std::iter::from_fn(|| ends[1 - from].device.recv(&mut room).ok()).count();
            assert_eq!(came, 2, "both packets have passed");
        }
    }
    assert_eq!(allocated, 0);
    let told = ends.iter().flat_map(|end| end.heard.try_iter()).count();
    assert!(told <= 2, "there was no more to tell than that keys are confirmed: {told}");
}
