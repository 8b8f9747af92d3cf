//! Interfaces whose frames come into user space: their ports, what gives them frames, and the thread that forwards.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outwork_config::Affinity;
use outwork_fastpath::kernel::attach::{index_of, reasons};
use outwork_fastpath::machine::interface::receive_queues;
use outwork_fastpath::port::Pumped;
use outwork_fastpath::port::af_xdp::AfXdp;
use outwork_fastpath::port::stack::Stack;
use outwork_fastpath::port::steering::{Hold, Steering};
use outwork_fastpath::port::userspace::Userspace;
use outwork_fastpath::port::ways::Ways;
use outwork_fastpath::{Mode, Settings, Sink};
use outwork_net::thread;

use super::held::{Got, Queues, Taken};
use super::pump::{First, Forwarder, Idle};
use crate::config::ports as config;

/// For so long, answers of backends make flows that were known to tables before these.
const ADOPTION: Duration = Duration::from_secs(60);
/// From one look at a queue that is not free yet to the next.
const STEP: Duration = Duration::from_millis(5);

/// An interface, and how it is held.
struct Own {
    index: u32,
    taken: Taken,
}

/// Ports and tables of user space. Ports close, and programs are taken off, when this goes.
pub(super) struct Ports {
    // The thread goes before what it forwards by.
    forwarder: Forwarder,
    tables: Userspace,
    stack: Option<Arc<Stack>>,
    /// Who knows where backends are.
    ways: Ways,
    own: BTreeMap<String, Own>,
    /// Interfaces whose sockets make way for others: which they are, and how their programs run, which drop frames of ours until then.
    reopening: BTreeMap<String, (u32, Mode)>,
    /// Programs that the process before this one has left.
    left: Vec<Hold>,
    settings: config::AfXdp,
    /// How the program runs that gives frames, the best first.
    modes: Vec<Mode>,
    /// Services and backends that steering has room for.
    most: u32,
}

/// Why an interface is not held.
pub(super) enum Refusal {
    /// It is not there.
    Absent(String),
    /// It does not take what was tried.
    Failed(String),
}

impl Refusal {
    pub(super) fn why(&self) -> &str {
        match self {
            Refusal::Absent(why) | Refusal::Failed(why) => why,
        }
    }
}

impl Ports {
    /// Tables, and a thread that has no ports yet; what `first` does is done by it.
    fn with(settings: Settings, idle: Idle, first: First) -> Result<Ports, String> {
        let mut tables = Userspace::new(settings).map_err(|error| error.to_string())?;
        tables.adopt(ADOPTION);
        let ways = || Ways::open().map_err(|error| reasons(&error));
        let (forwarder, ways) = (Forwarder::start(tables.tables(), ways()?, idle, first)?, ways()?);
        let most = settings.sizes.services.saturating_add(settings.sizes.backends);
        Ok(Ports {
            forwarder,
            tables,
            stack: None,
            ways,
            own: BTreeMap::new(),
            reopening: BTreeMap::new(),
            left: Vec::new(),
            settings: config::AfXdp::default(),
            modes: Vec::new(),
            most,
        })
    }

    /// Sockets of AF_XDP, none of which is open yet.
    pub(super) fn of_af_xdp(settings: Settings, af_xdp: &config::AfXdp, modes: &[Mode]) -> Result<Ports, String> {
        let affinity = af_xdp.affinity.clone();
        let mut ports = Ports::with(settings, idle(af_xdp), Box::new(move || stay(&affinity)))?;
        ports.stack = Some(Arc::new(Stack::open().map_err(|error| reasons(&error))?));
        (ports.settings, ports.modes) = (af_xdp.clone(), modes.to_vec());
        Ok(ports)
    }

    /// Ports of DPDK, all of them open.
    #[cfg(feature = "dpdk")]
    pub(super) fn of_dpdk(settings: Settings, dpdk: &config::Dpdk) -> Result<Ports, String> {
        use outwork_fastpath::port::Port as _;
        use outwork_fastpath::port::dpdk::{DpdkPort, Environment, Shape, ports};

        let environment = Environment {
            hugepages: dpdk.hugepages,
            memory: dpdk.memory,
            cores: dpdk.cores.clone().unwrap_or_default(),
            channels: dpdk.memory_channels,
            pci: dpdk.pci.clone(),
            vdevs: dpdk.vdevs.clone(),
            further: dpdk.eal.clone(),
        };
        let first = move || environment.start().map_err(|error| error.to_string());
        let mut own = Ports::with(settings, idle_of_dpdk(dpdk), Box::new(first))?;
        let used = ports().into_iter().map(|(number, device)| (u32::from(number), device));
        let used: Vec<_> = used.filter(|(number, _)| dpdk.port_mask.is_none_or(|mask| mask.has(*number))).collect();
        if used.is_empty() {
            return Err("DPDK has none of the ports that are to be used: look at pci, vdevs and port_mask".to_owned());
        }
        let descriptors = u16::try_from(dpdk.descriptors).unwrap_or(u16::MAX);
        let shape = Shape { frames: dpdk.frames, descriptors, batch: dpdk.batch as usize };
        for (nth, (number, device)) in used.into_iter().enumerate() {
            let interface = dpdk.interface(nth, number);
            let port = DpdkPort::open_for_kernel(&device, &interface, shape).map_err(|error| error.to_string())?;
            let taken = Taken {
                interface: interface.clone(),
                got: Got::Dpdk,
                tried: Vec::new(),
                replaced: false,
                stays: false,
                concerns: Vec::new(),
                queues: Some(Queues { numbers: vec![0], copied: false, because: None }),
            };
            own.own.insert(interface, Own { index: port.interface(), taken });
            own.forwarder.add(Box::new(port));
        }
        Ok(own)
    }

    /// Ports of DPDK, of which this build has none.
    #[cfg(not(feature = "dpdk"))]
    pub(super) fn of_dpdk(_: Settings, _: &config::Dpdk) -> Result<Ports, String> {
        Err("this build has no DPDK: build it with `--features dpdk` and Debian's `libdpdk-dev`".to_owned())
    }

    /// Takes up what of DPDK's settings changes without a restart.
    pub(super) fn set_dpdk(&self, dpdk: &config::Dpdk) {
        self.forwarder.set(idle_of_dpdk(dpdk));
    }

    pub(super) fn sink(&mut self) -> &mut dyn Sink {
        &mut self.tables
    }

    pub(super) fn taken(&self) -> impl Iterator<Item = &Taken> {
        self.own.values().map(|own| &own.taken)
    }

    /// What came in by each interface and left by it.
    pub(super) fn pumped(&self) -> impl Iterator<Item = (&Taken, Pumped)> {
        let pumped = self.forwarder.pumped();
        self.own.values().map(move |own| {
            let mut sum = Pumped::default();
            pumped.iter().filter(|(index, _)| *index == own.index).for_each(|(_, one)| sum += *one);
            (&own.taken, sum)
        })
    }

    /// Whether the thread that forwards is no more.
    pub(super) fn has_ended(&self) -> bool {
        self.forwarder.has_ended()
    }

    /// Takes over programs that the process before this one has left, as far as their interfaces are taken.
    pub(super) fn inherit(&mut self, left: Vec<Hold>) {
        self.left = left;
    }

    /// What was not taken over.
    pub(super) fn not_inherited(&mut self) -> Vec<Hold> {
        std::mem::take(&mut self.left)
    }

    /// Goes, and leaves programs in the driver to another process: until it has taken them over, they drop what is ours.
    pub(super) fn leave(mut self) -> Vec<OwnedFd> {
        let native = self.own.iter().filter(|(_, own)| own.taken.got == Got::AfXdp(Mode::Native));
        let native: Vec<String> = native.map(|(name, _)| name.clone()).collect();
        let close = |name: &String| self.tables.steering(name).is_some_and(|steering| steering.close(true).is_ok());
        let closed: Vec<String> = native.into_iter().filter(close).collect();
        drop(self.forwarder);
        let holds = closed.iter().filter_map(|name| self.tables.release(name)?.into_hold());
        holds.map(Hold::into_file).collect()
    }

    /// The interface without a port by which a backend is reached, where there is one. Nobody knows while no interface is held.
    pub(super) fn beside(&self, service: IpAddr, backend: IpAddr) -> Option<String> {
        let held: Vec<u32> = self.own.values().map(|own| own.index).collect();
        let wire = |ifindex| self.tables.tables().lock().links.get(&ifindex).map_or(ifindex, |link| link.parent);
        super::outlets::beside(&self.ways, &held, wire, (service, backend))
    }

    /// Takes up settings. Ports that are others with them are closed, and so are those of interfaces that are not wanted any more, or are not there; their
    /// flows stay. Those are opened by [`Ports::take`]; until then the kernel gets nothing of ours, as far as its program stays as it is.
    pub(super) fn set(&mut self, settings: &config::AfXdp, modes: &[Mode], is_wanted: impl Fn(&str) -> bool) {
        let runs_otherwise = self.modes != modes;
        let is_other = config::AfXdp { spin: settings.spin, ..self.settings.clone() } != *settings;
        (self.settings, self.modes) = (settings.clone(), modes.to_vec());
        self.forwarder.set(idle(settings));
        let names = |goes: &dyn Fn(&str) -> bool| -> Vec<String> {
            self.own.keys().filter(|name| goes(name)).cloned().collect()
        };
        let gone = names(&|name| runs_otherwise || !is_wanted(name));
        let reopened = names(&|name| is_other && !gone.iter().any(|one| one == name));
        gone.iter().for_each(|name| self.release(name));
        self.expect(reopened.iter().map(String::as_str));
        reopened.iter().for_each(|name| self.make_way(name));
    }

    /// Says which interfaces are about to have ports. Until then what would leave by them is dropped, and not left to the kernel.
    pub(super) fn expect<'a>(&self, names: impl Iterator<Item = &'a str>) {
        self.forwarder.expect(names.filter_map(index_of).collect());
    }

    /// Closes the sockets of an interface, whose program stays and drops what is ours.
    fn make_way(&mut self, name: &str) {
        let closed = self.tables.steering(name).is_some_and(|steering| steering.close(true).is_ok());
        let Some(Own { index, taken: Taken { got: Got::AfXdp(mode), .. } }) = self.own.get(name).filter(|_| closed)
        else {
            return self.release(name);
        };
        let (index, mode) = (*index, *mode);
        self.own.remove(name);
        self.forwarder.remove(index);
        self.reopening.insert(name.to_owned(), (index, mode));
    }

    /// Lets go of interfaces that are not there any more, or are others of the same name.
    pub(super) fn drop_gone(&mut self) {
        let gone = self.own.iter().filter(|(name, own)| index_of(name) != Some(own.index));
        let gone: Vec<String> = gone.map(|(name, _)| name.clone()).collect();
        gone.iter().for_each(|name| self.release(name));
    }

    fn release(&mut self, name: &str) {
        if let Some(own) = self.own.remove(name) {
            // No frames come any more before there is nobody to take them.
            drop(self.tables.release(name));
            self.forwarder.remove(own.index);
        }
    }

    pub(super) fn holds(&self, name: &str) -> bool {
        self.own.contains_key(name)
    }

    /// Opens sockets on all queues of an interface, and has a program give them frames that runs by the first of these modes that works. A queue that is not free is waited
    /// for so long.
    pub(super) fn take(&mut self, name: &str, modes: &[Mode], patience: Duration) -> Result<&Taken, Refusal> {
        let index = index_of(name).ok_or_else(|| Refusal::Absent(format!("there is no interface `{name}`")))?;
        let kept = self.reopening.remove(name);
        let opened = self.open_ports(name, patience).and_then(|(queues, ports)| {
            let kept = kept.filter(|(own, _)| *own == index).map(|(_, mode)| mode);
            let (mode, tried) = self.steer((name, index), kept, modes, (&queues.numbers, &ports))?;
            Ok((queues, ports, mode, tried))
        });
        let (queues, ports, mode, tried) = opened.map_err(|why| {
            // Nothing of an interface is dropped that is not ours after all.
            drop(self.tables.release(name));
            Refusal::Failed(format!("`{name}` gives no frames to user space: {why}"))
        })?;
        // A program behind the driver would see again what is given to the kernel's stack.
        let stack = self.stack.clone().filter(|_| mode != Mode::Skb);
        ports.into_iter().for_each(|port| self.forwarder.add(Box::new(port.with_stack(stack.clone()))));
        let mut concerns = Vec::new();
        if mode == Mode::Skb {
            concerns.push(
                "behind the driver (skb) frames that turn out to be the kernel's have no way back to it, and are lost: those to a backend that is reached by no port, or to a neighbour that is not known"
                    .to_owned(),
            );
        }
        let (interface, got) = (name.to_owned(), Got::AfXdp(mode));
        let queues = Some(queues);
        let taken = Taken { interface, got, tried, replaced: false, stays: false, concerns, queues };
        Ok(&self.own.entry(name.to_owned()).insert_entry(Own { index, taken }).into_mut().taken)
    }

    /// Opens sockets, to which no frames come yet.
    fn open_ports(&self, name: &str, patience: Duration) -> Result<(Queues, Vec<AfXdp>), String> {
        let numbers: Vec<u32> = match self.settings.queues.is_empty() {
            true => (0..receive_queues(name).clamp(1, config::QUEUES)).collect(),
            false => self.settings.queues.clone(),
        };
        let began = Instant::now();
        let mut ports = Vec::new();
        for queue in &numbers {
            let settings = self.settings.settings(*queue);
            let port = loop {
                match AfXdp::open(name, &settings) {
                    Err(error) if error.is_busy() && began.elapsed() < patience => std::thread::sleep(STEP),
                    opened => break opened.map_err(|error| error.to_string())?,
                }
            };
            ports.push(port);
        }
        let because = ports.iter().find_map(|port| port.copied_because().map(str::to_owned));
        let copied = because.is_some() || self.settings.copy == config::CopyMode::Copy;
        Ok((Queues { numbers, copied, because }, ports))
    }

    /// Has a program give frames to sockets: the one that has dropped them until now, the one of the process before this, or a new one by the first of these modes that
    /// works. Says which mode, and what was tried before.
    fn steer(
        &mut self,
        (name, index): (&str, u32),
        kept: Option<Mode>,
        modes: &[Mode],
        (numbers, ports): (&[u32], &[AfXdp]),
    ) -> Result<(Mode, Vec<(String, String)>), String> {
        let give = |steering: &mut Steering| {
            numbers.iter().zip(ports).try_for_each(|(queue, port)| steering.give(*queue, port))
        };
        if let (Some(mode), Some(steering)) = (kept, self.tables.steering(name))
            && give(steering).and_then(|()| steering.close(false)).is_ok()
        {
            return Ok((mode, Vec::new()));
        }
        drop(self.tables.release(name));
        let left = self.left.iter().position(|hold| hold.interface() == Some(index));
        let left = left.map(|at| self.left.swap_remove(at));
        let (mut left, useless) = if modes.contains(&Mode::Native) { (left, None) } else { (None, left) };
        if let Some(hold) = useless {
            // It would be in the way of every other program.
            let _ = hold.end();
        }
        let mut tried = Vec::new();
        for mode in modes {
            let steered = Steering::load(self.most).and_then(|mut steering| {
                self.tables.prepare(&mut steering)?;
                give(&mut steering)?;
                match left.take_if(|_| *mode == Mode::Native) {
                    Some(hold) => steering.succeed(hold)?,
                    None => steering.attach(name, *mode)?,
                }
                Ok(steering)
            });
            match steered {
                Ok(steering) => {
                    self.tables.keep(name, steering);
                    return Ok((*mode, tried));
                }
                Err(error) => tried.push((Got::AfXdp(*mode).to_string(), error.to_string())),
            }
        }
        let tried: Vec<String> = tried.iter().map(|(tier, why)| format!("{tier}: {why}")).collect();
        Err(tried.join("; "))
    }
}

/// Keeps the calling thread, which is the only one of its kind, on its processor. Others of this process begin with the first.
fn stay(affinity: &Affinity) -> Result<(), String> {
    let mut processors = thread::all_processors().unwrap_or_default();
    processors.reverse();
    match affinity.of_thread(0, &processors).map(thread::pin) {
        Some(Err(error)) => Err(error.to_string()),
        Some(Ok(())) | None => Ok(()),
    }
}

fn idle(settings: &config::AfXdp) -> Idle {
    // Sockets say when they have frames; without descriptors to wait by, they are looked at.
    Idle { spin: settings.spin, sleep: Duration::from_millis(1) }
}

fn idle_of_dpdk(dpdk: &config::Dpdk) -> Idle {
    Idle { spin: dpdk.spin, sleep: dpdk.sleep }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_that_forwards_stays_on_the_first_processor_that_is_named_or_else_on_the_last() {
        let all = thread::all_processors().unwrap();
        let (first, last) = (*all.first().unwrap(), *all.last().unwrap());
        let named = Affinity::On(format!("{last}").parse().unwrap());
        let both =
            Affinity::On(format!("{first},{last}").parse().unwrap_or_else(|_| format!("{first}").parse().unwrap()));
        let expected =
            [(named, vec![last]), (both, vec![first]), (Affinity::Each, vec![last]), (Affinity::Anywhere, all)];
        for (affinity, processors) in expected {
            let stays = std::thread::spawn(move || {
                stay(&affinity).unwrap();
                thread::processors().unwrap()
            });
            assert_eq!(stays.join().unwrap(), processors);
        }
        let none = Affinity::On("1023".parse().unwrap());
        assert!(std::thread::spawn(move || stay(&none)).join().unwrap().unwrap_err().contains("1023"));
    }
}
