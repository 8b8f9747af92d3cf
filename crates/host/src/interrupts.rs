//! The interrupts of an interface, and who would move them.

use crate::machine::Machine;
use crate::name::InterfaceName;

/// The numbers of the interrupts of an interface, in order: those of its card, or those that bear its name. Virtio has its card one floor below the device.
pub(crate) fn of(machine: &Machine, interface: &InterfaceName) -> Vec<u32> {
    let device = format!("sys/class/net/{interface}/device");
    let of_card = [format!("{device}/msi_irqs"), format!("{device}/../msi_irqs")]
        .into_iter()
        .map(|folder| machine.names(folder).iter().filter_map(|name| name.parse().ok()).collect::<Vec<u32>>());
    let mut numbers =
        of_card.into_iter().find(|numbers| !numbers.is_empty()).unwrap_or_else(|| named(machine, interface));
    numbers.sort_unstable();
    numbers.retain(|number| machine.path(format!("proc/irq/{number}")).is_dir());
    numbers
}

/// Those whose line in `/proc/interrupts` ends with the name of the interface, perhaps with that of a queue behind it: `eth0`, `eth0-rx-0`.
fn named(machine: &Machine, interface: &InterfaceName) -> Vec<u32> {
    let text = machine.text("proc/interrupts").unwrap_or_default();
    let bears = |line: &&str| {
        let mut words = line.split([' ', '\t', ',']).filter(|word| !word.is_empty());
        words.any(|word| {
            let rest = word.strip_prefix(interface.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', ':', '@']))
        })
    };
    let number = |line: &str| line.trim_start().split_once(':')?.0.parse().ok();
    text.lines().filter(bears).filter_map(number).collect()
}

/// Whether irqbalance runs, which would move them again.
pub(crate) fn are_balanced(machine: &Machine) -> bool {
    let is_process = |name: &&String| name.bytes().all(|octet| octet.is_ascii_digit());
    let processes = machine.names("proc");
    processes
        .iter()
        .filter(is_process)
        .any(|number| machine.text(format!("proc/{number}/comm")).is_some_and(|name| name == "irqbalance"))
}
