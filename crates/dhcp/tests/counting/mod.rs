//! An allocator that counts what each thread holds, in the sizes that jemalloc (the binary's allocator) rounds up to.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

/// Bytes that this thread allocated and nobody freed, less those it freed for others.
pub(crate) fn held() -> isize {
    HELD.get()
}

/// Size classes: multiples of 16 up to 128, then four a doubling.
fn class(size: usize) -> isize {
    let step = if size <= 128 { 16 } else { (size - 1).next_power_of_two() / 8 };
    size.next_multiple_of(step) as isize
}

fn count(bytes: isize) {
    // A thread that is going away has no counter any more.
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: every call is the system allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(class(layout.size()));
        // SAFETY: the caller's promises are those that the system allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-class(layout.size()));
        // SAFETY: as above; `place` came from `alloc` above.
        unsafe { System.dealloc(place, layout) }
    }
}
