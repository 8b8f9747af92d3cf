//! Somebody who is between two sites, and floods one of them: with what was sent before, with what was altered, with what was made up.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use outwork_engine::Rng;
use outwork_net::testing::Namespace;
use outwork_wireguard::PublicKey;
use outwork_wireguard::mac::Signer;

use super::super::wait_for;
use super::{OUTER, Pair, section};

/// Types of messages, and their octets (whitepaper section 5.4).
const INITIATION: (u8, usize) = (1, 148);
const COOKIE: (u8, usize) = (3, 64);
const TRANSPORT: u8 = 4;
/// Datagrams that are remembered.
const REMEMBERED: usize = 256;

/// Who passes on what the far one sends to the site, and what comes back, and remembers packets.
struct Between {
    /// For the far one.
    near: UdpSocket,
    /// For the site.
    site: UdpSocket,
    /// Where the far one is.
    far: Mutex<Option<SocketAddr>>,
    /// What was sent before there was a flood. (Who sends again what has yet to come is taken for who has moved.)
    packets: Mutex<Vec<Vec<u8>>>,
    /// Cookies that the site has sent to whoever floods it.
    cookies: AtomicU64,
    ended: AtomicBool,
}

fn socket(room: &Namespace) -> UdpSocket {
    let socket = room.run(|| UdpSocket::bind((OUTER[1], 0))).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket
}

impl Between {
    fn new(room: &Namespace) -> Between {
        let site = socket(room);
        site.connect((OUTER[0], 51820)).unwrap();
        let (far, packets) = (Mutex::new(None), Mutex::new(vec![]));
        let (cookies, ended) = (AtomicU64::new(0), AtomicBool::new(false));
        Between { near: socket(room), site, far, packets, cookies, ended }
    }

    fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::SeqCst)
    }

    /// From the far one to the site.
    fn there(&self) {
        let mut octets = [0; 2048];
        while self.goes_on() {
            let Ok((length, from)) = self.near.recv_from(&mut octets) else { continue };
            *self.far.lock().unwrap() = Some(from);
            let mut packets = self.packets.lock().unwrap();
            if octets[0] == TRANSPORT && packets.len() < REMEMBERED {
                packets.push(octets[..length].to_vec());
            }
            // What the kernel does not take is lost, as anywhere.
            let _ = self.site.send(&octets[..length]);
        }
    }

    /// And back.
    fn back(&self) {
        let mut octets = [0; 2048];
        while self.goes_on() {
            let Ok(length) = self.site.recv(&mut octets) else { continue };
            if let Some(far) = *self.far.lock().unwrap() {
                // As above.
                let _ = self.near.send_to(&octets[..length], far);
            }
        }
    }

    /// Floods the site from a socket of its own: thousands a second of each kind.
    fn flood(&self, room: &Namespace, key: &PublicKey) {
        let (socket, signer, mut rng) = (socket(room), Signer::new(key), Rng::new(1));
        socket.connect((OUTER[0], 51820)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut answer = [0; 256];
        while self.goes_on() {
            for _ in 0..4 {
                for datagram in self.hostile(&signer, &mut rng) {
                    // As above.
                    let _ = socket.send(&datagram);
                }
            }
            while let Ok(length) = socket.recv(&mut answer) {
                assert_eq!((answer[0], length), COOKIE, "whoever floods is told nothing else");
                self.cookies.fetch_add(1, Ordering::SeqCst);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// One of each kind.
    fn hostile(&self, signer: &Signer, rng: &mut Rng) -> Vec<Vec<u8>> {
        let made_up = |kind: u8, length: usize, rng: &mut Rng| {
            let mut datagram = vec![0; length];
            rng.fill(&mut datagram);
            datagram[..4].copy_from_slice(&[kind, 0, 0, 0]);
            datagram
        };
        let mut forged = made_up(INITIATION.0, INITIATION.1, rng);
        signer.sign(&mut forged, None);
        let mut all = vec![
            forged,
            made_up(INITIATION.0, INITIATION.1, rng),
            made_up(TRANSPORT, 32 + rng.below(1400) as usize, rng),
            made_up(5 + rng.below(200) as u8, 4 + rng.below(300) as usize, rng),
        ];
        let packets = self.packets.lock().unwrap();
        if let Some(packet) = packets.get(rng.below(packets.len() as u64) as usize) {
            let mut altered = packet.clone();
            // Behind the header: an altered number would be another one's.
            let at = 16 + rng.below(packet.len() as u64 - 16) as usize;
            altered[at] ^= 1 << rng.below(8);
            // One that nobody has used so far, or it would be told as a replay before anybody looks further.
            altered[8..16].copy_from_slice(&(1_u64 << 40 | u64::from(rng.next_u32())).to_le_bytes());
            all.extend([packet.clone(), altered]);
        }
        all
    }
}

/// What a counter of the site shows.
fn counted(pair: &Pair, metric: &str, reason: &str) -> f64 {
    let told = pair.site.get("/metrics").unwrap();
    let begin = format!("outwork_sdwan_{metric}{{reason=\"{reason}\"}} ");
    told.lines().find_map(|line| line.strip_prefix(&begin)).map_or(0.0, |count| count.trim().parse().unwrap())
}

/// Octets of memory that the site has in use.
fn resident(pair: &Pair) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pair.site.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_tunnel_goes_on_and_begins_anew_under_a_flood_that_is_counted_by_reason_and_leaves_nothing_behind() {
    let mut pair = Pair::new();
    pair.start("");
    let between = Between::new(&pair.far.server);
    let at = between.near.local_addr().unwrap();
    pair.far.configure(&section(&pair.keys[1], &pair.keys[0], 1, &format!("endpoint = '{at}'\nkeepalive = '1s'")));
    pair.far.start();
    let key = PublicKey::parse(&pair.keys[0].public).unwrap();
    let room = pair.far.server.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| between.there());
        scope.spawn(|| between.back());
        // Whatever fails below, the others end.
        let _ended = Ends(&between);
        pair.speaks();
        assert_eq!(between.packets.lock().unwrap().len(), REMEMBERED);
        let flood = scope.spawn(|| between.flood(&room, &key));
        let all = |pair: &Pair| {
            let lost = |reason| counted(pair, "lost_total", reason);
            // What comes again is too late to be told from what is new once much has come since.
            let lost = [lost("noise"), lost("stranger"), lost("forged"), lost("replayed") + lost("late")];
            let refused = ["mac1", "cookie"].map(|reason| counted(pair, "handshakes_refused_total", reason));
            [&lost[..], &refused].concat()
        };
        let comes = |pair: &Pair, least: f64| {
            wait_for(
                "hostile datagrams of each kind to be counted",
                || format!("{:?}\n{}", all(pair), pair.site.log()),
                || all(pair).iter().all(|count| *count >= least).then_some(()),
            );
        };
        comes(&pair, 500.0);
        let before = resident(&pair);
        pair.speaks();
        // Who has lost its keys comes through with a cookie.
        pair.far.terminate();
        pair.far.start();
        pair.speaks();
        comes(&pair, 3000.0);
        assert!(!flood.is_finished() && between.cookies.load(Ordering::SeqCst) > 0, "it floods to the end");
        let grown = resident(&pair).saturating_sub(before);
        assert!(grown < 64 << 20, "{grown} octets more than before");
        let told = pair.tunnel();
        assert_eq!((&told["peer"], &told["foreign"]), (&"other".into(), &0.into()), "{told}");
        assert_eq!(told["endpoint"], between.site.local_addr().unwrap().to_string(), "nobody has moved it");
    });
}

/// Ends who is between when it goes.
struct Ends<'a>(&'a Between);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::SeqCst);
    }
}
