//! Packets cut, sealed, opened and joined, in memory.

use std::fmt;
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use outwork_engine::{Rng, Time};
use outwork_net::tun::VnetHeader;
use outwork_telemetry::{Histogram, Latency};
use outwork_wireguard::message::{HEADER, TAG};
use outwork_wireguard::session::{OpenError, Opened, Opener, PADDING, Sealer};
use serde::Serialize;

use super::ends::session;
use super::{BenchError, Counted, allocated, columns, on_threads, row, within};
use crate::plane::join::{Joiner, MOST, Offload};
use crate::plane::split::{Layout, split};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Pieces, as a device hands them over, of each thread.
    pub iterations: u64,
    /// Threads, each with a tunnel of its own.
    pub concurrency: u32,
    /// Octets of a packet.
    pub packet_size: u32,
}

/// What came of it. Rates are of one thread.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// `throughput`.
    pub kind: &'static str,
    /// What was measured.
    pub measured: &'static str,
    /// Octets of a packet.
    pub packet_size: u32,
    /// Packets of a piece.
    pub packets_a_piece: u64,
    /// Threads.
    pub concurrency: u32,
    /// Packets of all threads.
    pub packets: u64,
    /// Octets of them.
    pub bytes: u64,
    /// Bits in a second of a thread that only cuts and seals.
    pub seal_bits_per_second: f64,
    /// Bits in a second of a thread that only opens and joins.
    pub open_bits_per_second: f64,
    /// Bits in a second of a thread that does both, one after the other.
    pub bits_per_second: f64,
    /// Packets in a second of such a thread.
    pub packets_per_second: f64,
    /// To cut and seal a piece.
    pub sealing: Latency,
    /// To open and join it.
    pub opening: Latency,
    /// Packets that did not come out.
    pub lost: u64,
    /// Octets that were allocated.
    pub allocated_bytes: Option<u64>,
}

const MEASURED: &str = "pieces of TCP cut into packets, sealed, opened where they lie and joined again, in memory and per thread; devices, sockets, routing and the network are not among it";

const MTU: u16 = 1420;
const NOW: Time = Time::from_secs(100);
/// Octets of the headers of TCP over IPv4 without options.
const HEADERS: usize = 40;
/// Octets of the longest piece.
const LONGEST: usize = 65_535;
/// Octets that its packets are laid out in, with all that is around them.
const ROOM: usize = 128 << 10;

/// A piece of so many packets, as a device hands it over.
fn piece(packet_size: usize, packets: usize, rng: &mut Rng) -> (VnetHeader, Vec<u8>) {
    let segment = packet_size - HEADERS;
    let mut octets = vec![0; HEADERS + segment * packets];
    rng.fill(&mut octets);
    let length = (octets.len() as u16).to_be_bytes();
    let ip = [0x45, 0, length[0], length[1], 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 1, 1, 10, 0, 2, 1];
    // From port 49152 to 443, acknowledging.
    let tcp = [0xc0, 0, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 2, 0, 0, 0, 0, 0];
    octets.iter_mut().zip(ip.into_iter().chain(tcp)).for_each(|(to, from)| *to = from);
    let header = VnetHeader {
        kind: VnetHeader::TCP4,
        header_length: HEADERS as u16,
        segment: segment as u16,
        ..VnetHeader::default()
    };
    (header, octets)
}

/// What one thread works with.
struct Bench {
    sealer: Arc<Sealer>,
    opener: Arc<Opener>,
    header: VnetHeader,
    octets: Vec<u8>,
    layout: Layout,
    room: Vec<u8>,
    datagrams: Vec<Range<usize>>,
    opened: Vec<Option<Result<Opened, OpenError>>>,
    joiner: Joiner,
}

impl Bench {
    fn new(packet_size: usize, packets: usize) -> Result<Bench, BenchError> {
        let (sealer, opener) = session()?;
        let (header, octets) = piece(packet_size, packets, &mut Rng::new(1));
        Ok(Bench {
            sealer,
            opener,
            header,
            octets,
            layout: Layout { head: HEADER, front: 0, tail: TAG, pad_to: PADDING, mtu: usize::from(MTU) },
            room: vec![0; ROOM],
            datagrams: Vec::with_capacity(MOST),
            opened: vec![None; MOST],
            joiner: Joiner::new(Offload { tcp: true, udp: true }),
        })
    }

    /// Cuts and seals the piece.
    fn seal(&mut self) {
        self.datagrams.clear();
        let Ok(pieces) = split(&self.header, &self.octets, &self.layout, &mut self.room) else { return };
        let Ok(mut run) = self.sealer.run(NOW, pieces.len()) else { return };
        for piece in pieces {
            if let Ok(sealed) = run.seal(&mut self.room, piece, self.layout.mtu) {
                self.datagrams.push(sealed.datagram);
            }
        }
    }

    /// Opens and joins what was sealed. How many packets came out.
    fn open(&mut self) -> u64 {
        let (first, last) = (self.datagrams.first().cloned(), self.datagrams.last().cloned());
        let (Some(first), Some(last)) = (first, last) else { return 0 };
        let run = self.room.get_mut(first.start..last.end).unwrap_or_default();
        let count = self.opener.open_run(NOW, run, first.len(), &mut self.opened);
        for (datagram, opened) in self.datagrams.iter().zip(&self.opened).take(count) {
            let Some(Ok(opened)) = opened else { continue };
            let packet = datagram.start + opened.packet.start..datagram.start + opened.packet.end;
            let Some(octets) = self.room.get(packet.clone()) else { continue };
            // It has room for more than a piece has packets.
            let _ = self.joiner.push(0, packet, octets);
        }
        let mut came = 0;
        for write in self.joiner.writes() {
            if let Some(packet) = self.room.get_mut(write.first().range) {
                came += black_box(write.amend(packet)).map_or(0, |_| write.count() as u64);
            }
        }
        self.joiner.clear();
        came
    }
}

/// Measures.
///
/// # Errors
/// When an option is out of bounds, or there are no threads.
pub fn run(options: &Options, counted: Counted) -> Result<Report, BenchError> {
    within("iterations", options.iterations, 1..=1_000_000_000)?;
    within("concurrency", options.concurrency, 1..=1024)?;
    within("packet-size", options.packet_size, HEADERS as u64 + 1..=u64::from(MTU))?;
    let size = options.packet_size as usize;
    let packets = ((LONGEST - HEADERS) / (size - HEADERS)).clamp(1, MOST);
    let (sealing, opening) = (Histogram::default(), Histogram::default());
    let work = |_: u32| -> Result<(u64, Option<u64>), BenchError> {
        let mut bench = Bench::new(size, packets)?;
        // The first piece finds nothing in the caches.
        bench.seal();
        bench.open();
        let (mut came, before) = (0, counted());
        for _ in 0..options.iterations {
            let begun = Instant::now();
            bench.seal();
            let sealed = Instant::now();
            came += bench.open();
            let opened = sealed.elapsed();
            sealing.record(sealed.duration_since(begun));
            opening.record(opened);
        }
        Ok((came, before.zip(counted()).map(|(before, after)| after.0 - before.0)))
    };
    let done = on_threads(options.concurrency, work)?;
    let sent = options.iterations * u64::from(options.concurrency) * packets as u64;
    let bytes = sent * size as u64;
    let [to_seal, to_open] = [&sealing, &opening].map(|times| (times.snapshot().sum() as f64 / 1e9).max(f64::EPSILON));
    let bits = bytes as f64 * 8.0;
    Ok(Report {
        kind: "throughput",
        measured: MEASURED,
        packet_size: options.packet_size,
        packets_a_piece: packets as u64,
        concurrency: options.concurrency,
        packets: sent,
        bytes,
        seal_bits_per_second: bits / to_seal,
        open_bits_per_second: bits / to_open,
        bits_per_second: bits / (to_seal + to_open),
        packets_per_second: sent as f64 / (to_seal + to_open),
        sealing: Latency::of(&sealing),
        opening: Latency::of(&opening),
        lost: sent.saturating_sub(done.iter().map(|(came, _)| came).sum()),
        allocated_bytes: done.iter().map(|(_, allocated)| *allocated).sum(),
    })
}

impl Report {
    /// What is not as it should be.
    pub fn hint(&self) -> Option<String> {
        (self.lost > 0).then(|| format!("{} packets did not come out again", self.lost))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { packet_size, packets_a_piece, concurrency, .. } = self;
        writeln!(f, "throughput: packets of {packet_size} octets, {packets_a_piece} at a time, {concurrency} threads")?;
        writeln!(f, "  {}", self.measured)?;
        for (name, bits) in [
            ("sealing, Gbit/s", self.seal_bits_per_second),
            ("opening, Gbit/s", self.open_bits_per_second),
            ("both, Gbit/s", self.bits_per_second),
        ] {
            writeln!(f, "  {name:<24} {:>10.3}", bits / 1e9)?;
        }
        writeln!(f, "  packets/s, both          {:>10.0}", self.packets_per_second)?;
        allocated(f, self.allocated_bytes)?;
        columns(f, "us")?;
        row(f, "a piece sealed", &self.sealing, 1.0)?;
        row(f, "a piece opened", &self.opening, 1.0)
    }
}
