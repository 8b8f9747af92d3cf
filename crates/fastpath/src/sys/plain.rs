//! Values that are their bytes: what maps hold.

use std::mem::MaybeUninit;

use crate::layout::{
    Address, Backend, BackendTally, Control, Flow, FlowKey, Link, Neighbour, Service, ServiceTally, Tally, Vip,
};

/// A value that is its bytes.
///
/// # Safety
/// Any bytes are a value, and there are none between or after the fields that belong to none.
pub(crate) unsafe trait Plain: Copy + Default + 'static {}

macro_rules! plain {
    ($($name:ty),*) => {
        $(
            // SAFETY: `repr(C)` of integers and arrays of integers. That the sizes of the fields add up to that of the whole, so that none is padding, is what
            // the layouts spell out in fields named `zero`; a test compares them with the sizes that the compiler of the programs came to.
            unsafe impl Plain for $name {}
        )*
    };
}

plain!(Address, Backend, BackendTally, Control, Flow, FlowKey, Link, Neighbour, Service, ServiceTally, Tally, Vip);

/// The key of a network.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct PrefixKey<const N: usize>
where
    [u8; N]: Default,
{
    pub(crate) length: u32,
    pub(crate) octets: [u8; N],
}

// SAFETY: an integer, and octets of a multiple of its size.
unsafe impl Plain for PrefixKey<4> {}
// SAFETY: an integer, and octets of a multiple of its size.
unsafe impl Plain for PrefixKey<16> {}
// SAFETY: integers have no padding.
unsafe impl Plain for u32 {}
// SAFETY: integers have no padding.
unsafe impl Plain for u64 {}

/// The bytes of a value.
pub(crate) fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: the value is borrowed for as long as its bytes are, all of which are initialised since none is padding (`Plain`).
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The value of some bytes; the default where they are too few.
pub(crate) fn from_bytes<T: Plain>(bytes: &[u8]) -> T {
    if bytes.len() < size_of::<T>() {
        return T::default();
    }
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: there are enough bytes, the places do not overlap, and any bytes are a value (`Plain`).
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), value.as_mut_ptr().cast(), size_of::<T>());
        value.assume_init()
    }
}

/// The value as words of 64 bits, the machine's. What its size leaves of the last is zero.
pub(crate) fn words_of<T: Plain>(value: &T) -> impl Iterator<Item = u64> {
    bytes_of(value).chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        u64::from_ne_bytes(word)
    })
}
