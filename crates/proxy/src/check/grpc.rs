//! The messages of gRPC's health checks (grpc.health.v1), as far as they are needed: one string out, one number in.

use bytes::{BufMut, Bytes, BytesMut};

/// Field 1 as bytes, and as a number, in the encoding of Protocol Buffers.
const TEXT: u8 = 1 << 3 | 2;
const NUMBER: u8 = 1 << 3;
/// What a service that works says.
const SERVING: u64 = 1;

/// A `HealthCheckRequest`, in the frame of gRPC.
pub(super) fn request(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(service.len() + 6);
    if !service.is_empty() {
        message.push(TEXT);
        let mut length = service.len();
        while length > 0x7f {
            message.push(0x80 | (length & 0x7f) as u8);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

/// Reads a `HealthCheckResponse` in its frame. An error says what is wrong with the backend.
pub(super) fn response(framed: &[u8]) -> Result<(), String> {
    let Some(([packed, length @ ..], message)) = framed.split_first_chunk::<5>() else {
        return Err("its answer has no message".to_owned());
    };
    if *packed != 0 || u32::from_be_bytes(*length) as usize != message.len() {
        return Err("its answer is no message of gRPC's".to_owned());
    }
    match status(message) {
        Some(SERVING) => Ok(()),
        Some(0) | None => Err("it does not know whether it works (UNKNOWN)".to_owned()),
        Some(2) => Err("it says that it does not work (NOT_SERVING)".to_owned()),
        Some(3) => Err("it does not know the service (SERVICE_UNKNOWN)".to_owned()),
        Some(other) => Err(format!("it says {other}, which is no status")),
    }
}

/// The status, which stands alone: nothing else is in a message of this kind.
fn status(message: &[u8]) -> Option<u64> {
    let (tag, digits) = message.split_first()?;
    let mut value = 0u64;
    for (index, byte) in digits.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return (*tag == NUMBER).then_some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_asked_about_by_its_name_and_the_server_by_none() {
        assert_eq!(&request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&request("abc")[..], [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'b', b'c']);
        let long = request(&"x".repeat(300));
        assert_eq!(&long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn what_serves_is_healthy_and_nothing_else() {
        assert_eq!(response(&[0, 0, 0, 0, 2, 8, 1]), Ok(()));
        for wrong in [
            &[][..],
            &[0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 2, 8, 2],
            &[0, 0, 0, 0, 2, 8, 3],
            &[0, 0, 0, 0, 2, 8, 77],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 3, 8, 1],
            &[0, 0, 0, 0, 2, 16, 1],
            &[0, 0, 0, 0, 2, 8, 0x81],
        ] {
            assert!(response(wrong).is_err(), "{wrong:?}");
        }
    }
}
