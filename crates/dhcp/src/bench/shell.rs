//! Sockets and the clock around the generator. One thread: batches make it fast enough for several times what a server on the same host answers.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use outwork_engine::Time;
use outwork_net::poll::{self, Entry};
use outwork_net::thread;
use outwork_net::udp::{Inbox, Options, Outbox, Path, UdpSocket};

use super::generator::{Generator, Plan};
use super::message::relay_information;
use super::report::Report;
use super::{BenchOptions, MAX_OUTSTANDING, Rate, Scenario};

/// Messages a batch.
const BATCH: usize = 64;
/// Runs of messages a batch.
const RUNS: usize = 16;
/// Octets kept of a reply. No client of this generator says that it takes more than the 576 of RFC 2131 section 2.
const REPLY: usize = 1500;
/// Room for replies that wait while the generator sends.
const RECEIVE_BUFFER: usize = 16 << 20;
/// Circuits behind the relay agents, where option 82 is asked for.
const CIRCUITS: u16 = 1000;
/// Relay agents: each has a socket or two to be waited for.
const MAX_RELAYS: usize = 16;
/// At a given rate, what is due and what has come is dealt with so often: one by one, it would take from a server on the same
/// host what many clients on many machines do not. The wait counts as latency.
const ROUND: Duration = Duration::from_micros(100);
/// The port of clients (RFC 2131 section 4.1).
const CLIENT_PORT: u16 = 68;

/// Why a run did not take place.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A port below 1024, as an ordinary user.
    #[error(
        "may not use port {port}: run as root or with CAP_NET_BIND_SERVICE, or choose another relay port for a server that knows RFC 8357"
    )]
    Privileged {
        /// The port.
        port: u16,
        /// The kernel's answer.
        source: outwork_net::Error,
    },
    /// A system call failed.
    #[error(transparent)]
    Net(#[from] outwork_net::Error),
    /// The server cannot be reached.
    #[error("no address of this host leads to {target}: {source}")]
    NoRoute {
        /// The server.
        target: SocketAddrV4,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// An option is out of its range.
    #[error("{what} must be from {least} to {most}, and {given} is not")]
    OutOfRange {
        /// The option.
        what: &'static str,
        /// Its least value.
        least: u32,
        /// Its greatest value.
        most: u32,
        /// What was given.
        given: u32,
    },
    /// The server never answered, so there is nothing to measure.
    #[error(
        "no client got an address from {target}\n  = help: is a server listening there, with a subnet for the relay agent's address ({relays}) and a pool that has addresses left? Do the firewalls let UDP through, both ways?"
    )]
    NotPrepared {
        /// The server.
        target: SocketAddrV4,
        /// The relay agents' addresses.
        relays: String,
    },
}

/// Plays the scenario. Takes as long as that lasts, and blocks the thread.
pub fn run(options: &BenchOptions) -> Result<Report, BenchError> {
    let within = |what, given: u32, most| match given {
        given if (1..=most).contains(&given) => Ok(()),
        given => Err(BenchError::OutOfRange { what, least: 1, most, given }),
    };
    within("the number of clients", options.clients, MAX_OUTSTANDING)?;
    within("the window", options.window, MAX_OUTSTANDING)?;
    within("the relay port", options.relay_port.into(), u16::MAX.into())?;
    let mut relays = options.relays.clone();
    if relays.is_empty() {
        relays.push(route_to(options.target)?);
    }
    within("the number of relay agents", relays.len() as u32, MAX_RELAYS as u32)?;
    let ports = Ports::open(options, &relays)?;
    let plan = Plan {
        scenario: options.scenario,
        clients: options.clients,
        rate: options.rate,
        window: options.window,
        duration: options.duration,
        timeout: options.timeout,
        seed: options.seed,
        relay_information: match options.relay_information {
            true => (0..CIRCUITS).map(|circuit| relay_information(Some(circuit), options.relay_port)).collect(),
            false => vec![relay_information(None, options.relay_port)],
        },
        relays,
    };
    let relays = plan.relays.iter().map(ToString::to_string).collect();
    let mut report = ports.play(plan, options.target)?;
    report.relays = relays;
    report.server = options.target.to_string();
    report.offload = options.offload;
    Ok(report)
}

/// The address of this host that packets to the server leave with.
fn route_to(target: SocketAddrV4) -> Result<Ipv4Addr, BenchError> {
    let attempt = || {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(target)?;
        match socket.local_addr()? {
            SocketAddr::V4(local) => Ok(*local.ip()),
            SocketAddr::V6(_) => Err(std::io::ErrorKind::AddrNotAvailable.into()),
        }
    };
    attempt().map_err(|source| BenchError::NoRoute { target, source })
}

/// The sockets of the relay agents, then those of the hosts that ask for options.
struct Ports {
    sockets: Vec<UdpSocket>,
    offload: bool,
}

impl Ports {
    fn open(options: &BenchOptions, relays: &[Ipv4Addr]) -> Result<Ports, BenchError> {
        let bind = |address: &Ipv4Addr, port| {
            let address = SocketAddrV4::new(*address, port);
            let options = Options { receive_buffer: RECEIVE_BUFFER, offload: options.offload, ..Options::new(address) };
            UdpSocket::bind(&options).map_err(|error| match error.source.kind() {
                std::io::ErrorKind::PermissionDenied => BenchError::Privileged { port, source: error },
                _ => BenchError::Net(error),
            })
        };
        let mut sockets = relays.iter().map(|relay| bind(relay, options.relay_port)).collect::<Result<Vec<_>, _>>()?;
        if options.scenario == Scenario::Mixed {
            for relay in relays {
                sockets.push(bind(relay, CLIENT_PORT)?);
            }
        }
        Ok(Ports { sockets, offload: options.offload })
    }

    fn drops(&self) -> Result<u64, BenchError> {
        self.sockets.iter().try_fold(0, |sum, socket| Ok(sum + u64::from(socket.drops()?)))
    }

    fn play(&self, plan: Plan, target: SocketAddrV4) -> Result<Report, BenchError> {
        // What it measures must not be its own wait for a processor. Where that can't be had, it is.
        let _ = thread::take_short_turns();
        let origin = Instant::now();
        let clock = || Time::from_nanos(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let mut outboxes: Vec<Outbox> = plan.relays.iter().map(|_| Outbox::new(BATCH)).collect();
        let relays = plan.relays.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let paced = matches!(plan.rate, Rate::PerSecond(_)) && plan.scenario != Scenario::Avalanche;
        let begins_with_leases = matches!(plan.scenario, Scenario::Renew | Scenario::Mixed);
        let mut generator = Generator::new(plan, clock());
        let mut inbox = match self.offload {
            true => Inbox::of_runs(RUNS, REPLY),
            false => Inbox::new(BATCH, REPLY),
        };
        let mut message = Vec::with_capacity(REPLY);
        let mut unsendable = 0;
        let mut before = None;
        loop {
            let round = Instant::now();
            if before.is_none() && generator.is_measuring() {
                before = Some((cpu_time(), self.drops()?));
            }
            let mut received = 0;
            for socket in &self.sockets {
                received += socket.receive(&mut inbox)?;
                let now = clock();
                inbox.datagrams().for_each(|datagram| generator.handle_reply(datagram.payload, now));
            }
            let now = clock();
            generator.handle_timeout(now);
            if generator.is_finished() {
                break;
            }
            for _ in 0..BATCH {
                // What the kernel would not take yet holds back everything.
                if outboxes.iter().any(|outbox| outbox.len() >= BATCH) {
                    break;
                }
                message.clear();
                let Some(relay) = generator.poll_transmit(now, &mut message) else { break };
                unsendable += u64::from(outboxes.get_mut(relay.0).is_none_or(|outbox| !post(outbox, target, &message)));
            }
            let (mut sent, mut blocked) = (0, false);
            for (socket, outbox) in self.sockets.iter().zip(&mut outboxes) {
                let report = socket.send(outbox);
                sent += report.sent;
                unsendable += (report.no_buffers + report.failed) as u64;
                blocked |= report.blocked;
            }
            if received == 0 && sent == 0 {
                let timeout = generator.poll_timeout().map(|at| at.since(clock()));
                let mut entries: Vec<Entry<'_>> =
                    self.sockets.iter().map(|socket| Entry::readable(socket).or_writable(blocked)).collect();
                poll::wait(&mut entries, timeout)?;
            } else if paced && !blocked {
                std::thread::sleep(ROUND.saturating_sub(round.elapsed()));
            }
        }
        let (cpu, drops) = before.unwrap_or_default();
        let mut report = generator.finish();
        if begins_with_leases && report.prepared == 0 {
            return Err(BenchError::NotPrepared { target, relays });
        }
        report.cpu_seconds = cpu_time().saturating_sub(cpu).as_secs_f64();
        report.dropped_here = self.drops()?.saturating_sub(drops);
        report.unsendable = unsendable;
        Ok(report)
    }
}

/// Puts a message for the server into an outbox; `false` when that is full.
fn post(outbox: &mut Outbox, target: SocketAddrV4, message: &[u8]) -> bool {
    let path = Path { to: target, from: Ipv4Addr::UNSPECIFIED, interface: 0 };
    let copy = |out: &mut Vec<u8>| {
        out.extend_from_slice(message);
        Ok::<_, Infallible>(())
    };
    outbox.push(path, copy).is_ok()
}

/// Processor time of this thread, by `/proc/thread-self/schedstat`; zero where the kernel does not keep it.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}
