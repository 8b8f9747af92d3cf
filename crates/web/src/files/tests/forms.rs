//! Compressed forms of files: made, found beside them, negotiated.

use std::sync::Barrier;
use std::sync::mpsc::channel;
use std::time::SystemTime;

use flate2::read::GzDecoder;
use outwork_front::coding::Coding;

use super::*;
use crate::metrics::{Sibling, Tier};

fn page() -> String {
    (0..3000).map(|line| format!("<li>line {line}</li>\n")).collect()
}

fn with_page(keys: &str) -> Site {
    let site = Site::new(keys);
    site.write("page.html", page());
    site.write("image.png", vec![7; 5000]);
    site
}

fn decoded(coding: &str, body: &[u8]) -> String {
    let mut text = String::new();
    match coding {
        "zstd" => text = String::from_utf8(zstd::stream::decode_all(body).unwrap()).unwrap(),
        "br" => _ = brotli::Decompressor::new(body, 4096).read_to_string(&mut text).unwrap(),
        _ => _ = GzDecoder::new(body).read_to_string(&mut text).unwrap(),
    }
    text
}

#[test]
fn a_file_is_compressed_beside_the_thread_that_goes_on_to_answer_others() {
    let site = with_page("");
    // Whoever compresses has something else to do first.
    let (gate, (tell, begun)) = (Arc::new(Barrier::new(SLOTS + 1)), channel());
    let compress = |_| {
        let (compressor, gate, tell) = (Arc::clone(&site.compressor), Arc::clone(&gate), tell.clone());
        std::thread::spawn(move || {
            let content = move || {
                tell.send(()).unwrap();
                gate.wait();
                Ok(Bytes::from_static(b"something else"))
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let levels = Compression::default().level;
            runtime.block_on(compressor.compress(Coding::Gzip, &levels, Patience::None, content)).unwrap();
        })
    };
    let busy: Vec<_> = (0..SLOTS).map(compress).collect();
    busy.iter().for_each(|_| begun.recv().unwrap());
    // The door has one thread.
    let (mut waiting, mut other) = (site.client(), site.client());
    waiting.send("GET", "/page.html", "Accept-Encoding: gzip\r\n");
    let mut answered_since_both_were_found = 0;
    while answered_since_both_were_found < 20 {
        assert_eq!(other.get("/a.txt"), (200, "0123456789".into()));
        answered_since_both_were_found += u32::from(site.metrics.lookups.of(Lookup::Miss).get() == 2);
    }
    waiting.0.set_nonblocking(true).unwrap();
    let early = waiting.0.peek(&mut [0]).map_err(|error| error.kind());
    assert_eq!(early, Err(io::ErrorKind::WouldBlock), "it is compressed by nobody so far");
    waiting.0.set_nonblocking(false).unwrap();
    gate.wait();
    let (status, head, body) = waiting.answer("GET");
    assert_eq!((status, field(&head, "content-encoding")), (200, Some("gzip")), "{head}");
    assert_eq!(decoded("gzip", &body), page());
    busy.into_iter().for_each(|busy| busy.join().unwrap());
}

#[test]
fn a_file_is_compressed_once_in_each_coding_and_kept_so() {
    let site = with_page("");
    let mut client = site.client();
    let mut tags = vec![field(&client.ask("GET", "/page.html", "").1, "etag").unwrap().to_owned()];
    for coding in Coding::ALL {
        let line = format!("Accept-Encoding: {}\r\n", coding.token());
        let mut bodies = Vec::new();
        for _ in 0..3 {
            let (status, head, body) = client.ask("GET", "/page.html", &line);
            assert_eq!((status, field(&head, "content-encoding")), (200, Some(coding.token())), "{head}");
            assert_eq!(field(&head, "vary"), Some("accept-encoding"));
            assert_eq!(field(&head, "content-type"), Some("text/html; charset=utf-8"));
            assert_eq!(field(&head, "etag").map(|tag| tag.starts_with('"')), Some(true), "it is a strong one");
            assert_eq!(decoded(coding.token(), &body), page());
            tags.push(field(&head, "etag").unwrap().to_owned());
            bodies.push(body);
        }
        assert!(bodies[0].len() < page().len() / 4 && bodies[0] == bodies[2]);
        assert_eq!(site.metrics.variants_made.of(*coding).get(), 1);
        assert_eq!(site.metrics.variants_sent.of(*coding).get(), 3);
        let (_, head, _) = client.ask("HEAD", "/page.html", &line);
        assert_eq!(field(&head, "content-length"), Some(&*bodies[0].len().to_string()));
    }
    tags.dedup();
    assert_eq!(tags.len(), 4, "each form has a tag of its own");
}

#[test]
fn a_form_is_revalidated_and_cut_into_parts_by_itself() {
    let site = with_page("");
    let mut client = site.client();
    let gzip = "Accept-Encoding: gzip\r\n";
    let (_, head, whole) = client.ask("GET", "/page.html", gzip);
    let tag = field(&head, "etag").unwrap().to_owned();
    let (status, head, _) = client.ask("GET", "/page.html", &format!("{gzip}If-None-Match: {tag}\r\n"));
    assert_eq!((status, field(&head, "etag"), field(&head, "vary")), (304, Some(&*tag), Some("accept-encoding")));
    assert_eq!(client.ask("GET", "/page.html", &format!("If-None-Match: {tag}\r\n")).0, 200, "that is another form");
    assert_eq!(client.ask("GET", "/page.html", &format!("{gzip}If-Match: {tag}\r\n")).0, 200);
    assert_eq!(client.ask("GET", "/page.html", &format!("If-Match: {tag}\r\n")).0, 412);
    let (status, head, part) =
        client.ask("GET", "/page.html", &format!("{gzip}Range: bytes=100-199\r\nIf-Range: {tag}\r\n"));
    assert_eq!((status, &*part), (206, &whole[100..200]));
    assert_eq!(field(&head, "content-range"), Some(&*format!("bytes 100-199/{}", whole.len())));
    assert_eq!(field(&head, "content-encoding"), Some("gzip"));
    let (status, _, all) = client.ask("GET", "/page.html", &format!("Range: bytes=100-199\r\nIf-Range: {tag}\r\n"));
    assert_eq!((status, all.len()), (200, page().len()), "of another form there is no part");
    let (status, head, all) = client.ask("GET", "/page.html", &format!("{gzip}Range: bytes=0-9,20-29\r\n"));
    assert_eq!((status, field(&head, "content-encoding"), all == whole), (200, Some("gzip"), true));
}

#[test]
fn a_changed_file_is_compressed_anew() {
    let site = with_page("");
    let mut client = site.client();
    for round in 0..20 {
        let content = format!("<!-- {round} -->{}", page());
        site.write("page.html", &content);
        let (_, _, body) = client.ask("GET", "/page.html", "Accept-Encoding: zstd\r\n");
        assert!(decoded("zstd", &body) == content);
    }
}

#[test]
fn the_order_and_the_levels_are_those_of_the_configuration() {
    let site = with_page("[compression]\nalgorithms = ['gzip', 'zstd']\nlevel = { gzip = 1 }");
    let all = "Accept-Encoding: zstd, br, gzip\r\n";
    let (_, head, fast) = site.client().ask("GET", "/page.html", all);
    assert_eq!(field(&head, "content-encoding"), Some("gzip"));
    let (_, head, _) = site.client().ask("GET", "/page.html", "Accept-Encoding: zstd, gzip;q=0.9\r\n");
    assert_eq!(field(&head, "content-encoding"), Some("zstd"));
    assert_eq!(field(&site.client().ask("GET", "/page.html", "Accept-Encoding: br\r\n").1, "content-encoding"), None);
    let better = with_page("[compression]\nalgorithms = ['gzip', 'zstd']\nlevel = { gzip = 9 }");
    assert!(better.client().ask("GET", "/page.html", all).2.len() < fast.len());
}

#[test]
fn what_is_not_worth_it_is_sent_as_it_is() {
    let site = with_page("[compression]\nmin_size = '1KiB'\nmax_size = '100kB'\n");
    site.write("small.html", "x".repeat(1023));
    site.write("big.html", "x".repeat(100_001));
    let ask = |path: &str| site.client().ask("GET", path, "Accept-Encoding: gzip\r\n").1;
    for path in ["/small.html", "/big.html", "/image.png", "/a.txt"] {
        let head = ask(path);
        assert_eq!((field(&head, "content-encoding"), field(&head, "vary")), (None, None), "{path}");
    }
    assert_eq!(field(&ask("/page.html"), "content-encoding"), Some("gzip"));
    let off = with_page("[compression]\nenabled = false");
    let head = off.client().ask("GET", "/page.html", "Accept-Encoding: gzip\r\n").1;
    assert_eq!((field(&head, "content-encoding"), field(&head, "vary")), (None, None));
}

#[test]
fn what_cannot_be_made_smaller_is_sent_as_it_is() {
    let site = Site::new("[compression]\ntypes = ['application/octet-stream']");
    let mut noise = Vec::with_capacity(4096);
    let mut state = 1u64;
    while noise.len() < 4096 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        noise.push((state >> 33) as u8);
    }
    site.write("noise.bin", &noise);
    for _ in 0..2 {
        let (_, head, body) = site.client().ask("GET", "/noise.bin", "Accept-Encoding: gzip\r\n");
        assert_eq!((field(&head, "content-encoding"), body == noise), (None, true));
    }
    assert_eq!(site.metrics.variants_made.of(Coding::Gzip).get(), 1);
}

#[test]
fn who_does_not_take_a_file_as_it_is_gets_it_compressed_or_not_at_all() {
    let site = with_page("");
    let (status, head, _) = site.client().ask("GET", "/image.png", "Accept-Encoding: identity;q=0, br\r\n");
    assert_eq!((status, field(&head, "content-encoding")), (200, Some("br")));
    let (status, head, _) = site.client().ask("GET", "/page.html", "Accept-Encoding: *;q=0\r\n");
    assert_eq!((status, field(&head, "vary")), (406, Some("accept, accept-encoding")));
}

#[test]
fn compressed_files_beside_others_are_sent_in_their_place() {
    for keys in ["", "memory_file = '0B'", "[compression]\nenabled = false"] {
        let site = with_page(keys);
        // They are the user's: whatever is in them is sent.
        for (end, content) in [("br", "prepared br"), ("gz", "prepared gz")] {
            site.write(&format!("page.html.{end}"), content);
            site.write(&format!("image.png.{end}"), content);
        }
        let mut client = site.client();
        for path in ["/page.html", "/image.png"] {
            for (coding, end) in [("br", "br"), ("gzip", "gz")] {
                let (_, head, body) = client.ask("GET", path, &format!("Accept-Encoding: {coding}\r\n"));
                assert_eq!(String::from_utf8(body).unwrap(), format!("prepared {end}"), "{keys}");
                assert_eq!(
                    (field(&head, "content-encoding"), field(&head, "vary")),
                    (Some(coding), Some("accept-encoding"))
                );
                let kind = if path == "/page.html" { "text/html; charset=utf-8" } else { "image/png" };
                assert_eq!(field(&head, "content-type"), Some(kind));
                let part = client.ask("GET", path, &format!("Accept-Encoding: {coding}\r\nRange: bytes=-2\r\n"));
                assert_eq!((part.0, &*part.2), (206, end.as_bytes()));
            }
        }
        let (_, head, _) = client.ask("GET", "/page.html", "Accept-Encoding: zstd, br, gzip\r\n");
        assert_eq!(field(&head, "content-encoding"), Some("br"), "what is there goes before what has to be made");
        let tier = if keys.starts_with("memory") { Tier::Sendfile } else { Tier::Memory };
        assert!(site.metrics.sent.of(tier).get() >= 9, "{keys}");
        // By its own name it is a file like any other.
        let (_, head, body) = client.ask("GET", "/page.html.gz", "Accept-Encoding: gzip\r\n");
        assert_eq!((&*body, field(&head, "content-encoding")), (&b"prepared gz"[..], None));
        assert_eq!(field(&head, "content-type"), Some("application/gzip"));
    }
}

#[test]
fn a_compressed_file_that_is_older_than_its_original_is_not_sent() {
    let site = with_page("");
    site.write("page.html.br", "stale");
    let before = SystemTime::now() - Duration::from_secs(60);
    std::fs::File::options().write(true).open(site.path("page.html.br")).unwrap().set_modified(before).unwrap();
    let mut client = site.client();
    let (_, _, body) = client.ask("GET", "/page.html", "Accept-Encoding: br\r\n");
    assert!(decoded("br", &body) == page());
    assert_eq!((site.metrics.siblings.of(Sibling::Stale).get(), site.metrics.siblings.of(Sibling::Used).get()), (1, 0));
    site.write("page.html.br", "fresh");
    assert_eq!(client.ask("GET", "/page.html", "Accept-Encoding: br\r\n").2, b"fresh");
    site.write("page.html", page() + "<p>more");
    // What is written within the same tick of the file system's clock has the same time.
    let after = SystemTime::now() + Duration::from_secs(60);
    std::fs::File::options().write(true).open(site.path("page.html")).unwrap().set_modified(after).unwrap();
    let (_, _, body) = client.ask("GET", "/page.html", "Accept-Encoding: br\r\n");
    assert!(decoded("br", &body) == page() + "<p>more");
    std::fs::remove_file(site.path("page.html.br")).unwrap();
    assert_eq!(client.ask("GET", "/page.html", "Accept-Encoding: br\r\n").0, 200);
}

#[test]
fn compressed_files_are_looked_for_only_where_that_is_wanted() {
    let site = with_page("precompressed = { enabled = false }");
    site.write("page.html.gz", "prepared");
    let (_, _, body) = site.client().ask("GET", "/page.html", "Accept-Encoding: gzip\r\n");
    assert!(decoded("gzip", &body) == page());
    let site = with_page("precompressed = { extensions = ['.gz'] }");
    site.write("page.html.br", "prepared");
    let (_, _, body) = site.client().ask("GET", "/page.html", "Accept-Encoding: br\r\n");
    assert!(decoded("br", &body) == page());
}

#[test]
fn forms_of_a_file_count_as_memory_and_go_with_it() {
    let site = with_page("memory = '200kB'\n");
    let mut client = site.client();
    for index in 0..40 {
        let name = format!("{index}.html");
        site.write(&name, page());
        for coding in ["zstd", "br", "gzip"] {
            let (status, _, body) = client.ask("GET", &format!("/{name}"), &format!("Accept-Encoding: {coding}\r\n"));
            assert!(status == 200 && decoded(coding, &body) == page());
            assert!(site.metrics.kept.get() <= 200_000, "{}", site.metrics.kept.get());
        }
    }
    assert!(site.metrics.evicted.get() > 10);
}

#[test]
fn many_who_ask_at_once_have_it_compressed_once() {
    let site = with_page("");
    site.write("long.html", page().repeat(20));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let mut client = site.client();
            std::thread::spawn(move || client.ask("GET", "/long.html", "Accept-Encoding: br\r\n").1)
        })
        .collect();
    for client in clients {
        assert_eq!(field(&client.join().unwrap(), "content-encoding"), Some("br"));
    }
    assert_eq!(site.metrics.variants_made.of(Coding::Brotli).get(), 1);
}
