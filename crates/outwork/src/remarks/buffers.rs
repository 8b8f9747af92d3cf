//! Buffers of sockets that are larger than the kernel gives.

use std::fs;

use outwork_config::expansion::join_key;
use outwork_config::{At, ByteSize, Fault};

use crate::settings::Settings;

/// Which way what is in a buffer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

impl Way {
    /// The setting of the kernel that says what a socket may ask for.
    fn limit(self) -> &'static str {
        match self {
            Self::In => "net.core.rmem_max",
            Self::Out => "net.core.wmem_max",
        }
    }

    /// What it says, where it can be read.
    fn most(self) -> Option<u64> {
        let file = format!("/proc/sys/{}", self.limit().replace('.', "/"));
        fs::read_to_string(file).ok()?.trim().parse().ok()
    }
}

/// A buffer, as a setting has it.
pub(crate) struct Buffer {
    /// The key of the setting.
    pub(crate) key: String,
    pub(crate) size: ByteSize,
    pub(crate) way: Way,
}

/// Those of a configuration.
pub(crate) fn of(settings: &Settings) -> Vec<Buffer> {
    let front = settings.front.listener.iter().enumerate();
    let front = front.map(|(index, one)| (format!("front.listener[{index}]"), one.receive_buffer, one.send_buffer));
    let layer4 = settings.proxy.listener.iter().enumerate();
    let layer4 = layer4.map(|(index, one)| (format!("proxy.listener[{index}]"), one.receive_buffer, one.send_buffer));
    let pools = settings.proxy.pool.iter().map(|(name, pool)| {
        let key = format!("{}.connections", join_key("proxy.pool", name));
        (key, pool.connections.receive_buffer, pool.connections.send_buffer)
    });
    let each = |(key, receive, send): (String, Option<ByteSize>, Option<ByteSize>)| {
        let ways = [("receive_buffer", receive, Way::In), ("send_buffer", send, Way::Out)];
        ways.map(|(name, size, way)| Some(Buffer { key: format!("{key}.{name}"), size: size?, way }))
    };
    front.chain(layer4).chain(pools).flat_map(each).flatten().collect()
}

/// Remarks on those that are larger than sockets get here: nothing else would say that what came of them is less.
pub(crate) fn are_to_be_had(settings: &Settings, at: &mut At<'_>) {
    for buffer in of(settings) {
        if let Some(warning) = buffer.way.most().and_then(|most| shortage(&buffer, most)) {
            at.warn(&buffer.key, warning);
        }
    }
}

/// What is to be said where a socket may ask for so many octets at most.
fn shortage(buffer: &Buffer, most: u64) -> Option<Fault> {
    // The kernel gives a socket twice what it asks for, and so it asks for half.
    let (asks, limit) = (buffer.size.get() / 2, buffer.way.limit());
    let gets = ByteSize::bytes(most.saturating_mul(2));
    (asks > most).then(|| {
        let found = format!("the kernel gives a socket {gets} here and not {}: {limit} is {most}", buffer.size);
        let help =
            format!("set {limit} to {asks} or more, which is half of it, as `outwork host` does; or ask for less");
        Fault::new(found).help(help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_more_than_the_kernel_gives_hears_what_that_is_and_what_to_set() {
        let buffer = |size, way| Buffer { key: String::new(), size, way };
        let large = buffer(ByteSize::mib(64), Way::In);
        let told = shortage(&large, 4 << 20).expect("a remark");
        assert!(told.found().contains("8MiB here and not 64MiB: net.core.rmem_max is 4194304"), "{}", told.found());
        let help = told.advice().unwrap_or_default();
        assert!(help.contains("net.core.rmem_max to 33554432 or more"), "{help}");
        assert!(shortage(&large, 32 << 20).is_none(), "it gets all of it");
        let told = shortage(&buffer(ByteSize::mib(1), Way::Out), 1000).expect("a remark");
        assert!(told.found().contains("net.core.wmem_max is 1000"), "{}", told.found());
    }
}
