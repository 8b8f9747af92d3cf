//! Arithmetic on octets in the field of 256 elements: addition is exclusive or, and products are remainders of x^8 + x^4 + x^3 + x^2 + 1.

/// The polynomial without x^8.
const POLYNOMIAL: u8 = 0x1d;
/// The lowest bit of each octet of eight, and all but the highest.
const LOW: u64 = 0x0101_0101_0101_0101;
const LOWER: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// A product.
pub fn product(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut sum) = (a, b, 0);
    while b != 0 {
        if b & 1 != 0 {
            sum ^= a;
        }
        a = (a << 1) ^ if a & 0x80 != 0 { POLYNOMIAL } else { 0 };
        b >>= 1;
    }
    sum
}

/// What gives 1 with `a`; 0 for 0. (It is the 254th power: all but 0 give 1 as the 255th.)
pub fn inverse(a: u8) -> u8 {
    let (mut square, mut power) = (a, 1);
    for _ in 0..7 {
        square = product(square, square);
        power = product(power, square);
    }
    power
}

/// How often the packet at `place` goes into what mends in `row`: Cauchy's matrix, whose every square part can be inverted, each column divided by its
/// first, which leaves that so and makes the first row ones. Rows and places together are fewer than 256.
pub fn coefficient(row: u8, place: u8) -> u8 {
    let first = u8::MAX ^ place;
    product(first, inverse((u8::MAX - row) ^ place))
}

/// Eight products at once.
fn products(mut word: u64, factor: u8) -> u64 {
    let mut sum = 0;
    for bit in 0..8 {
        sum ^= word & 0u64.wrapping_sub(u64::from(factor >> bit & 1));
        let carry = word >> 7 & LOW;
        word = (word & LOWER) << 1 ^ carry ^ carry << 2 ^ carry << 3 ^ carry << 4;
    }
    sum
}

/// Adds `factor` times `from` to `to`, as far as both go.
pub fn add(to: &mut [u8], from: &[u8], factor: u8) {
    let length = to.len().min(from.len());
    let (to, from) = (to.get_mut(..length).unwrap_or_default(), from.get(..length).unwrap_or_default());
    let ((to, last_to), (from, last_from)) = (to.as_chunks_mut::<8>(), from.as_chunks::<8>());
    let both = to.iter_mut().zip(from);
    match factor {
        0 => return,
        1 => both.for_each(|(to, from)| *to = (u64::from_ne_bytes(*to) ^ u64::from_ne_bytes(*from)).to_ne_bytes()),
        _ => both.for_each(|(to, from)| {
            *to = (u64::from_ne_bytes(*to) ^ products(u64::from_ne_bytes(*from), factor)).to_ne_bytes();
        }),
    }
    last_to.iter_mut().zip(last_from).for_each(|(to, from)| *to ^= product(*from, factor));
}

/// A square part of the matrix, or what undoes it.
pub type Square<const N: usize> = [[u8; N]; N];

/// What undoes the part that `rows` and `places` have in common: as many of one as of the other, and `N` at most. None where there are more, or two are the same.
pub fn undo<const N: usize>(rows: &[u8], places: &[u8]) -> Option<Square<N>> {
    let count = rows.len();
    if count > N || places.len() != count {
        return None;
    }
    let (mut part, mut undone) = ([[0; N]; N], [[0; N]; N]);
    for ((line, ones), (at, row)) in part.iter_mut().zip(&mut undone).zip(rows.iter().enumerate()) {
        line.iter_mut().zip(places).for_each(|(slot, place)| *slot = coefficient(*row, *place));
        *ones.get_mut(at)? = 1;
    }
    // As by hand (Gauss and Jordan). No diagonal becomes 0: what is above and left of each can be inverted as well.
    for at in 0..count {
        let factor = inverse(*part.get(at)?.get(at)?);
        if factor == 0 {
            return None;
        }
        for square in [&mut part, &mut undone] {
            square.get_mut(at)?.iter_mut().for_each(|slot| *slot = product(*slot, factor));
        }
        let (line, ones) = (*part.get(at)?, *undone.get(at)?);
        for other in (0..count).filter(|other| *other != at) {
            let factor = *part.get(other)?.get(at)?;
            add(part.get_mut(other)?, &line, factor);
            add(undone.get_mut(other)?, &ones, factor);
        }
    }
    Some(undone)
}
