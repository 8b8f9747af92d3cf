//! No text, variable or flag brings the reader down, and what it accepts it accepts again.

mod site;

use outwork_config::{ByteSize, Ipv4Net, Setting, diff, duration_text, load, parse_duration, toml_text};
use proptest::prelude::*;
use serde_json::Value;
use site::{Site, sources};

const SEED: &str = "\
data_dir = '/srv'  # a comment
[dhcp]
workers = 4
lease_time = \"2h\"
interfaces = ['eth0', \"eth1\"]
durability = 'os'
buffer = '1MiB'
warn_at = 0.5
sets.lab = { dns = ['192.0.2.1', '2001:db8::1'] }
labels.'a b' = '''x
y'''
[dhcp.log]
leases = true
[[dhcp.subnet]]
id = 1
subnet = '192.0.2.0/24'
[[dhcp.subnet.pool]]
first = '192.0.2.10'
last = '192.0.2.20'
[admin]
listen = '[::1]:1'
password = 'p'
";

const TOKENS: [&str; 24] = [
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\"",
    "'''",
    "\"\"\"",
    "\n",
    "#",
    "0x",
    "1979-05-27",
    "inf",
    "-",
    "_",
    "\u{0}",
    "é",
    "\r\n",
    "99999999999999999999999999999999999999999",
    "[[dhcp.subnet]]",
];

/// A small generator of its own, so that a failing round is named by its number.
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

fn mutate(text: &str, rng: &mut Rng) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=rng.below(3) {
        let at = rng.below(chars.len() + 1);
        let end = (at + rng.below(12)).min(chars.len());
        match rng.below(4) {
            0 => drop(chars.drain(at..end)),
            1 => drop(chars.splice(at..at, TOKENS[rng.below(TOKENS.len())].chars())),
            2 => drop(chars.splice(at..end, TOKENS[rng.below(TOKENS.len())].chars())),
            _ => {
                let piece: Vec<char> = chars[at..end].to_vec();
                let to = rng.below(chars.len() + 1);
                drop(chars.splice(to..to, piece));
            }
        }
    }
    chars.into_iter().collect()
}

#[test]
fn mutated_files_are_read_or_refused_with_a_place_for_every_fault() {
    let mut accepted = 0;
    for round in 1..=4000u64 {
        let mut rng = Rng(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let file = mutate(SEED, &mut rng);
        match load::<Site>(sources(&file, &[], &[])) {
            Ok(loaded) => {
                accepted += 1;
                assert!(loaded.effective().len() >= 17, "round {round}");
            }
            Err(faults) => {
                assert!(!faults.is_empty(), "round {round}");
                let (report, lines) = (faults.render(false), file.split('\n').count());
                assert!(!report.is_empty(), "round {round}");
                for fault in faults.to_json().as_array().into_iter().flatten() {
                    let line = fault["line"].as_u64().unwrap_or(0) as usize;
                    assert!((1..=lines).contains(&line), "round {round}: {fault}\n{file}");
                }
            }
        }
    }
    assert!(accepted > 100, "the mutations are too harsh to test what is accepted: {accepted}");
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let file = format!("x = {}{}", open.repeat(20_000), close.repeat(20_000));
        assert!(load::<Site>(sources(&file, &[], &[])).is_err());
        assert!(load::<Site>(sources("", &[("OUTWORK__DHCP__LABELS", &file[4..])], &[])).is_err());
    }
    let dotted = format!("{{ a{} = ", ".a".repeat(31));
    let file = format!("x = {}1{}", dotted.repeat(79), "}".repeat(79));
    assert!(load::<Site>(sources(&file, &[("OUTWORK__X", &file[4..])], &[&file])).is_err());
    let keys = format!("a{} = 1", ".a".repeat(20_000));
    assert!(load::<Site>(sources(&keys, &[], &[])).is_err());
    assert!(load::<Site>(sources("", &[(&format!("OUTWORK__A{}", "__A".repeat(20_000)), "1")], &[])).is_err());
    assert!(load::<Site>(sources("", &[], &[&keys])).is_err());
}

fn nodes(value: &Site) -> String {
    // The whole configuration as one TOML document: what is unset is left out.
    let json = value.write();
    let table = json.as_object().into_iter().flatten();
    let lines = table.filter(|(_, value)| **value != Value::Null);
    lines.map(|(key, value)| format!("{key} = {}\n", toml_text(value))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn variables_and_flags_never_bring_it_down(name in "[A-Z_.0-9]{0,24}", value in ".{0,40}", flag in ".{0,60}") {
        let _ = load::<Site>(sources(SEED, &[(&format!("OUTWORK__{name}"), &value)], &[&flag]));
        let _ = load::<Site>(sources(SEED, &[("OUTWORK__DHCP", &value)], &[&format!("dhcp.subnet={value}")]));
    }

    #[test]
    fn what_is_written_is_read_back_the_same(
        workers in 0u16..=1024, lease in 60u64..=86_400, buffer in 4096u64.., warn in 0.0f64..=1.0,
        labels in proptest::collection::btree_map(".{0,8}", ".{0,20}", 0..4), session in any::<u64>(), nanos in 0u32..1_000_000_000,
    ) {
        let mut site = Site::default();
        site.dhcp.workers = workers;
        site.dhcp.lease_time = outwork_config::secs(lease);
        site.dhcp.buffer = ByteSize::bytes(buffer);
        site.dhcp.warn_at = warn;
        site.dhcp.labels = labels;
        site.admin.session = std::time::Duration::new(session, nanos);
        let text = nodes(&site);
        let loaded = load::<Site>(sources(&text, &[], &[]));
        prop_assert!(loaded.is_ok(), "{text}\n{}", loaded.map(|_| ()).unwrap_err());
        let read = loaded.unwrap().value;
        prop_assert_eq!(diff(&site, &read), []);
    }

    #[test]
    fn durations_sizes_and_prefixes_read_back(secs in any::<u64>(), nanos in 0u32..1_000_000_000, bytes in any::<u64>(), bits in any::<u32>(), length in 0u8..=32) {
        let duration = std::time::Duration::new(secs, nanos);
        prop_assert_eq!(parse_duration(&duration_text(duration)), Some(duration));
        prop_assert_eq!(ByteSize::bytes(bytes).to_string().parse(), Ok(ByteSize::bytes(bytes)));
        let net = Ipv4Net::containing(bits.into(), length);
        prop_assert_eq!(net.to_string().parse(), Ok(net));
        prop_assert!(net.contains(bits.into()) && net.contains(net.first()) && net.contains(net.last()));
    }
}
