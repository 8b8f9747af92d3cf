//! Domain names in wire form (RFC 1035 section 3.1), with the compression that RFC 3397 allows in option 119.

const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
/// The highest offset a compression pointer can name: fourteen bits.
const MAX_POINTER: usize = 0x3fff;
/// More names than any search list holds; bounds what a hostile option costs.
const MAX_NAMES: usize = 128;

fn labels(name: &str) -> Option<Vec<&str>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Some(Vec::new());
    }
    let labels: Vec<&str> = name.split('.').collect();
    let fits = labels.iter().all(|label| {
        (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
    });
    (fits && name.len() + 2 <= MAX_NAME).then_some(labels)
}

/// Appends `name` (a final dot is optional, `.` is the root). `None` if it is no domain name: an empty or overlong
/// label, over 255 octets, or something that is not ASCII (internationalised names are written as `xn--...`).
#[must_use]
pub fn encode_name(name: &str, out: &mut Vec<u8>) -> Option<()> {
    for label in labels(name)? {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    Some(())
}

/// Where suffixes written so far begin, for pointers.
#[derive(Default)]
pub(super) struct Compression {
    suffixes: Vec<(String, usize)>,
}

impl Compression {
    /// Appends `name`, pointing at a suffix already in `out` where there is one. `out` must start at the option's data.
    pub(super) fn encode(&mut self, name: &str, out: &mut Vec<u8>) -> Option<()> {
        let labels = labels(name)?;
        for (index, label) in labels.iter().enumerate() {
            let suffix = labels.get(index..)?.join(".").to_ascii_lowercase();
            if let Some((_, offset)) = self.suffixes.iter().find(|(known, _)| *known == suffix) {
                out.extend_from_slice(&(0xc000 | *offset as u16).to_be_bytes());
                return Some(());
            }
            if out.len() <= MAX_POINTER {
                self.suffixes.push((suffix, out.len()));
            }
            out.push(label.len() as u8);
            out.extend_from_slice(label.as_bytes());
        }
        out.push(0);
        Some(())
    }
}

/// Reads the name at `start`; gives it and where the next one starts. Pointers must lead backwards, so it ends.
fn decode_name(data: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut at, mut next, mut lowest) = (start, None, start);
    let mut name = String::new();
    loop {
        let length = usize::from(*data.get(at)?);
        match length {
            0 => {
                let end = next.unwrap_or(at + 1);
                return Some((if name.is_empty() { ".".to_owned() } else { name }, end));
            }
            1..=MAX_LABEL => {
                let label = data.get(at + 1..at + 1 + length)?;
                if !label.iter().all(|b| b.is_ascii_graphic() && *b != b'.' && *b != b'\\') {
                    return None;
                }
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(std::str::from_utf8(label).ok()?);
                if name.len() + 2 > MAX_NAME {
                    return None;
                }
                at += 1 + length;
            }
            _ if length >= 0xc0 => {
                let target = (length & 0x3f) << 8 | usize::from(*data.get(at + 1)?);
                next.get_or_insert(at + 2);
                if target >= lowest {
                    return None;
                }
                (lowest, at) = (target, target);
            }
            _ => return None,
        }
    }
}

/// Every name in `data`, compressed or not, without the final dot. `None` if the data is anything else.
#[must_use]
pub fn decode_names(data: &[u8]) -> Option<Vec<String>> {
    let (mut names, mut at) = (Vec::new(), 0);
    while at < data.len() {
        let (name, next) = decode_name(data, at)?;
        names.push(name);
        if names.len() > MAX_NAMES {
            return None;
        }
        at = next;
    }
    Some(names)
}

/// The single uncompressed name at the start of `data`, and the octets it took.
pub(super) fn decode_plain(data: &[u8]) -> Option<(String, usize)> {
    decode_name(data, 0)
}
