//! Interfaces whose frames come into user space: their ports, what gives them frames, and the thread that forwards.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use outwork_fastpath::kernel::attach::{concerns, index_of, reasons};
use outwork_fastpath::machine::interface::receive_queues;
use outwork_fastpath::port::Pumped;
use outwork_fastpath::port::af_xdp::AfXdp;
use outwork_fastpath::port::stack::Stack;
use outwork_fastpath::port::steering::Steering;
use outwork_fastpath::port::userspace::Userspace;
use outwork_fastpath::port::ways::Ways;
use outwork_fastpath::{Mode, Settings, Sink};

use super::held::{Got, Queues, Taken};
use super::pump::{First, Forwarder, Idle};
use crate::config::ports as config;

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
    own: BTreeMap<String, Own>,
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
        let tables = Userspace::new(settings).map_err(|error| error.to_string())?;
        let ways = Ways::open().map_err(|error| reasons(&error))?;
        let forwarder = Forwarder::start(tables.tables(), ways, idle, first)?;
        let most = settings.sizes.services.saturating_add(settings.sizes.backends);
        let (stack, own, settings, modes) = (None, BTreeMap::new(), config::AfXdp::default(), Vec::new());
        Ok(Ports { forwarder, tables, stack, own, settings, modes, most })
    }

    /// Sockets of AF_XDP, none of which is open yet.
    pub(super) fn of_af_xdp(settings: Settings, af_xdp: &config::AfXdp, modes: &[Mode]) -> Result<Ports, String> {
        let mut ports = Ports::with(settings, idle(af_xdp), Box::new(|| Ok(())))?;
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
                concerns: concerns(Path::new("/proc"), &interface),
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

    /// Takes up settings. Ports that are others with them are closed, and so are those of interfaces that are not wanted any more, or are not there; their
    /// flows stay. Those are opened by [`Ports::take`].
    pub(super) fn set(&mut self, settings: &config::AfXdp, modes: &[Mode], is_wanted: impl Fn(&str) -> bool) {
        let is_other =
            config::AfXdp { spin: settings.spin, ..self.settings.clone() } != *settings || self.modes != modes;
        (self.settings, self.modes) = (settings.clone(), modes.to_vec());
        self.forwarder.set(idle(settings));
        let gone: Vec<String> =
            self.own.iter().filter(|(name, _)| is_other || !is_wanted(name)).map(|(name, _)| name.clone()).collect();
        gone.iter().for_each(|name| self.release(name));
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
            self.tables.release(name);
            self.forwarder.remove(own.index);
        }
    }

    pub(super) fn holds(&self, name: &str) -> bool {
        self.own.contains_key(name)
    }

    /// Opens sockets on all queues of an interface, and has a program give them frames that runs by the first of these modes that works.
    pub(super) fn take(&mut self, name: &str) -> Result<&Taken, Refusal> {
        let index = index_of(name).ok_or_else(|| Refusal::Absent(format!("there is no interface `{name}`")))?;
        let mut tried: Vec<(String, String)> = Vec::new();
        for mode in self.modes.clone() {
            match self.open_ports(name, mode) {
                Ok(queues) => {
                    let taken = Taken {
                        interface: name.to_owned(),
                        got: Got::AfXdp(mode),
                        tried,
                        replaced: false,
                        stays: false,
                        concerns: concerns(Path::new("/proc"), name),
                        queues: Some(queues),
                    };
                    return Ok(&self.own.entry(name.to_owned()).insert_entry(Own { index, taken }).into_mut().taken);
                }
                Err(why) => tried.push((Got::AfXdp(mode).to_string(), why)),
            }
        }
        let tried: Vec<String> = tried.iter().map(|(tier, why)| format!("{tier}: {why}")).collect();
        Err(Refusal::Failed(format!("`{name}` gives no frames to user space: {}", tried.join("; "))))
    }

    fn open_ports(&mut self, name: &str, mode: Mode) -> Result<Queues, String> {
        let mut steering = Steering::attach(name, mode, self.most).map_err(|error| error.to_string())?;
        let numbers = match self.settings.queues.is_empty() {
            true => (0..receive_queues(name).clamp(1, config::QUEUES)).collect(),
            false => self.settings.queues.clone(),
        };
        // A program behind the driver would see again what is given to the kernel's stack.
        let stack = self.stack.clone().filter(|_| mode != Mode::Skb);
        let mut ports = Vec::new();
        for queue in &numbers {
            let port = AfXdp::open(name, &self.settings.settings(*queue)).map_err(|error| error.to_string())?;
            steering.give(*queue, &port).map_err(|error| error.to_string())?;
            ports.push(port.with_stack(stack.clone()));
        }
        let because = ports.iter().find_map(|port| port.copied_because().map(str::to_owned));
        let copied = because.is_some() || self.settings.copy == config::CopyMode::Copy;
        // From here on frames come.
        ports.into_iter().for_each(|port| self.forwarder.add(Box::new(port)));
        if let Err(error) = self.tables.steer(name, steering) {
            index_of(name).into_iter().for_each(|index| self.forwarder.remove(index));
            return Err(error.to_string());
        }
        Ok(Queues { numbers, copied, because })
    }
}

fn idle(settings: &config::AfXdp) -> Idle {
    // Sockets say when they have frames; without descriptors to wait by, they are looked at.
    Idle { spin: settings.spin, sleep: std::time::Duration::from_millis(1) }
}

fn idle_of_dpdk(dpdk: &config::Dpdk) -> Idle {
    Idle { spin: dpdk.spin, sleep: dpdk.sleep }
}
