//! A folder behind a real door, asked byte by byte.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::unix::fs::symlink;
use std::time::Duration;

use outwork_config::{ByteSize, Sources, load, section};
use outwork_front::door::{Bound, Door, Options, Place, Serving};
use tempfile::TempDir;

use super::*;

section! {
    /// A file with a folder.
    #[required_keys]
    struct Root {
        /// The folder.
        files: Settings,
    }
}

/// A folder with some files in it, served.
struct Site {
    dir: TempDir,
    door: Option<Door>,
}

const LARGE: usize = 300_000;

impl Site {
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
        let text = format!("[files]\nroot = {:?}\n{keys}", root.display().to_string());
        let sources = Sources { file: Some(("test.toml".into(), text)), env: vec![], set: vec![] };
        let settings = load::<Root>(sources).unwrap_or_else(|faults| panic!("{}", faults.render(false))).value.files;
        let place = Place { address: (Ipv4Addr::LOCALHOST, 0).into(), tls: None, backlog: 64 };
        let serving = Serving { options: Options::default(), handler: Box::new(Files::open(settings).unwrap()), entry: Default::default() };
        let door = Bound::bind(&[place], 1).unwrap().serve(serving, &Arc::default()).unwrap();
        Self { dir, door: Some(door) }
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.dir.path().join("root").join(name), content).unwrap();
    }

    /// The answer to a request with these lines: status, fields as they were sent, body.
    fn ask(&self, method: &str, path: &str, lines: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.door.as_ref().unwrap().addresses()[0]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.ask("GET", path, "");
        (status, body)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(door) = self.door.take() {
            door.stop(Duration::from_secs(5));
        }
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
fn where_there_is_no_such_file_the_fallback_is_served() {
    let site = Site::new("fallback = 'index.html'");
    for path in ["/app/route", "/app/other", "/none.js"] {
        assert_eq!(site.get(path), (200, "<p>home".into()), "{path}");
    }
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
    let settings = Settings {
        root: "/nowhere/at/all".into(),
        index: vec![],
        fallback: None,
        hidden: false,
        symlinks: true,
        etag: crate::config::EtagKind::None,
        memory_file: ByteSize::kib(1),
        memory: ByteSize::kib(1),
        cache_control: None,
    };
    let refused = Files::open(settings).err().expect("there is no such folder").to_string();
    assert!(refused.contains("/nowhere/at/all") && refused.contains("No such file"), "{refused}");
}

#[test]
fn memory_for_files_is_bounded_and_what_is_wanted_stays() {
    let site = Site::new("memory = '12KiB'");
    for index in 0..50 {
        site.write(&format!("{index}.txt"), &"y".repeat(2000));
    }
    for index in 0..50 {
        assert_eq!(site.get(&format!("/{index}.txt")).1.len(), 2000);
        assert_eq!(site.get("/a.txt").0, 200);
    }
}
