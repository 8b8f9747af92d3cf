//! A folder behind a real door, asked byte by byte.

mod assets;
mod changes;
mod forms;
mod pages;
mod tiers;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use outwork_config::{Sources, load, section};
use outwork_front::door::{Bound, Buffers, Door, DoorMetrics, Farewell, Options, Place, Serving, Threads};
use outwork_front::filter::Networks;
use tempfile::TempDir;

use super::*;

section! {
    /// A file with a folder.
    #[required_keys]
    struct Config {
        /// The folder.
        files: Settings,
        /// Compression.
        compression: Compression,
    }
}

/// A folder with some files in it, served.
struct Site {
    dir: TempDir,
    door: Option<Door>,
    metrics: Arc<WebMetrics>,
    sent: Arc<DoorMetrics>,
    workshop: Arc<Workshop>,
    compressor: Arc<Compressor>,
    settings: Settings,
}

/// Contents that are compressed at once.
const SLOTS: usize = 2;

const LARGE: usize = 300_000;

impl Site {
    /// With these lines in its configuration.
    fn new(keys: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("sub/.well-known")).unwrap();
        for (name, content) in [
            ("index.html", "<p>home"),
            ("a.txt", "0123456789"),
            ("sub/index.html", "<p>sub"),
            (".secret", "hidden"),
            ("sub/.well-known/key", "known"),
            ("../outside.txt", "outside"),
            ("large.bin", &"x".repeat(LARGE)),
            ("empty.txt", ""),
        ] {
            std::fs::write(root.join(name), content).unwrap();
        }
        symlink("../outside.txt", root.join("out.txt")).unwrap();
        symlink("a.txt", root.join("in.txt")).unwrap();
        Self::serve(dir, keys, None)
    }

    fn serve(dir: TempDir, keys: &str, tls: Option<Arc<outwork_front::Tls>>) -> Self {
        let text = format!("[files]\nroot = {:?}\n{keys}", dir.path().join("root").display().to_string());
        let sources = Sources { file: Some(("test.toml".into(), text)), env: vec![], set: vec![] };
        let config = load::<Config>(sources).unwrap_or_else(|faults| panic!("{}", faults.render(false))).value;
        let place = Place {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            tls,
            http3: false,
            backlog: 64,
            buffers: Buffers::default(),
            proxies: Networks::of(&[]),
        };
        let metrics = Arc::<WebMetrics>::default();
        let workshop = Workshop::new(dir.path().join("made"));
        let compressor = Compressor::new(SLOTS, Arc::default());
        let shared = Shared::new(Arc::clone(&compressor), Arc::clone(&metrics), Arc::clone(&workshop));
        let settings = config.files.clone();
        let handler = Box::new(Files::open("test", config.files, config.compression, &shared).unwrap());
        let serving = Serving { options: Options::default(), handler, entry: Default::default() };
        let sent = Arc::default();
        let door = Bound::bind(&[place], Threads::of(1), Vec::new()).unwrap().serve(serving, &sent).unwrap();
        Self { dir, door: Some(door), metrics, sent, workshop, compressor, settings }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("root").join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn address(&self) -> std::net::SocketAddr {
        self.door.as_ref().unwrap().addresses()[0]
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client(stream)
    }

    /// The answer to a request with these lines: status, fields as they were sent, body.
    fn ask(&self, method: &str, path: &str, lines: &str) -> (u16, String, String) {
        let (status, head, body) = self.client().ask(method, path, lines);
        (status, head, String::from_utf8(body).unwrap())
    }

    fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.ask("GET", path, "");
        (status, body)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(door) = self.door.take() {
            door.stop(Farewell::Brief, Duration::from_secs(5));
        }
    }
}

/// A connection that asks again and again.
struct Client(TcpStream);

impl Client {
    fn ask(&mut self, method: &str, path: &str, lines: &str) -> (u16, String, Vec<u8>) {
        self.send(method, path, lines);
        self.answer(method)
    }

    fn send(&mut self, method: &str, path: &str, lines: &str) {
        self.0.write_all(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes()).unwrap();
    }

    fn answer(&mut self, method: &str) -> (u16, String, Vec<u8>) {
        let (mut all, mut piece) = (Vec::new(), vec![0; 64 << 10]);
        let (head, mut body) = loop {
            let read = self.0.read(&mut piece).unwrap();
            assert!(read > 0, "the connection ends in the head: {}", String::from_utf8_lossy(&all));
            all.extend_from_slice(&piece[..read]);
            if let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8(all[..end].to_vec()).unwrap();
                break (head, all.split_off(end + 4));
            }
        };
        let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let length = if method == "HEAD" || head[9..12] == *"304" { 0 } else { length };
        while body.len() < length {
            let read = self.0.read(&mut piece).unwrap();
            assert!(read > 0, "the connection ends in the body");
            body.extend_from_slice(&piece[..read]);
        }
        assert_eq!(body.len(), length, "nothing comes after the body");
        (head[9..12].parse().unwrap(), head, body)
    }

    fn get(&mut self, path: &str) -> (u16, String) {
        let (status, _, body) = self.ask("GET", path, "");
        (status, String::from_utf8(body).unwrap())
    }
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn a_path_is_a_file_a_folder_with_an_index_or_nothing() {
    let site = Site::new("");
    for _ in 0..2 {
        assert_eq!(site.get("/"), (200, "<p>home".into()));
        assert_eq!(site.get("/a.txt"), (200, "0123456789".into()));
        assert_eq!(site.get("/sub/"), (200, "<p>sub".into()));
        assert_eq!(site.get("/empty.txt"), (200, String::new()));
    }
    assert_eq!(site.get("/large.bin").1.len(), LARGE);
    assert_eq!((site.get("/none").0, site.get("/a.txt/").0, site.get("/a.txt/b").0), (404, 404, 404));
    let (status, head, _) = site.ask("GET", "/sub?q=1", "");
    assert_eq!((status, field(&head, "location")), (301, Some("/sub/?q=1")));
    assert_eq!(field(&site.ask("GET", "//sub", "").1, "location"), Some("/sub/"));
}

#[test]
fn a_file_has_its_type_its_length_and_its_validators() {
    let site = Site::new("cache_control = 'max-age=60'");
    let (_, head, _) = site.ask("GET", "/a.txt", "");
    assert_eq!(field(&head, "content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!((field(&head, "content-length"), field(&head, "accept-ranges")), (Some("10"), Some("bytes")));
    assert_eq!(field(&head, "cache-control"), Some("max-age=60"));
    assert!(field(&head, "etag").is_some() && field(&head, "last-modified").is_some(), "{head}");
    let (status, without_body, body) = site.ask("HEAD", "/a.txt", "");
    assert_eq!((status, field(&without_body, "content-length"), &*body), (200, Some("10"), ""));
}

#[test]
fn nothing_leads_out_of_the_folder() {
    let site = Site::new("");
    for path in [
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/sub/../../outside.txt",
        "/..%2foutside.txt",
        "/sub/..%2f..%2foutside.txt",
        "/out.txt",
        "//etc/passwd",
        "/%00",
    ] {
        let (status, body) = site.get(path);
        assert!(matches!(status, 400 | 404) && !body.contains("outside"), "{path}: {status} {body}");
    }
    assert_eq!(site.get("/in.txt"), (200, "0123456789".into()));
    assert_eq!(Site::new("symlinks = false").get("/in.txt").0, 404);
}

#[test]
fn hidden_files_are_served_only_where_that_is_wanted() {
    let site = Site::new("");
    assert_eq!((site.get("/.secret").0, site.get("/%2esecret").0), (404, 404));
    assert_eq!(site.get("/sub/.well-known/key"), (200, "known".into()));
    assert_eq!(Site::new("hidden = true").get("/.secret"), (200, "hidden".into()));
}

#[test]
fn a_change_is_seen_with_the_next_request() {
    let site = Site::new("");
    let etag = |site: &Site| field(&site.ask("GET", "/a.txt", "").1, "etag").map(str::to_owned);
    let before = etag(&site);
    assert_eq!(site.get("/a.txt").1, "0123456789");
    site.write("a.txt", "9876543210");
    assert_eq!(site.get("/a.txt").1, "9876543210");
    assert_ne!(etag(&site), before);
    site.write("a.txt", "0123456789");
    assert_eq!(etag(&site), before, "the tag is of the content");
    std::fs::remove_file(site.dir.path().join("root/a.txt")).unwrap();
    assert_eq!(site.get("/a.txt").0, 404);
}

#[test]
fn a_client_that_has_the_file_does_not_get_it_again() {
    let site = Site::new("");
    let (_, head, _) = site.ask("GET", "/a.txt", "");
    let etag = field(&head, "etag").unwrap();
    let (status, head, body) = site.ask("GET", "/a.txt", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((status, &*body, field(&head, "etag")), (304, "", Some(etag)));
    assert_eq!(site.ask("GET", "/a.txt", "If-Match: \"other\"\r\n").0, 412);
}

#[test]
fn parts_of_a_file_come_from_memory_and_from_disk_alike() {
    for keys in ["", "memory_file = '0B'"] {
        let site = Site::new(keys);
        let (status, head, body) = site.ask("GET", "/a.txt", "Range: bytes=2-4\r\n");
        assert_eq!((status, &*body, field(&head, "content-range")), (206, "234", Some("bytes 2-4/10")), "{keys}");
        let (status, head, body) = site.ask("GET", "/a.txt", "Range: bytes=0-1,-2\r\n");
        let kind = field(&head, "content-type").unwrap();
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let part = |range, text| {
            format!(
                "--{boundary}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-range: bytes {range}/10\r\n\r\n{text}\r\n"
            )
        };
        assert_eq!((status, body), (206, format!("{}{}--{boundary}--\r\n", part("0-1", "01"), part("8-9", "89"))));
        let (status, head, _) = site.ask("GET", "/a.txt", "Range: bytes=10-\r\n");
        assert_eq!((status, field(&head, "content-range")), (416, Some("bytes */10")), "{keys}");
    }
}

#[test]
fn where_there_is_no_such_file_the_last_that_is_tried_is_served() {
    let site = Site::new("try = ['$path', '$path/', '/index.html']");
    for path in ["/app/route", "/app/other", "/none.js", "/app/"] {
        assert_eq!(site.get(path), (200, "<p>home".into()), "{path}");
    }
    assert_eq!(site.get("/sub/"), (200, "<p>sub".into()));
}

#[test]
fn only_get_and_head_are_answered_and_options_says_so() {
    let site = Site::new("");
    let (status, head, _) = site.ask("POST", "/a.txt", "Content-Length: 0\r\n");
    assert_eq!((status, field(&head, "allow")), (405, Some("GET, HEAD, OPTIONS")));
    assert_eq!(site.ask("OPTIONS", "/a.txt", "").0, 204);
}

#[test]
fn a_folder_that_is_not_there_is_refused_by_name() {
    let sources =
        Sources { file: Some(("a.toml".into(), "root = '/nowhere/at/all'".into())), env: vec![], set: vec![] };
    let settings = load::<Settings>(sources).unwrap().value;
    let workshop = Workshop::new("/nowhere".into());
    let shared = Shared::new(Compressor::new(1, Arc::default()), Arc::default(), workshop);
    let refused = Files::open("test", settings, Compression::default(), &shared)
        .err()
        .expect("there is no such folder")
        .to_string();
    assert!(refused.contains("/nowhere/at/all") && refused.contains("No such file"), "{refused}");
}

#[test]
fn memory_for_files_is_bounded_and_what_is_wanted_stays() {
    let site = Site::new("memory = '24KiB'");
    for index in 0..50 {
        site.write(&format!("{index}.txt"), "y".repeat(2000));
    }
    for index in 0..50 {
        assert_eq!(site.get(&format!("/{index}.txt")).1.len(), 2000);
        assert_eq!(site.get("/a.txt").0, 200);
        assert!(site.metrics.kept.get() <= 24 << 10, "{}", site.metrics.kept.get());
    }
    assert!(site.metrics.evicted.get() > 40);
    // It may have to earn its place once more at the beginning; first in, first out would have let it go every tenth time.
    let hits = site.metrics.lookups.of(Lookup::Hit).get();
    assert!((48..=49).contains(&hits), "what is asked for again and again stays: {hits}");
    let metrics = Arc::clone(&site.metrics);
    drop(site);
    assert_eq!((metrics.kept.get(), metrics.kept_files.get(), metrics.watches.get()), (0, 0, 0));
}
