//! The functions of dpdk/shim.c.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::Mutex;

// SAFETY: these are the declarations of dpdk/shim.c, which is compiled and linked with them.
unsafe extern "C" {
    fn ow_dpdk_error() -> *const c_char;
    fn ow_dpdk_init(count: c_int, arguments: *mut *mut c_char) -> c_int;
    fn ow_dpdk_find(name: *const c_char) -> c_int;
    fn ow_dpdk_next(from: u16, name: *mut c_char) -> c_int;
    fn ow_dpdk_tap(port: u16, interface: *const c_char) -> c_int;
    fn ow_dpdk_open(port: u16, name: *const c_char, frames: u32, descriptors: u16, pool: *mut *mut c_void) -> c_int;
    fn ow_dpdk_close(port: u16);
    fn ow_dpdk_forget(pool: *mut c_void);
    fn ow_dpdk_receive(port: u16, frames: *mut *mut c_void, most: u16) -> u16;
    fn ow_dpdk_send(port: u16, frames: *mut *mut c_void, count: u16) -> u16;
    fn ow_dpdk_take(pool: *mut c_void) -> *mut c_void;
    fn ow_dpdk_release(frame: *mut c_void);
    fn ow_dpdk_room(frame: *mut c_void, size: *mut u32) -> *mut u8;
    fn ow_dpdk_span(frame: *const c_void, start: *mut u32, length: *mut u32);
    fn ow_dpdk_set_span(frame: *mut c_void, start: u32, length: u32);
}

/// Whether the environment was set up: it is once in a process, whatever becomes of it.
static STARTED: Mutex<bool> = Mutex::new(false);

fn error() -> String {
    // SAFETY: the text is a string of DPDK's that stays until the thread's next error.
    unsafe { CStr::from_ptr(ow_dpdk_error()) }.to_string_lossy().into_owned()
}

/// Sets the environment up. `None` where it was before.
pub(crate) fn start(arguments: &[String]) -> Option<Result<(), String>> {
    let mut started = STARTED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if std::mem::replace(&mut *started, true) {
        return None;
    }
    let owned: Result<Vec<CString>, _> = arguments.iter().map(|argument| CString::new(argument.as_str())).collect();
    let Ok(owned) = owned else { return Some(Err("an argument has a zero octet in it".to_owned())) };
    // DPDK keeps what it is given: these stay for as long as the process does.
    let mut pointers: Vec<*mut c_char> = owned.into_iter().map(CString::into_raw).collect();
    let count = pointers.len() as c_int;
    pointers.push(std::ptr::null_mut());
    let pointers = Vec::leak(pointers);
    // SAFETY: `count` pointers to strings, and a null one after them, none of which ever goes away.
    let result = unsafe { ow_dpdk_init(count, pointers.as_mut_ptr()) };
    Some(if result < 0 { Err(error()) } else { Ok(()) })
}

/// Octets of the longest name of a port (`RTE_ETH_NAME_MAX_LEN`).
const NAME: usize = 64;

/// All ports that there are now: their numbers and names.
pub(crate) fn ports() -> Vec<(u16, String)> {
    let (mut found, mut from) = (vec![], 0);
    loop {
        let mut name = [0 as c_char; NAME];
        // SAFETY: there is room for the longest name and the zero octet after it.
        let port = unsafe { ow_dpdk_next(from, name.as_mut_ptr()) };
        let Ok(port) = u16::try_from(port) else { return found };
        let octets = name.iter().take_while(|octet| **octet != 0).map(|octet| *octet as u8).collect();
        found.push((port, String::from_utf8(octets).unwrap_or_default()));
        from = port + 1;
    }
}

/// A frame in DPDK's memory, ours until it is sent or dropped.
#[derive(Debug)]
pub(crate) struct Buffer(NonNull<c_void>);

// SAFETY: a frame belongs to whoever holds it, on whatever thread; DPDK's pools take it back from any.
unsafe impl Send for Buffer {}

impl Buffer {
    /// Where it begins in its room, and its octets.
    pub(crate) fn span(&self) -> (u32, u32) {
        let (mut start, mut length) = (0, 0);
        // SAFETY: the frame is ours and alive; both places outlive the call.
        unsafe { ow_dpdk_span(self.0.as_ptr(), &raw mut start, &raw mut length) };
        (start, length)
    }

    /// All of its room.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let mut size = 0;
        // SAFETY: the frame is ours and alive.
        let room = unsafe { ow_dpdk_room(self.0.as_ptr(), &raw mut size) };
        // SAFETY: the frame's memory is `size` octets long, nobody else has the frame, and it is borrowed for as long as the slice is.
        unsafe { std::slice::from_raw_parts_mut(room, size as usize) }
    }

    /// Says where it begins and how long it is. Nothing is changed where that is not in its room.
    pub(crate) fn set_span(&mut self, start: u32, length: u32) {
        let size = self.room().len() as u64;
        if u64::from(start) + u64::from(length) <= size {
            // SAFETY: the frame is ours and alive, and what is said lies in its room.
            unsafe { ow_dpdk_set_span(self.0.as_ptr(), start, length) };
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the frame is ours, and nobody uses it after this.
        unsafe { ow_dpdk_release(self.0.as_ptr()) };
    }
}

fn text(name: &str) -> Result<CString, String> {
    CString::new(name).map_err(|_| "a name has no zero octets".to_owned())
}

/// A port that is set up, with its memory. All of its frames have to be gone before it is.
#[derive(Debug)]
pub(crate) struct Device {
    port: u16,
    pool: NonNull<c_void>,
}

// SAFETY: the queues are used by whoever holds the device, one at a time (`&mut self`).
unsafe impl Send for Device {}

impl Device {
    /// Sets a port up by its name.
    pub(crate) fn open(name: &str, frames: u32, descriptors: u16) -> Result<Device, String> {
        let text = text(name)?;
        // SAFETY: the name outlives the call.
        let port = unsafe { ow_dpdk_find(text.as_ptr()) };
        let port = u16::try_from(port).map_err(|_| error())?;
        Device::set_up(port, &text, frames, descriptors)
    }

    /// A TAP with the hardware address of this port.
    pub(crate) fn tap(&self, interface: &str, frames: u32, descriptors: u16) -> Result<Device, String> {
        let text = text(interface)?;
        // SAFETY: the name outlives the call, and the port is there.
        let port = unsafe { ow_dpdk_tap(self.port, text.as_ptr()) };
        let port = u16::try_from(port).map_err(|_| error())?;
        Device::set_up(port, &text, frames, descriptors)
    }

    fn set_up(port: u16, text: &CStr, frames: u32, descriptors: u16) -> Result<Device, String> {
        let mut pool = std::ptr::null_mut();
        // SAFETY: the port is there, the name and the place for the pool outlive the call.
        let opened = unsafe { ow_dpdk_open(port, text.as_ptr(), frames, descriptors, &raw mut pool) };
        match NonNull::new(pool) {
            Some(pool) if opened == 0 => Ok(Device { port, pool }),
            Some(pool) => {
                let why = error();
                // SAFETY: the port was not started, and no frame was taken.
                unsafe { ow_dpdk_forget(pool.as_ptr()) };
                Err(why)
            }
            None => Err(error()),
        }
    }

    pub(crate) fn receive(&mut self, most: usize, mut take: impl FnMut(Buffer)) -> usize {
        const BURST: usize = 64;
        let mut frames = [std::ptr::null_mut(); BURST];
        // SAFETY: there is room for so many frames.
        let count = unsafe { ow_dpdk_receive(self.port, frames.as_mut_ptr(), most.min(BURST) as u16) };
        let received = frames.iter().take(count.into()).filter_map(|frame| NonNull::new(*frame));
        received.for_each(|frame| take(Buffer(frame)));
        count.into()
    }

    /// Sends frames, as many as there is room for; those stay in `frames` that there was none for.
    pub(crate) fn send(&mut self, frames: &mut Vec<Buffer>) -> usize {
        let mut pointers: Vec<*mut c_void> = frames.iter().map(|frame| frame.0.as_ptr()).collect();
        // SAFETY: so many frames, all of them ours; those that are taken are the port's from here on, and forgotten below.
        let count =
            unsafe { ow_dpdk_send(self.port, pointers.as_mut_ptr(), pointers.len().min(u16::MAX.into()) as u16) };
        frames.drain(..usize::from(count)).for_each(std::mem::forget);
        count.into()
    }

    /// An empty frame.
    pub(crate) fn take(&mut self) -> Option<Buffer> {
        // SAFETY: the pool is alive as long as the device is.
        NonNull::new(unsafe { ow_dpdk_take(self.pool.as_ptr()) }).map(Buffer)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: the port was started. Its pool stays: a frame of it may still be somewhere, and a port is for life.
        unsafe { ow_dpdk_close(self.port) };
    }
}
