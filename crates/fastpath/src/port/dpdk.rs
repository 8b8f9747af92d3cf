//! Ports of DPDK: drivers in user space, or virtual devices. There is one environment in a process, which is set up once and for all.

use super::{Packet, Port};
use crate::sys::dpdk::{self, Buffer, Device};

/// What the owner says of the environment (EAL).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// Memory in huge pages, or in ordinary ones.
    pub hugepages: bool,
    /// Megabytes of it; 0 is DPDK's own choice.
    pub memory: u32,
    /// Processors by number, such as `4-7`; DPDK's own choice where it is empty.
    pub cores: String,
    /// Channels of memory; 0 is DPDK's own choice.
    pub channels: u32,
    /// Devices by their address on PCI, such as `0000:02:00.0`; without any, none is looked at.
    pub pci: Vec<String>,
    /// Virtual devices, such as `net_af_packet0,iface=eth0`.
    pub vdevs: Vec<String>,
    /// Further arguments, as they are.
    pub further: Vec<String>,
}

impl Environment {
    /// The arguments that say so.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = ["outwork", "--no-telemetry"].map(str::to_owned).to_vec();
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        if !self.cores.is_empty() {
            add("-l", self.cores.clone());
        }
        if self.channels > 0 {
            add("-n", self.channels.to_string());
        }
        if self.memory > 0 {
            add("-m", self.memory.to_string());
        }
        self.pci.iter().for_each(|device| add("-a", device.clone()));
        arguments.extend(self.vdevs.iter().map(|device| format!("--vdev={device}")));
        // Nothing is left in files, which a process that takes the place of this one would find.
        let memory: &[&str] = if self.hugepages { &["--in-memory"] } else { &["--no-huge", "--no-shconf"] };
        arguments.extend(memory.iter().map(|argument| (*argument).to_owned()));
        arguments.extend(self.pci.is_empty().then(|| "--no-pci".to_owned()));
        arguments.extend(self.further.iter().cloned());
        arguments
    }

    /// Sets it up. Devices are found in the network namespace of the thread that calls, which runs on the first of `cores` from then on.
    ///
    /// # Errors
    /// When DPDK refuses, or it was set up before.
    pub fn start(&self) -> Result<(), DpdkError> {
        match dpdk::start(&self.arguments()) {
            Some(result) => result.map_err(|why| DpdkError::Environment { arguments: self.arguments().join(" "), why }),
            None => Err(DpdkError::Twice),
        }
    }
}

/// All ports of the environment: their numbers, and the devices that they are of.
pub fn ports() -> Vec<(u16, String)> {
    dpdk::ports()
}

/// How large a port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Frames that it has memory for.
    pub frames: u32,
    /// Descriptors of its queue, each way.
    pub descriptors: u16,
    /// Frames of a burst.
    pub batch: usize,
}

/// Why there is no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DpdkError {
    /// It is done once in a process.
    #[error("DPDK's environment is set up once in a process: its arguments change with a restart")]
    Twice,
    /// DPDK refuses its arguments, or finds no memory.
    #[error("DPDK does not start with `{arguments}`: {why}")]
    Environment {
        /// What it was told.
        arguments: String,
        /// What it says.
        why: String,
    },
    /// DPDK has no such device, or cannot set it up.
    #[error("DPDK's device `{device}` is no port: {why}")]
    Device {
        /// The device.
        device: String,
        /// What it says.
        why: String,
    },
}

/// A port of DPDK.
#[derive(Debug)]
pub struct DpdkPort {
    /// Frames in the caller's hands, by the number that they are known by here. They go before the devices.
    held: Vec<Option<Buffer>>,
    free: Vec<u32>,
    /// The TAP that stands for the port.
    kernel: Option<Device>,
    device: Device,
    interface: u32,
    batch: usize,
}

impl DpdkPort {
    /// The port of a device. `interface` is the index that routes know it by.
    ///
    /// # Errors
    /// When DPDK has no such device or cannot set it up.
    pub fn open(device: &str, interface: u32, shape: Shape) -> Result<DpdkPort, DpdkError> {
        let refused = |why| DpdkError::Device { device: device.to_owned(), why };
        let opened = Device::open(device, shape.frames, shape.descriptors).map_err(refused)?;
        let (held, free, batch) = (vec![], vec![], shape.batch.max(1));
        Ok(DpdkPort { held, free, kernel: None, device: opened, interface, batch })
    }

    /// The port of a device, with an interface of the kernel's, made here, that stands for it: routes are that one's, and frames that are not passed on go
    /// there and come from there.
    ///
    /// # Errors
    /// When DPDK has no such device or cannot set it up, or there is no such interface to be had.
    pub fn open_for_kernel(device: &str, interface: &str, shape: Shape) -> Result<DpdkPort, DpdkError> {
        let refused = |why| DpdkError::Device { device: device.to_owned(), why };
        let mut port = DpdkPort::open(device, 0, shape)?;
        let tap = port.device.tap(interface, shape.frames, shape.descriptors);
        port.kernel = Some(tap.map_err(|why| refused(format!("the TAP `{interface}`: {why}")))?);
        let index = crate::kernel::attach::index_of(interface);
        port.interface = index.ok_or_else(|| refused(format!("there is no interface `{interface}` beside it")))?;
        Ok(port)
    }

    /// Sends off what the kernel has for the wire.
    fn relay(&mut self) {
        let Some(kernel) = &mut self.kernel else { return };
        let mut frames = vec![];
        kernel.receive(self.batch, |buffer| frames.push(buffer));
        if !frames.is_empty() {
            self.device.send(&mut frames);
        }
    }
}

/// Gives a frame a number.
fn hold(held: &mut Vec<Option<Buffer>>, free: &mut Vec<u32>, buffer: Buffer) -> u32 {
    match free.pop().and_then(|number| held.get_mut(number as usize).map(|place| (number, place))) {
        Some((number, place)) => {
            *place = Some(buffer);
            number
        }
        None => {
            held.push(Some(buffer));
            held.len() as u32 - 1
        }
    }
}

impl Port for DpdkPort {
    fn interface(&self) -> u32 {
        self.interface
    }

    fn rx_burst(&mut self, into: &mut Vec<Packet>) -> std::io::Result<usize> {
        self.relay();
        let (held, free) = (&mut self.held, &mut self.free);
        let count = self.device.receive(self.batch, |buffer| {
            let (start, length) = buffer.span();
            // What is in several pieces is longer than any link here takes.
            if length > 0 {
                into.push(Packet { chunk: hold(held, free, buffer), start, length });
            }
        });
        Ok(count)
    }

    fn tx_burst(&mut self, from: &mut Vec<Packet>) -> std::io::Result<usize> {
        let mut frames = vec![];
        for packet in from.drain(..) {
            if let Some(mut buffer) = self.held.get_mut(packet.chunk as usize).and_then(Option::take) {
                buffer.set_span(packet.start, packet.length);
                self.free.push(packet.chunk);
                frames.push(buffer);
            }
        }
        let sent = self.device.send(&mut frames);
        // What there was no room for is the caller's again.
        for buffer in frames {
            let (start, length) = buffer.span();
            from.push(Packet { chunk: hold(&mut self.held, &mut self.free, buffer), start, length });
        }
        Ok(sent)
    }

    fn chunk(&mut self, chunk: u32) -> Option<&mut [u8]> {
        self.held.get_mut(chunk as usize)?.as_mut().map(Buffer::room)
    }

    fn take(&mut self) -> Option<u32> {
        let buffer = self.device.take()?;
        Some(hold(&mut self.held, &mut self.free, buffer))
    }

    fn release(&mut self, chunk: u32) {
        if self.held.get_mut(chunk as usize).and_then(Option::take).is_some() {
            self.free.push(chunk);
        }
    }

    fn give_back(&mut self, packet: Packet) -> bool {
        let Some(mut buffer) = self.held.get_mut(packet.chunk as usize).and_then(Option::take) else { return false };
        self.free.push(packet.chunk);
        let Some(kernel) = &mut self.kernel else { return false };
        buffer.set_span(packet.start, packet.length);
        kernel.send(&mut vec![buffer]) == 1
    }
}
