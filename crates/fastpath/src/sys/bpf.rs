//! `bpf(2)`: elements of maps one by one and in batches, and programs run by hand.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::plain::{Plain, bytes_of, from_bytes};

const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const MAP_DELETE: libc::c_int = 3;
const MAP_NEXT_KEY: libc::c_int = 4;
const OBJECT_GET: libc::c_int = 7;
const TEST_RUN: libc::c_int = 10;
const OBJECT_INFO: libc::c_int = 15;
const MAP_LOOKUP_BATCH: libc::c_int = 24;
const MAP_DELETE_BATCH: libc::c_int = 27;
const LINK_CREATE: libc::c_int = 28;
const LINK_UPDATE: libc::c_int = 29;
const LINK_DETACH: libc::c_int = 34;

/// The part of `union bpf_attr` for single elements.
#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The part of it for batches.
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// The part of it for programs run by hand.
#[repr(C)]
#[derive(Default)]
struct RunAttr {
    program: u32,
    result: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// The part of it for what is known of an object.
#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    object: u32,
    length: u32,
    info: u64,
}

/// The part of it for links: to make one, a program, an interface, `BPF_XDP` and how it runs; to change one, the link and a program; to take one off, the link.
#[repr(C)]
#[derive(Default)]
struct LinkAttr {
    first: u32,
    second: u32,
    kind: u32,
    flags: u32,
}

/// The part of it for files of a BPF file system.
#[repr(C)]
#[derive(Default)]
struct FileAttr {
    path: u64,
    file: u32,
    flags: u32,
}

/// Calls `bpf(2)`.
///
/// # Safety
/// `attr` is what `command` takes, and the memory that it points to has the sizes that the kernel takes it to have.
unsafe fn call<T>(command: libc::c_int, attr: &mut T) -> io::Result<i64> {
    // SAFETY: the caller vouches for what `attr` points to; it is itself as long as is said.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn address<T>(of: &[T]) -> u64 {
    of.as_ptr() as u64
}

fn map(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// What a map's elements look like, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shape {
    pub(crate) key: u32,
    pub(crate) value: u32,
    pub(crate) entries: u32,
}

/// The shape of a map.
pub(crate) fn shape(fd: BorrowedFd<'_>) -> io::Result<Shape> {
    // `struct bpf_map_info`: type, id, key size, value size, entries.
    let mut info = [0u32; 5];
    let mut attr = InfoAttr { object: map(fd), length: 20, info: info.as_mut_ptr() as u64 };
    // SAFETY: `info` has the 20 octets that are said, and outlives the call.
    unsafe { call(OBJECT_INFO, &mut attr)? };
    let [_, _, key, value, entries] = info;
    Ok(Shape { key, value, entries })
}

/// A map whose keys and values have been found to be as long as these types: see [`Typed::new`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Typed<'a, K, V> {
    fd: BorrowedFd<'a>,
    types: std::marker::PhantomData<(K, V)>,
}

impl<'a, K: Plain, V: Plain> Typed<'a, K, V> {
    /// The map behind `fd`, if its keys and values are as long as these types.
    pub(crate) fn new(fd: BorrowedFd<'a>) -> io::Result<Typed<'a, K, V>> {
        let shape = shape(fd)?;
        if (shape.key as usize, shape.value as usize) != (size_of::<K>(), size_of::<V>()) {
            let text = format!("keys of {} and values of {} octets", shape.key, shape.value);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Typed { fd, types: std::marker::PhantomData })
    }

    pub(crate) fn get(&self, key: &K) -> io::Result<Option<V>> {
        let (key, mut value) = (bytes_of(key), vec![0u8; size_of::<V>()]);
        let attr = ElementAttr {
            map: map(self.fd),
            key: address(key),
            value: value.as_mut_ptr() as u64,
            ..ElementAttr::default()
        };
        // SAFETY: key and value are as long as the map's (`new`), live through the call, and the map is not one of a value for each CPU: those are `PerCpu`.
        found(unsafe { call(MAP_LOOKUP, &mut { attr }) }).map(|found| found.map(|()| from_bytes(&value)))
    }

    pub(crate) fn insert(&self, key: &K, value: &V) -> io::Result<()> {
        let (key, value) = (bytes_of(key), bytes_of(value));
        let attr =
            ElementAttr { map: map(self.fd), key: address(key), value: address(value), ..ElementAttr::default() };
        // SAFETY: key and value are as long as the map's (`new`) and live through the call.
        unsafe { call(MAP_UPDATE, &mut { attr }) }.map(|_| ())
    }

    /// Says whether there was something.
    pub(crate) fn remove(&self, key: &K) -> io::Result<bool> {
        let attr = ElementAttr { map: map(self.fd), key: address(bytes_of(key)), ..ElementAttr::default() };
        // SAFETY: the key is as long as the map's (`new`) and lives through the call.
        found(unsafe { call(MAP_DELETE, &mut { attr }) }).map(|found| found.is_some())
    }

    /// The key after `key`, or the first.
    fn after(&self, key: Option<&K>) -> io::Result<Option<K>> {
        let mut next = vec![0u8; size_of::<K>()];
        let key = key.map_or(0, |key| address(bytes_of(key)));
        let attr = ElementAttr { map: map(self.fd), key, value: next.as_mut_ptr() as u64, ..ElementAttr::default() };
        // SAFETY: both keys are as long as the map's (`new`) and live through the call; a null key asks for the first.
        found(unsafe { call(MAP_NEXT_KEY, &mut { attr }) }).map(|found| found.map(|()| from_bytes(&next)))
    }

    /// Keys and values, at most as many as the map may have: it may change meanwhile.
    pub(crate) fn entries(&self) -> io::Result<Vec<(K, V)>> {
        let most = shape(self.fd)?.entries;
        let (mut entries, mut last) = (vec![], None);
        for _ in 0..most {
            let Some(key) = self.after(last.as_ref())? else { break };
            if let Some(value) = self.get(&key)? {
                entries.push((key, value));
            }
            last = Some(key);
        }
        Ok(entries)
    }

    /// Some entries of a hash map, some `size` of them, from where `cursor` stands, which it moves on. `false` in the end is: those were the last.
    pub(crate) fn batch(&self, size: usize, cursor: &mut Option<u32>) -> io::Result<(Vec<(K, V)>, bool)> {
        let (mut keys, mut values) = (vec![0u8; size_of::<K>() * size], vec![0u8; size_of::<V>() * size]);
        let (from, mut to) = (cursor.map(|cursor| [cursor]), [0u32]);
        let mut attr = BatchAttr {
            in_batch: from.as_ref().map_or(0, |from| address(from)),
            out_batch: to.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: size as u32,
            map: map(self.fd),
            ..BatchAttr::default()
        };
        // SAFETY: there is room for `count` keys and values of the map's lengths (`new`); a hash map's cursor has four octets. All of it lives through the call.
        let more = match unsafe { call(MAP_LOOKUP_BATCH, &mut attr) } {
            Ok(_) => true,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => false,
            Err(error) => return Err(error),
        };
        let [next] = to;
        *cursor = more.then_some(next);
        let keys = keys.chunks_exact(size_of::<K>()).map(from_bytes);
        let values = values.chunks_exact(size_of::<V>()).map(from_bytes);
        Ok((keys.zip(values).take(attr.count as usize).collect(), more))
    }

    /// Takes out many at once. Those that are gone already do not matter.
    pub(crate) fn remove_all(&self, keys: &[K]) -> io::Result<()> {
        let mut rest = keys;
        while !rest.is_empty() {
            let bytes: Vec<u8> = rest.iter().flat_map(|key| bytes_of(key).iter().copied()).collect();
            let mut attr = BatchAttr {
                keys: address(&bytes),
                count: rest.len() as u32,
                map: map(self.fd),
                ..BatchAttr::default()
            };
            // SAFETY: there are `count` keys of the map's length (`new`), which live through the call.
            match unsafe { call(MAP_DELETE_BATCH, &mut attr) } {
                Ok(_) => return Ok(()),
                // The one after those that are done was gone.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    rest = rest.get(attr.count as usize + 1..).unwrap_or_default();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn found(result: io::Result<i64>) -> io::Result<Option<()>> {
    match result {
        Ok(_) => Ok(Some(())),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An array with a value for each CPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PerCpu<'a, V> {
    fd: BorrowedFd<'a>,
    cpus: usize,
    types: std::marker::PhantomData<V>,
}

impl<'a, V: Plain> PerCpu<'a, V> {
    /// The map behind `fd`, if its values are as long as this type. `cpus` is how many the kernel can have.
    pub(crate) fn new(fd: BorrowedFd<'a>, cpus: usize) -> io::Result<PerCpu<'a, V>> {
        Typed::<u32, V>::new(fd)?;
        Ok(PerCpu { fd, cpus, types: std::marker::PhantomData })
    }

    fn stride() -> usize {
        size_of::<V>().next_multiple_of(8)
    }

    /// What each CPU has.
    pub(crate) fn get(&self, key: u32) -> io::Result<Vec<V>> {
        let mut values = vec![0u8; PerCpu::<V>::stride() * self.cpus];
        let attr = ElementAttr {
            map: map(self.fd),
            key: address(bytes_of(&key)),
            value: values.as_mut_ptr() as u64,
            ..ElementAttr::default()
        };
        // SAFETY: there is room for a value of each possible CPU, each on eight octets as the kernel lays them out, and all lives through the call.
        unsafe { call(MAP_LOOKUP, &mut { attr })? };
        Ok(values.chunks_exact(PerCpu::<V>::stride()).map(from_bytes).collect())
    }

    /// Gives every CPU the default.
    pub(crate) fn clear(&self, key: u32) -> io::Result<()> {
        let values = vec![0u8; PerCpu::<V>::stride() * self.cpus];
        let attr = ElementAttr {
            map: map(self.fd),
            key: address(bytes_of(&key)),
            value: address(&values),
            ..ElementAttr::default()
        };
        // SAFETY: as in `get`.
        unsafe { call(MAP_UPDATE, &mut { attr }) }.map(|_| ())
    }
}

/// What came of a program that was run by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// What it returned.
    pub result: u32,
    /// The frame as it left it.
    pub frame: Vec<u8>,
    /// Nanoseconds that one run took, of many.
    pub nanos: u32,
}

/// Runs a program of XDP or tc on a frame, `repeat` times. `context` is its `struct xdp_md` or `struct __sk_buff`, as far as it is given.
pub(crate) fn run(program: BorrowedFd<'_>, frame: &[u8], context: &[u8], repeat: u32) -> io::Result<Ran> {
    let mut out = vec![0u8; frame.len() + 512];
    let mut attr = RunAttr {
        program: map(program),
        data_size_in: frame.len() as u32,
        data_size_out: out.len() as u32,
        data_in: address(frame),
        data_out: out.as_mut_ptr() as u64,
        repeat,
        context_size_in: context.len() as u32,
        context_in: if context.is_empty() { 0 } else { address(context) },
        ..RunAttr::default()
    };
    // SAFETY: all that is pointed to is as long as is said, and lives through the call.
    unsafe { call(TEST_RUN, &mut attr)? };
    out.truncate(attr.data_size_out as usize);
    Ok(Ran { result: attr.result, frame: out, nanos: attr.duration })
}

/// Runs a program of XDP on `count` frames that go where it sends them (`BPF_F_TEST_XDP_LIVE_FRAMES`).
pub(crate) fn run_live(program: BorrowedFd<'_>, frame: &[u8], context: &[u8], count: u32) -> io::Result<()> {
    const LIVE_FRAMES: u32 = 1 << 1;
    let mut attr = RunAttr {
        program: map(program),
        data_size_in: frame.len() as u32,
        data_in: address(frame),
        repeat: count,
        context_size_in: context.len() as u32,
        context_in: address(context),
        flags: LIVE_FRAMES,
        ..RunAttr::default()
    };
    // SAFETY: all that is pointed to is as long as is said, and lives through the call.
    unsafe { call(TEST_RUN, &mut attr) }.map(|_| ())
}

/// Has a program of XDP run on an interface for as long as the file is open, in the way that `flags` say (`XDP_FLAGS_*_MODE`).
pub(crate) fn link(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    const XDP: u32 = 37;
    let mut attr = LinkAttr { first: map(program), second: ifindex, kind: XDP, flags };
    // SAFETY: this part of it points nowhere.
    let file = unsafe { call(LINK_CREATE, &mut attr)? };
    let file = i32::try_from(file).map_err(io::Error::other)?;
    // SAFETY: the call has just opened it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

/// Puts another program in the place of the one that a link holds, between two packets.
pub(crate) fn relink(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkAttr { first: map(link), second: map(program), ..LinkAttr::default() };
    // SAFETY: this part of it points nowhere.
    unsafe { call(LINK_UPDATE, &mut attr) }.map(|_| ())
}

/// Opens what a file of a BPF file system stands for.
pub(crate) fn open(path: &CStr) -> io::Result<OwnedFd> {
    let mut attr = FileAttr { path: path.as_ptr() as u64, ..FileAttr::default() };
    // SAFETY: `path` ends with a zero, and outlives the call.
    let file = unsafe { call(OBJECT_GET, &mut attr)? };
    let file = i32::try_from(file).map_err(io::Error::other)?;
    // SAFETY: the call has just opened it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

/// Takes a program off, whoever else has the link.
pub(crate) fn unlink(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkAttr { first: map(link), ..LinkAttr::default() };
    // SAFETY: this part of it points nowhere.
    unsafe { call(LINK_DETACH, &mut attr) }.map(|_| ())
}

/// The interface that a link of XDP is on; 0 where that is gone.
pub(crate) fn linked(link: BorrowedFd<'_>) -> io::Result<u32> {
    // `struct bpf_link_info`: type, id, program, nothing, and of XDP the interface.
    const XDP: u32 = 6;
    let mut info = [0u32; 5];
    let mut attr = InfoAttr { object: map(link), length: 20, info: info.as_mut_ptr() as u64 };
    // SAFETY: `info` has the 20 octets that are said, and outlives the call.
    unsafe { call(OBJECT_INFO, &mut attr)? };
    let [kind, _, _, _, interface] = info;
    if kind == XDP { Ok(interface) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Waits until every program that runs now has ended (`membarrier(2)`: a grace period of RCU, under which programs run).
pub(crate) fn settle() -> io::Result<()> {
    const GLOBAL: libc::c_int = 1;
    // SAFETY: the call takes no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
