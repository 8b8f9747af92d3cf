//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), which seals cookies and nothing else: HChaCha20 makes a key of the first 16 octets of the nonce, and
//! ChaCha20-Poly1305 does the rest. Cookies are rare, so this is written to be read.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::message::{COOKIE_NONCE, SEALED_COOKIE, TAG};

/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

fn quarter(state: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    // (RFC 8439 section 2.1.) The places are constants below 16.
    for (one, other, third, turn) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
        state[one] = state[one].wrapping_add(state[other]);
        state[third] = (state[third] ^ state[one]).rotate_left(turn);
    }
}

/// HChaCha20 (section 2.2 of the draft).
fn hchacha20(key: &[u8; 32], input: &[u8; 16]) -> Zeroizing<[u8; 32]> {
    let mut state = [0; 16];
    state[..4].copy_from_slice(&CONSTANTS);
    let words = key.chunks_exact(4).chain(input.chunks_exact(4));
    for (to, from) in state.iter_mut().skip(4).zip(words) {
        *to = from.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    for _ in 0..10 {
        for column in 0..4 {
            quarter(&mut state, std::array::from_fn(|row| 4 * row + column));
        }
        for column in 0..4 {
            quarter(&mut state, std::array::from_fn(|row| 4 * row + (column + row) % 4));
        }
    }
    let mut out = Zeroizing::new([0; 32]);
    let words = state.iter().take(4).chain(state.iter().skip(12));
    out.chunks_exact_mut(4).zip(words).for_each(|(to, word)| to.copy_from_slice(&word.to_le_bytes()));
    out
}

fn cipher(key: &[u8; 32], nonce: &[u8; COOKIE_NONCE]) -> Option<(LessSafeKey, Nonce)> {
    let (first, rest) = nonce.split_first_chunk()?;
    let key = UnboundKey::new(&CHACHA20_POLY1305, hchacha20(key, first).as_slice()).ok()?;
    let mut short = [0; 12];
    short[4..].copy_from_slice(rest);
    Some((LessSafeKey::new(key), Nonce::assume_unique_for_key(short)))
}

/// Seals a cookie.
pub(crate) fn seal(
    key: &[u8; 32],
    nonce: &[u8; COOKIE_NONCE],
    aad: &[u8],
    cookie: &[u8; 16],
) -> Option<[u8; SEALED_COOKIE]> {
    let (cipher, nonce) = cipher(key, nonce)?;
    let mut out = [0; SEALED_COOKIE];
    let (text, tag) = out.split_at_mut(SEALED_COOKIE - TAG);
    text.copy_from_slice(cookie);
    tag.copy_from_slice(cipher.seal_in_place_separate_tag(nonce, Aad::from(aad), text).ok()?.as_ref());
    Some(out)
}

/// Opens a sealed cookie; `None` when it is forged.
pub(crate) fn open(
    key: &[u8; 32],
    nonce: &[u8; COOKIE_NONCE],
    aad: &[u8],
    sealed: &[u8; SEALED_COOKIE],
) -> Option<[u8; 16]> {
    let (cipher, nonce) = cipher(key, nonce)?;
    let mut text = *sealed;
    let cookie = cipher.open_in_place(nonce, Aad::from(aad), &mut text).ok()?;
    (&*cookie).try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hchacha20_is_that_of_the_draft() {
        // Section 2.2.1.
        let key = std::array::from_fn(|at| at as u8);
        let input = [0, 0, 0, 9, 0, 0, 0, 0x4a, 0, 0, 0, 0, 0x31, 0x41, 0x59, 0x27];
        let expected = [
            0x82, 0x41, 0x3b, 0x42, 0x27, 0xb2, 0x7b, 0xfe, 0xd3, 0x0e, 0x42, 0x50, 0x8a, 0x87, 0x7d, 0x73, //
            0xa0, 0xf9, 0xe4, 0xd5, 0x8a, 0x74, 0xa8, 0x53, 0xc1, 0x2e, 0xc4, 0x13, 0x26, 0xd3, 0xec, 0xdc,
        ];
        assert_eq!(*hchacha20(&key, &input), expected);
    }

    #[test]
    fn a_cookie_is_opened_by_who_has_the_key_and_the_mac_that_it_was_made_for() {
        let (key, nonce) = ([1; 32], [2; COOKIE_NONCE]);
        let sealed = seal(&key, &nonce, b"mac", &[3; 16]).unwrap();
        assert_eq!(open(&key, &nonce, b"mac", &sealed), Some([3; 16]));
        assert_eq!(open(&key, &nonce, b"cam", &sealed), None);
        assert_eq!(open(&[4; 32], &nonce, b"mac", &sealed), None);
        assert_eq!(open(&key, &[5; COOKIE_NONCE], b"mac", &sealed), None);
    }
}
