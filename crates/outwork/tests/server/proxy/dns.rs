//! A name server (RFC 1035) that says what a test has it say, and knows nothing else.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

pub(crate) const A: u16 = 1;
pub(crate) const AAAA: u16 = 28;
const SRV: u16 = 33;
/// What it says while it fails: SERVFAIL, and otherwise of what it does not know: NXDOMAIN.
const FAILS: u8 = 2;
const UNKNOWN: u8 = 3;

/// What is known of a name and a type: how many seconds it holds, and the data of each record.
type Known = BTreeMap<(String, u16), (u32, Vec<Vec<u8>>)>;

/// A target of a service.
pub(crate) struct Target<'a> {
    pub(crate) priority: u16,
    pub(crate) weight: u16,
    pub(crate) port: u16,
    pub(crate) host: &'a str,
}

#[derive(Default)]
struct Shared {
    known: Mutex<Known>,
    fails: AtomicBool,
    /// Names and types of records that it fails at.
    failing: Mutex<Vec<(String, u16)>>,
    asked: AtomicUsize,
}

/// The server, on a thread of its own.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Dns {
    pub(crate) fn new(host: &str) -> Self {
        let socket = UdpSocket::bind((host, 0)).expect("a port");
        let address = socket.local_addr().expect("an address");
        let shared: Arc<Shared> = Arc::default();
        let state = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question) {
                if let Some(answer) = state.answer(&question[..length]) {
                    // Who asked may be gone.
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { address, shared }
    }

    /// A host is here, which holds for so many seconds.
    pub(crate) fn host(&self, name: &str, seconds: u32, address: &str) {
        match address.parse().expect("an address") {
            IpAddr::V4(address) => self.put(name, A, seconds, vec![address.octets().to_vec()]),
            IpAddr::V6(address) => self.put(name, AAAA, seconds, vec![address.octets().to_vec()]),
        }
    }

    /// A service is given by these.
    pub(crate) fn service(&self, name: &str, seconds: u32, targets: &[Target<'_>]) {
        let data = |target: &Target<'_>| {
            let numbers = [target.priority, target.weight, target.port].map(u16::to_be_bytes);
            [numbers.concat(), encoded(target.host)].concat()
        };
        self.put(name, SRV, seconds, targets.iter().map(data).collect());
    }

    fn put(&self, name: &str, kind: u16, seconds: u32, data: Vec<Vec<u8>>) {
        self.shared.known.lock().expect("a table").insert((name.to_owned(), kind), (seconds, data));
    }

    /// From now on it fails, or answers again.
    pub(crate) fn set_failing(&self, fails: bool) {
        self.shared.fails.store(fails, SeqCst);
    }

    /// From now on it fails at these records alone.
    pub(crate) fn set_failing_at(&self, records: &[(&str, u16)]) {
        *self.shared.failing.lock().expect("a list") =
            records.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
    }

    /// Questions so far.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(SeqCst)
    }
}

impl Shared {
    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let (mut labels, mut at) = (Vec::new(), 12);
        while *question.get(at)? > 0 {
            let length = usize::from(question[at]);
            labels.push(String::from_utf8_lossy(question.get(at + 1..=at + length)?).to_ascii_lowercase());
            at += 1 + length;
        }
        let asked = question.get(12..at + 5)?;
        let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
        self.asked.fetch_add(1, SeqCst);
        let known = self.known.lock().expect("a table");
        let name = labels.join(".");
        let found = known.get(&(name.clone(), kind));
        let code = match found {
            _ if self.fails.load(SeqCst) => FAILS,
            _ if self.failing.lock().expect("a list").contains(&(name.clone(), kind)) => FAILS,
            // A name of another type is one that is there.
            None if !known.keys().any(|(known, _)| *known == name) => UNKNOWN,
            _ => 0,
        };
        let (seconds, records) = found.filter(|_| code == 0).cloned().unwrap_or_default();
        let mut answer =
            [&question[..2], &[0x84, code, 0, 1], &(records.len() as u16).to_be_bytes(), &[0; 4], asked].concat();
        for record in records {
            // The name is that of the question, which begins at octet 12.
            answer.extend_from_slice(&[&[0xc0, 12][..], &kind.to_be_bytes(), &[0, 1], &seconds.to_be_bytes()].concat());
            answer.extend_from_slice(&(record.len() as u16).to_be_bytes());
            answer.extend_from_slice(&record);
        }
        Some(answer)
    }
}

fn encoded(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut octets: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    octets.push(0);
    octets
}
