//! What is made rather than found: lists, error pages; and the fields that files are sent with.

use super::*;

#[test]
fn a_folder_without_an_index_is_listed_where_that_is_wanted() {
    let site = Site::new("listing = { enabled = true, entries = 40 }");
    std::fs::create_dir_all(site.path("list/inner")).unwrap();
    site.write("list/b & <c>.txt", "12345");
    site.write("list/.hidden", "");
    symlink("../a.txt", site.path("list/link")).unwrap();
    symlink("../../outside.txt", site.path("list/out")).unwrap();
    let (status, head, page) = site.ask("GET", "/list/", "");
    assert_eq!((status, field(&head, "content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(field(&head, "content-security-policy").unwrap().starts_with("default-src 'none'"));
    for name in ["inner/</a>", "b &amp; &lt;c&gt;.txt</a>", "link</a>", "href=\"../\""] {
        assert!(page.contains(name), "{name}: {page}");
    }
    assert!(!page.contains("hidden") && !page.contains("./out\""), "{page}");
    let (_, head, json) = site.ask("GET", "/list/", "Accept: application/json\r\n");
    assert_eq!(
        (field(&head, "content-type"), field(&head, "vary")),
        (Some("application/json"), Some("accept, accept-encoding"))
    );
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let names: Vec<_> =
        json["entries"].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["inner", "b & <c>.txt", "link"]);
    assert_eq!(json["entries"][2]["size"], 10, "a link is as large as what it leads to");
    // What its link says leads to the file.
    assert_eq!(site.get("/list/b%20%26%20%3Cc%3E.txt"), (200, "12345".into()));
    assert_eq!(site.get("/sub/"), (200, "<p>sub".into()), "an index goes before a list");
    for index in 0..50 {
        site.write(&format!("list/{index}"), "");
    }
    let (_, head, body) = site.client().ask("GET", "/list/", "Accept: application/json\r\nAccept-Encoding: gzip\r\n");
    assert_eq!(field(&head, "content-encoding"), Some("gzip"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*body).read_to_string(&mut text).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((json["entries"].as_array().unwrap().len(), &json["truncated"]), (40, &true.into()));
    assert_eq!((site.metrics.listings.get(), site.metrics.listings_cut.get()), (3, 1));
    assert_eq!(Site::new("").get("/sub/.well-known/").0, 404, "it is not listed unless that is wanted");
}

#[test]
fn every_error_says_what_is_wrong_and_has_the_id_that_its_answer_bears() {
    let site = Site::new("");
    for (method, path, lines, wanted) in [
        ("GET", "/none", "", 404),
        ("GET", "/.secret", "", 404),
        ("GET", "/%zz", "", 400),
        ("DELETE", "/a.txt", "", 405),
        ("GET", "/a.txt", "Range: bytes=10-\r\n", 416),
        ("GET", "/a.txt", "If-Match: \"other\"\r\n", 412),
        ("GET", "/a.txt", "Accept-Encoding: identity;q=0\r\n", 406),
    ] {
        let (status, head, body) = site.ask(method, path, &format!("Accept: application/json\r\n{lines}"));
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &problem["status"]), (wanted, &wanted.into()), "{method} {path}: {head}");
        assert_eq!(problem["request_id"].as_str(), field(&head, "x-request-id"), "{head}");
        assert_eq!(field(&head, "content-type"), Some("application/problem+json"));
    }
    let (_, head, body) = site.ask("GET", "/none", "");
    let id = field(&head, "x-request-id").unwrap();
    assert_eq!(body, format!("404 Not Found\nnothing is at this address\nThe request is at fault.\nRequest {id}\n"));
    let (status, head, _) = site.ask("HEAD", "/none", "");
    let length: usize = field(&head, "content-length").unwrap().parse().unwrap();
    assert_eq!((status, length), (404, body.len()), "a HEAD gets the fields of a GET");
}

#[test]
fn an_error_has_the_page_of_its_status_and_keeps_the_status() {
    let site = Site::new("error_pages = { 404 = '/missing.html', 4xx = '/other.html', 5xx = '/nowhere.html' }");
    site.write("missing.html", "<p>there is no such page ".repeat(100));
    site.write("other.html", "other");
    let (status, head, body) = site.ask("GET", "/none", "If-None-Match: *\r\nRange: bytes=0-1\r\n");
    assert_eq!((status, body.len(), field(&head, "content-type")), (404, 2500, Some("text/html; charset=utf-8")));
    assert_eq!((field(&head, "etag"), field(&head, "last-modified")), (None, None));
    assert!(field(&head, "x-request-id").is_some(), "the page is the site's, the id is the answer's");
    let (status, head, _) = site.client().ask("GET", "/none", "Accept-Encoding: gzip\r\n");
    assert_eq!(
        (status, field(&head, "content-encoding"), field(&head, "vary")),
        (404, Some("gzip"), Some("accept-encoding"))
    );
    assert_eq!(site.ask("GET", "/.secret", "").2.len(), 2500);
    let (status, head, body) = site.ask("PUT", "/a.txt", "Content-Length: 0\r\n");
    assert_eq!((status, &*body, field(&head, "allow")), (405, "other", Some("GET, HEAD, OPTIONS")));
    let (status, head, body) = site.ask("GET", "/a.txt", "Range: bytes=99-\r\n");
    assert_eq!((status, &*body, field(&head, "content-range")), (416, "other", Some("bytes */10")));
    assert_eq!(site.get("/%zz"), (400, "other".into()));
    assert_eq!(site.metrics.error_pages.get(), 6);
    site.write("other.html", "another");
    assert_eq!(site.get("/%zz"), (400, "another".into()));
    std::fs::remove_file(site.path("other.html")).unwrap();
    let (status, body) = site.get("/%zz");
    assert!(status == 400 && body.starts_with("400 Bad Request\nan escape in the path is malformed\n"), "{body}");
}

#[test]
fn a_path_is_tried_in_the_order_of_the_configuration() {
    let site = Site::new("try = ['$path.html', '$path', '$path/', '/sub/index.html']");
    site.write("a.html", "a page");
    site.write("a", "a file");
    site.write("b", "b file");
    site.write("100%.txt", "percent");
    assert_eq!(site.get("/a"), (200, "a page".into()));
    assert_eq!(site.get("/b"), (200, "b file".into()));
    assert_eq!(site.get("/"), (200, "<p>home".into()));
    assert_eq!(site.get("/a.txt"), (200, "0123456789".into()));
    assert_eq!(site.get("/none/at/all"), (200, "<p>sub".into()));
    assert_eq!(site.get("/100%25.txt"), (200, "percent".into()));
    assert_eq!(site.get("/A"), (200, "<p>sub".into()), "names are as they are written");
    assert_eq!(site.get("/sub\\index.html"), (200, "<p>sub".into()), "a backslash parts nothing");
}

#[test]
fn fields_are_those_of_the_configuration() {
    let site = Site::new(
        "last_modified = false\ncharset = 'latin1'\ntypes = { foo = 'application/foo' }\ncache_control = 'no-cache'\netag = 'md5'\n\
         cache_rules = [{ files = ['*.foo', '/sub/**'], value = 'max-age=9' }, { files = ['*'], value = 'max-age=1' }]",
    );
    site.write("x.foo", "foo");
    let head = |path: &str| site.ask("GET", path, "").1;
    let foo = head("/x.foo");
    assert_eq!(
        (field(&foo, "content-type"), field(&foo, "cache-control")),
        (Some("application/foo"), Some("max-age=9"))
    );
    assert_eq!(field(&foo, "etag"), Some("\"acbd18db4cc2f85cedef654fccc4a4d8\""), "the MD5 of foo");
    assert_eq!(field(&foo, "last-modified"), None);
    assert_eq!(field(&head("/sub/index.html"), "cache-control"), Some("max-age=9"));
    let text = head("/a.txt");
    assert_eq!(
        (field(&text, "content-type"), field(&text, "cache-control")),
        (Some("text/plain; charset=latin1"), Some("max-age=1"))
    );
    let kinds = ["sha256", "metadata", "none"].map(|kind| {
        let site = Site::new(&format!("etag = '{kind}'"));
        field(&site.ask("GET", "/a.txt", "").1, "etag").map(str::len)
    });
    assert_eq!((kinds[0], kinds[2]), (Some(34), None));
    assert!(kinds[1].is_some_and(|length| length > 10));
}

#[test]
fn conditions_count_only_where_that_is_wanted() {
    let site = Site::new("conditional_requests = false");
    for line in
        ["If-None-Match: *\r\n", "If-Match: \"other\"\r\n", "If-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT\r\n"]
    {
        assert_eq!(site.ask("GET", "/a.txt", line).0, 200, "{line}");
    }
}
