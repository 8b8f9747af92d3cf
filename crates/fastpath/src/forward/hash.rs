//! Which flow gets which place of a Maglev table: the same on every machine, and in the kernel.

use outwork_balance::hash::{below, mix};

use crate::layout::{Address, BY_SOURCE, FlowKey};

/// The hash of a client: that of [`outwork_balance::hash::address`].
fn of_source(source: Address) -> u64 {
    let (high, low) = source.halves();
    match source.is_v4() {
        true => mix(low & 0xffff_ffff | 4 << 32),
        false => mix(high ^ 6),
    }
}

/// The hash of a flow as the client's packets have it; with [`BY_SOURCE`] in `flags`, of its client.
pub fn of_flow(key: &FlowKey, flags: u32) -> u64 {
    let source = of_source(key.source);
    if flags & BY_SOURCE != 0 {
        return source;
    }
    let port = |octets| u64::from(u16::from_be_bytes(octets));
    let ports = port(key.source_port) << 32 | port(key.destination_port) << 8 | u64::from(key.protocol);
    // Within a network, clients are told apart here.
    mix(mix(source ^ key.source.halves().1) ^ ports)
}

/// The place to look at after so many that could not be used: that of [`outwork_balance::Maglev::member`].
pub(crate) fn place(hash: u64, after: u32, size: u32) -> u32 {
    let first = below(hash, size);
    match after {
        0 => first,
        _ => below(mix(u64::from(after) << 32 | u64::from(first)), size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_the_hash_that_the_balancer_gives_it() {
        for text in ["192.0.2.1", "2001:db8::1", "::1"] {
            let key =
                FlowKey { source: Address::from(text.parse::<std::net::IpAddr>().unwrap()), ..FlowKey::default() };
            let expected = outwork_balance::hash::address(text.parse().unwrap());
            assert_eq!(of_flow(&key, BY_SOURCE), expected, "{text}");
        }
    }

    #[test]
    fn flows_of_one_client_are_told_apart_by_their_ports() {
        let key = |port: u16| FlowKey { source_port: port.to_be_bytes(), ..FlowKey::default() };
        assert_ne!(of_flow(&key(1), 0), of_flow(&key(2), 0));
        assert_eq!(of_flow(&key(1), BY_SOURCE), of_flow(&key(2), BY_SOURCE));
    }
}
