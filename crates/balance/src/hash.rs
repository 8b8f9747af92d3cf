//! Hashes that are the same in every process, version and machine: neighbours that balance the same pool have to agree on who gets which flow.

use std::net::IpAddr;

/// Spreads what is known of `z` over all bits of the result: a bijection (Stafford's variant 4 of MurmurHash3's finalizer).
pub const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 33)).wrapping_mul(0x62a9_d9ed_7997_05f5);
    let z = (z ^ (z >> 28)).wrapping_mul(0xcb24_d0a5_c88c_35b3);
    z ^ (z >> 32)
}

/// The hash of `bytes` (FNV-1a on 64 bits, whose weak high bits are mixed afterwards). Another `seed` is another hash.
pub fn bytes(bytes: &[u8], seed: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ mix(seed);
    mix(bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)))
}

/// The hash of a client by its address: all of an IPv4 address, the /64 of an IPv6 one, within which a client changes addresses as it likes (RFC 8981).
pub fn address(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => mix(u64::from(v4.to_bits()) | 4 << 32),
        IpAddr::V6(v6) => mix((v6.to_bits() >> 64) as u64 ^ 6),
    }
}

/// The upper half of `hash` as a number from 0 to `bound` - 1 (Lemire's product), each as likely as another to one part in 2^32 / `bound`. Programs in
/// the kernel have no product of more than 64 bits.
pub const fn below(hash: u64, bound: u32) -> u32 {
    (((hash >> 32) * bound as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_never_change_for_they_are_shared_with_neighbours() {
        // Computed by another implementation.
        assert_eq!((bytes(b"10.0.0.1:80", 1), mix(1)), (15862676827542771006, 1665319923779167587));
        assert_ne!(bytes(b"10.0.0.1:80", 0), bytes(b"10.0.0.2:80", 0));
        assert_ne!(bytes(b"10.0.0.1:80", 0), bytes(b"10.0.0.1:80", 1));
    }

    #[test]
    fn a_client_keeps_its_hash_within_its_own_network() {
        let of = |text: &str| address(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"), "one /64");
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"), "an IPv4 client of an IPv6 socket");
    }
}
