//! What the kernel knows, asked for by programs that are run by hand: its routes and neighbours, which are remembered for a moment, and the connections of its sockets.

use std::cell::RefCell;
use std::net::IpAddr;
use std::os::fd::AsFd;

use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use outwork_engine::Time;
use outwork_wire::MacAddr;

use super::steering::SteeringError;
use crate::forward::frame::read;
use crate::forward::{Hop, Query, Routes};
use crate::kernel::{Fastpath, object};
use crate::layout::{Address, FlowKey};
use crate::sys::bpf;
use crate::sys::plain::bytes_of;
use crate::tables::BoundedMap;

/// Ways that are remembered at most.
const MOST: usize = 65_536;
/// For how long.
const FRESH: std::time::Duration = std::time::Duration::from_millis(200);

/// Octets of `struct question`, and where its parts are.
const QUESTION: usize = 80;
const RESULT: usize = 40;
const INTERFACE: usize = 44;
const NEXT: usize = 48;
const TO: usize = 64;
const FROM: usize = 70;

/// Where the answer of `struct connection` is, behind the key, and its octets.
const IS_KNOWN: usize = 40;
const CONNECTION: usize = 48;

/// Who asks the kernel.
#[derive(Debug)]
pub struct Ways {
    ebpf: Ebpf,
    known: RefCell<BoundedMap<(u32, Address), (Time, Hop)>>,
    /// The longest packet for which a way is remembered; longer ones are asked for each.
    longest: u32,
}

impl Ways {
    /// The ways of the network namespace that it is asked in.
    ///
    /// # Errors
    /// When the kernel does not take the program.
    pub fn open() -> Result<Ways, SteeringError> {
        let load = |error: &dyn std::error::Error| SteeringError::Load(crate::kernel::attach::reasons(error));
        let mut ebpf = EbpfLoader::new().load(object::port()?).map_err(|error| load(&error))?;
        let missing = || SteeringError::Load("a part of it is missing".to_owned());
        for name in ["port_way", "port_socket"] {
            let program: &mut Xdp =
                ebpf.program_mut(name).ok_or_else(missing)?.try_into().map_err(|error| load(&error))?;
            program.load().map_err(|error| load(&error))?;
        }
        Ok(Ways { ebpf, known: RefCell::new(BoundedMap::new(MOST)), longest: 1280 })
    }

    /// Asks the kernel. It is as if there were no way where it does not answer.
    fn ask(&self, query: &Query) -> Hop {
        let mut question = [0u8; QUESTION];
        let (source, destination) = (Address::from(query.source), Address::from(query.destination));
        let parts = [&query.ingress.to_ne_bytes()[..], &query.length.to_ne_bytes(), &source.0, &destination.0].concat();
        question.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        self.run("port_way", &question).and_then(|answer| hop(&answer)).unwrap_or(Hop::Unroutable)
    }

    /// Runs a program on a question and gives what it makes of it.
    fn run(&self, program: &str, question: &[u8]) -> Option<Vec<u8>> {
        let program = self.ebpf.program(program)?.fd().ok()?;
        bpf::run(program.as_fd(), question, &[], 1).ok().map(|answer| answer.frame)
    }
}

/// What an answer says (`BPF_FIB_LKUP_RET_*`).
fn hop(answer: &[u8]) -> Option<Hop> {
    let (result, ifindex) = (i32::from_ne_bytes(read(answer, RESULT)?), u32::from_ne_bytes(read(answer, INTERFACE)?));
    let next: IpAddr = Address(read(answer, NEXT)?).ip();
    Some(match result {
        0 => Hop::To { ifindex, destination: MacAddr(read(answer, TO)?), source: MacAddr(read(answer, FROM)?) },
        1..=3 => Hop::Unroutable,
        5 => Hop::NoForwarding,
        7 => Hop::Unresolved { address: next, ifindex },
        8 => Hop::TooLong,
        _ => Hop::Local,
    })
}

impl Routes for Ways {
    fn hop(&self, query: &Query) -> Hop {
        let (now, key) = (Fastpath::kernel_time(), (query.ingress, Address::from(query.destination)));
        let short = query.length <= self.longest;
        let known = self.known.borrow_mut().get(&key).copied().filter(|(asked, _)| now < *asked + FRESH);
        if let Some((_, hop)) = known.filter(|_| short) {
            return hop;
        }
        let hop = self.ask(query);
        if short && matches!(hop, Hop::To { .. }) {
            self.known.borrow_mut().insert(key, (now, hop));
        }
        hop
    }

    /// It takes some microseconds, for packets that are of no flow.
    fn has_socket(&self, key: &FlowKey) -> bool {
        let mut question = [0u8; CONNECTION];
        question.iter_mut().zip(bytes_of(key)).for_each(|(to, from)| *to = *from);
        let answer = self.run("port_socket", &question);
        answer.and_then(|answer| read(&answer, IS_KNOWN)).is_some_and(|known| u32::from_ne_bytes(known) != 0)
    }
}
