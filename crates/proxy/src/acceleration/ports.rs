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
use super::pump::{Forwarder, Idle};
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
    /// Tables, and a thread that has no ports yet.
    pub(super) fn open(settings: Settings, af_xdp: &config::AfXdp, modes: &[Mode]) -> Result<Ports, String> {
        let tables = Userspace::new(settings).map_err(|error| error.to_string())?;
        let ways = Ways::open().map_err(|error| reasons(&error))?;
        let stack = Stack::open().map_err(|error| reasons(&error))?;
        let forwarder = Forwarder::start(tables.tables(), ways, idle(af_xdp))
            .map_err(|error| format!("there is no thread for it: {error}"))?;
        let most = settings.sizes.services.saturating_add(settings.sizes.backends);
        let (stack, own) = (Some(Arc::new(stack)), BTreeMap::new());
        Ok(Ports { forwarder, tables, stack, own, settings: af_xdp.clone(), modes: modes.to_vec(), most })
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
    Idle { spin: settings.spin, sleep: std::time::Duration::ZERO }
}
