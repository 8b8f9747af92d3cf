//! Each way to send a file is taken when it is to be, and sends what is in the file.

use std::process::{Command, Stdio};

use outwork_front::{Tls, TlsFiles};
use outwork_telemetry::Collect;

use super::*;
use crate::metrics::Tier;

/// On a disk, where the machine's temporary folder may be none: beside the test's program.
fn on_disk() -> TempDir {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let dir = tempfile::tempdir_in(folder).unwrap();
    std::fs::create_dir(dir.path().join("root")).unwrap();
    dir
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 7 % 256) as u8).collect()
}

const SIZE: usize = 3_000_001;

/// The configurations, with the tier that a large file is then sent by and what the door calls it.
const TIERS: [(&str, Tier, &str); 5] = [
    ("memory_file = '4MiB'", Tier::Memory, ""),
    ("", Tier::Sendfile, "sendfile"),
    ("zero_copy = false", Tier::Read, "read"),
    ("mmap = { enabled = true }", Tier::Mapped, "mapped"),
    ("mmap = { enabled = true }\ndirect_io = true\ndirect_io_threshold = '2MiB'", Tier::Direct, "direct"),
];

/// A counter of the door; of several, the one with this label.
fn counted(site: &Site, name: &str, label: Option<&str>) -> u64 {
    let mut families = Vec::new();
    site.sent.collect(&mut families);
    let family = families.iter().find(|family| family.desc.name == name).unwrap();
    let has =
        |labels: &outwork_telemetry::Labels| label.is_none_or(|label| labels.iter().any(|(_, value)| value == label));
    match family.samples.iter().find(|sample| has(&sample.labels)).unwrap().value {
        outwork_telemetry::Value::Number(count) => count as u64,
        _ => panic!("it is a counter"),
    }
}

/// What the door has sent, by the way it calls it.
fn parts(site: &Site, way: &str) -> u64 {
    counted(site, "outwork_front_file_parts_total", Some(way))
}

fn ranges() -> [(String, Range<usize>); 5] {
    [
        (String::new(), 0..SIZE),
        ("Range: bytes=0-0\r\n".into(), 0..1),
        ("Range: bytes=4095-4096\r\n".into(), 4095..4097),
        ("Range: bytes=1000003-2000005\r\n".into(), 1_000_003..2_000_006),
        ("Range: bytes=-262145\r\n".into(), SIZE - 262_145..SIZE),
    ]
}

#[test]
fn each_tier_is_taken_when_it_is_to_be_and_sends_every_byte_of_every_part() {
    for (keys, tier, way) in TIERS {
        let site = Site::serve(on_disk(), keys, None);
        site.write("large.bin", content(SIZE));
        let mut client = site.client();
        let mut asked = 0;
        for (line, range) in ranges() {
            let (status, _, body) = client.ask("GET", "/large.bin", &line);
            asked += 1;
            assert!(matches!(status, 200 | 206) && body == content(SIZE)[range], "{keys:?} {line:?}");
        }
        let (_, _, body) = client.ask("GET", "/large.bin", "Range: bytes=5-6,2999990-\r\n");
        assert!(body.windows(11).any(|part| part == &content(SIZE)[SIZE - 11..]));
        assert_eq!(site.metrics.sent.of(tier).get(), asked + 1, "{keys:?}");
        if !way.is_empty() {
            assert_eq!(parts(&site, way), asked + 2, "{keys:?}: both parts of the last answer, too");
        }
        assert_eq!(site.metrics.tier_refused.get(), 0);
    }
}

#[test]
fn files_between_the_thresholds_are_mapped_and_larger_ones_are_read_past_the_page_cache() {
    let keys = "mmap = { enabled = true, threshold = '100kB', max_size = '200kB' }\ndirect_io = true\ndirect_io_threshold = '300kB'";
    let site = Site::serve(on_disk(), keys, None);
    let mut client = site.client();
    for (size, tier) in [
        (65_536, Tier::Memory),
        (65_537, Tier::Sendfile),
        (99_999, Tier::Sendfile),
        (100_000, Tier::Mapped),
        (200_000, Tier::Mapped),
        (200_001, Tier::Sendfile),
        (299_999, Tier::Sendfile),
        (300_000, Tier::Direct),
    ] {
        let name = format!("{size}.bin");
        site.write(&name, content(size));
        let before = site.metrics.sent.of(tier).get();
        let (_, _, body) = client.ask("GET", &format!("/{name}"), "");
        assert!(body == content(size));
        assert_eq!(site.metrics.sent.of(tier).get(), before + 1, "{size}");
    }
}

#[test]
fn a_file_that_is_cut_short_while_it_is_sent_ends_its_connection_and_no_other() {
    for (keys, tier, _) in TIERS.into_iter().skip(1) {
        let site = Site::serve(on_disk(), &format!("{keys}\netag = 'none'"), None);
        let whole = content(64 << 20);
        site.write("huge.bin", &whole);
        let mut client = site.client();
        client.0.write_all(b"GET /huge.bin HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut some = vec![0; 1000];
        client.0.read_exact(&mut some).unwrap();
        std::fs::File::options().write(true).open(site.path("huge.bin")).unwrap().set_len(1000).unwrap();
        let mut rest = Vec::new();
        // It may end by a reset, too.
        let _ = client.0.read_to_end(&mut rest);
        assert!(rest.len() < whole.len(), "{keys:?}: {tier:?}");
        let (status, _, body) = site.client().ask("GET", "/huge.bin", "");
        assert_eq!((status, body.len()), (200, 1000), "{keys:?}");
    }
}

#[test]
fn what_is_not_in_the_page_cache_is_waited_for_elsewhere_and_sent_all_the_same() {
    for keys in ["", "zero_copy = false", "mmap = { enabled = true }"] {
        let site = Site::serve(on_disk(), keys, None);
        site.write("large.bin", content(SIZE));
        let mut client = site.client();
        assert_eq!(client.ask("HEAD", "/large.bin", "").0, 200);
        let file = std::fs::File::open(site.path("large.bin")).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let mut byte = [0];
        let slice = &mut [io::IoSliceMut::new(&mut byte)];
        let probe = rustix::io::preadv2(&file, slice, 900_000, rustix::io::ReadWriteFlags::NOWAIT);
        assert!(client.ask("GET", "/large.bin", "").2 == content(SIZE), "{keys:?}");
        // A mapped page is not given up.
        if probe == Err(rustix::io::Errno::AGAIN) {
            assert!(counted(&site, "outwork_front_file_waits_total", None) > 0, "{keys:?}");
        }
    }
}

#[test]
fn over_tls_and_http_2_every_tier_sends_the_same() {
    for (keys, ..) in TIERS {
        let dir = on_disk();
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null())
            .status()
            .expect("openssl");
        assert!(made.success());
        let tls = Tls::load(TlsFiles { certificate: certificate.clone(), key }).unwrap();
        let site = Site::serve(dir, keys, Some(tls));
        site.write("large.bin", content(SIZE));
        let port = site.address().port();
        for (version, range, expected) in [
            ("--http1.1", "", 0..SIZE),
            ("--http2", "", 0..SIZE),
            ("--http1.1", "1000003-2000005", 1_000_003..2_000_006),
            ("--http2", "1000003-2000005", 1_000_003..2_000_006),
        ] {
            let mut curl = Command::new("curl");
            curl.args(["-sS", version, "--resolve", &format!("localhost:{port}:127.0.0.1"), "--cacert"])
                .arg(&certificate);
            if !range.is_empty() {
                curl.args(["-r", range]);
            }
            let got = curl.arg(format!("https://localhost:{port}/large.bin")).output().expect("curl");
            assert!(got.status.success(), "{keys:?} {version}: {}", String::from_utf8_lossy(&got.stderr));
            assert!(got.stdout == content(SIZE)[expected], "{keys:?} {version} {range}: {} bytes", got.stdout.len());
        }
    }
}
