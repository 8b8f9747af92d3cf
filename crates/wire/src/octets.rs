//! Octets at a place, or none where there are not so many.

/// So many octets at `at`.
#[inline]
pub fn read<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..)?.first_chunk().copied()
}

/// The big-endian number of two octets at `at`.
#[inline]
pub fn word(octets: &[u8], at: usize) -> Option<u16> {
    read(octets, at).map(u16::from_be_bytes)
}

/// Puts `value` at `at`, all of it or nothing.
#[inline]
pub fn write(octets: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    octets.get_mut(at..at.checked_add(value.len())?)?.copy_from_slice(value);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_neither_read_nor_written() {
        let mut octets = [1, 2, 3, 4];
        assert_eq!((read(&octets, 1), word(&octets, 2)), (Some([2, 3, 4]), Some(0x0304)));
        assert_eq!((read::<2>(&octets, 3), word(&octets, 9), read(&octets, 4)), (None, None, Some([])));
        assert_eq!((write(&mut octets, 3, &[8, 9]), write(&mut octets, usize::MAX, &[9])), (None, None));
        assert_eq!((write(&mut octets, 2, &[8, 9]), octets), (Some(()), [1, 2, 8, 9]));
    }
}
