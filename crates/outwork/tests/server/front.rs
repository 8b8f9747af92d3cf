//! The front door of the real binary: routes, files, reloads.

use crate::binary::{Client, Place, command, curl, field, get, said, text, until, until_some};

/// A place whose configuration has these lines behind it, and where its door is.
fn place(lines: &str) -> (Place, String) {
    let place = Place::with(&format!("[[front.listener]]\naddress = 'HOST:8080'\n{lines}"));
    let address = format!("{}:8080", place.host());
    std::fs::create_dir(place.path().join("site")).expect("a folder");
    std::fs::write(place.path().join("site/index.html"), "<p>home").expect("a file");
    (place, address)
}

const ROUTES: &str = "\
[[front.route]]\npath = '/*'\nfiles = { root = 'site' }\n\
[[front.route]]\npath = '/old/*'\nredirect = { to = '/new{path}{query}' }\n\
[[front.route]]\npath = '/version'\nmethods = ['GET']\nrespond = { body = '1', headers = { x-build = '7' } }\n\
[[front.route]]\nhost = ['other.example']\npath = '/*'\nrespond = { body = 'another host', status = 203 }\n";

#[test]
fn each_request_is_answered_by_the_route_that_fits_it_best() {
    let (mut place, address) = place(ROUTES);
    place.start();
    let mut client = Client::new(&address);
    let mut ask = |line: &str, host: &str| client.ask(line, host);
    assert!(ask("GET /", "a").ends_with("<p>home"));
    let version = ask("GET /version", "a");
    assert!(version.contains("x-build: 7\r\n") && version.ends_with("\r\n\r\n1"), "{version}");
    assert!(ask("GET /old/a?b=c", "a").contains("location: /new/old/a?b=c\r\n"));
    assert!(ask("GET /version", "other.example").starts_with("HTTP/1.1 203 "));
    assert!(ask("GET /none", "a").starts_with("HTTP/1.1 404 "));
    // The files below every path are asked next.
    assert!(ask("DELETE /version", "a").contains("allow: GET, HEAD, OPTIONS\r\n"));
    assert_eq!(place.stop(15).code(), Some(0));
}

#[test]
fn a_reload_changes_routes_and_limits_and_keeps_connections() {
    let (mut place, address) = place(ROUTES);
    place.start();
    let mut client = Client::new(&address);
    assert!(client.ask("GET /version", "a").ends_with("1"));
    let file = place.path().join("outwork.toml");
    let before = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, before.replace("body = '1'", "body = '2'")).expect("the file");
    place.must(&["reload"]);
    // Each thread takes it up between two requests.
    let answers = (0..).map(|_| client.ask("GET /version", "a"));
    assert!(answers.take(1000).any(|answer| answer.ends_with("2")), "the connection sees the new route");
    std::fs::write(&file, before.replace("root = 'site'", "root = 'nowhere'")).expect("the file");
    let refused = place.outwork(&["reload"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("front.route[0].files.root"), "{refused:?}");
    assert!(text(&refused.stderr).contains("what ran before goes on"), "{refused:?}");
    assert!(client.ask("GET /version", "a").ends_with("2"), "what was in force stays");
}

#[test]
fn answers_are_compressed_as_the_configuration_has_it_and_metrics_tell() {
    let (mut place, address) = place(
        "[front.compression]\nalgorithms = ['gzip', 'brotli']\n\
         [[front.route]]\npath = '/*'\nfiles = { root = 'site', error_pages = { 404 = '/index.html' } }\n\
         [[front.route]]\npath = '/raw/*'\ncompression = { enabled = false }\nfiles = { root = 'site' }\n\
         [[front.route]]\npath = '/long'\nrespond = { body = '{LONG}', headers = { content-type = 'text/html' } }\n"
            .replace("{LONG}", &"0123456789".repeat(500))
            .as_str(),
    );
    std::fs::create_dir(place.path().join("site/raw")).expect("a folder");
    for name in ["site/page.html", "site/raw/page.html"] {
        std::fs::write(place.path().join(name), "<li>an entry</li>\n".repeat(500)).expect("a file");
    }
    place.start();
    let coding = |path: &str| {
        let asked = ["-o", "/dev/null", "-D", "-", "-H", "Accept-Encoding: br;q=0.9, gzip"];
        let head = said(curl().args(asked).arg(format!("http://{address}{path}")));
        (head[9..12].to_owned(), field(&head, "content-encoding").map(str::to_owned))
    };
    for _ in 0..2 {
        assert_eq!(coding("/page.html"), ("200".into(), Some("gzip".into())));
    }
    assert_eq!(coding("/long"), ("200".into(), Some("gzip".into())));
    assert_eq!(coding("/raw/page.html"), ("200".into(), None));
    assert_eq!(coding("/none"), ("404".into(), None), "its page is too small");
    let metrics = || get(&format!("http://{}:8067/metrics", place.host()), &[]);
    // Sizes are counted with the next beat.
    until("the sizes", || metrics().contains("outwork_front_response_body_size_bytes_count 5\n"));
    let metrics = metrics();
    for line in [
        "# TYPE outwork_front_request_body_size_bytes summary\n",
        "outwork_front_request_body_size_bytes_count 0\n",
        "outwork_front_response_body_size_bytes{quantile=\"0.5\"} ",
        "outwork_front_response_body_size_bytes_max 9000\n",
        "outwork_web_variants_made_total{coding=\"gzip\"} 1",
        "outwork_web_variants_sent_total{coding=\"gzip\"} 2",
        "outwork_compression_contents_total{coding=\"gzip\"} 2",
        "outwork_web_error_pages_total 1",
        "outwork_web_lookups_total{result=\"hit\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[test]
fn http_2_is_spoken_to_who_begins_with_it() {
    let (mut place, address) = place(ROUTES);
    place.start();
    let form = ["--http2-prior-knowledge", "-w", "%{http_version} %{http_code}"];
    assert_eq!(said(curl().args(form).arg(format!("http://{address}/"))), "<p>home2 200");
}

#[test]
fn check_tells_what_a_route_lacks_and_what_it_has_too_much() {
    let (place, _) = place(
        "[[front.route]]\npath = '/a'\n[[front.route]]\npath = '/b'\nredirect = { to = '/', status = 304 }\nrespond = {}\n\
         [[front.route]]\npath = 'c'\nhost = ['a b']\nmethods = ['get']\nrespond = { headers = { 'x y' = '' } }\n",
    );
    let said = text(&place.outwork(&["check"]).stderr);
    for fault in [
        "front.route[0]",
        "front.route[1].respond",
        "front.route[1].redirect.status",
        "front.route[2].path",
        "front.route[2].host[0]",
        "front.route[2].respond.headers.\"x y\": \"x y\" is no field name",
    ] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
}

const ASSETS: &str = "[[front.route]]\npath = '/*'\n[front.route.files]\nroot = 'site'\n[front.route.files.assets]\n\
     debounce = '20ms'\nstart_wait = '60s'\nmanifest = '/assets.json'\nserve_source_maps = true\nversioning = { integrity = true }\n\
     concatenation = { patterns = ['/css/*.css -> /bundle.css', '/js/*.js -> /bundle.js'] }\n";

/// A page with style sheets, scripts, modules and an image.
fn write_site(place: &Place) {
    for (path, content) in [
        (
            "index.html",
            "<!doctype html>\n<html lang=en>\n  <title>A page</title>\n  <link rel=stylesheet href=/bundle.css>\n  <body>\n  \
             <p id=text>text</p>\n  <img id=image src=img/dot.svg alt=''>\n  <script src=/bundle.js></script>\n  \
             <script type=module src=modules/main.mjs></script>\n",
        ),
        ("css/b.css", "/* two */\n#text { background-image: url(../img/dot.svg); }\n"),
        ("css/a.css", "#text { color: rgb(1, 2, 3); }\n"),
        ("img/dot.svg", "<svg xmlns='http://www.w3.org/2000/svg' width='7' height='5'></svg>"),
        ("js/a.js", "var shared = { parts: ['a'] };\n"),
        (
            "js/b.js",
            "// What the page has become, for who looks at it.\n\
             shared.parts.push('b');\n\
             addEventListener('load', async function () {\n  \
               var told = document.body.dataset;\n  \
               told.parts = shared.parts.join();\n  \
               told.colour = getComputedStyle(document.getElementById('text')).color;\n  \
               told.background = getComputedStyle(document.getElementById('text')).backgroundImage;\n  \
               told.width = document.getElementById('image').naturalWidth;\n  \
               var source = document.querySelector('script').src;\n  \
               var script = await (await fetch(source)).text();\n  \
               var map = /\\n\\/\\/[#] sourceMappingURL=(.*)/.exec(script)[1];\n  \
               told.map = map;\n  \
               told.sources = (await (await fetch(map)).json()).sources.join();\n  \
               told.done = 'yes';\n\
             });\n",
        ),
        (
            "modules/main.mjs",
            "import { word } from './word.mjs';\nconst later = await import('./later.mjs');\ndocument.body.dataset.module = word + later.word;\n",
        ),
        ("modules/word.mjs", "export const word = 'here';\n"),
        ("modules/later.mjs", "export const word = 'after';\n"),
    ] {
        let path = place.path().join("site").join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, content).expect("a file");
    }
}

/// Head and body of what curl gets.
fn ask(address: &str, path: &str, more: &[&str]) -> (String, String) {
    let answer = get(&format!("http://{address}{path}"), more);
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    (head.to_owned(), body.to_owned())
}

#[test]
fn assets_are_made_at_the_start_and_after_a_change_and_told_of() {
    let (mut place, address) = place(ASSETS);
    write_site(&place);
    place.start();
    let (head, page) = ask(&address, "/", &[]);
    assert!(head.contains("cache-control: no-cache"), "{head}");
    let reference = |page: &str, before: &str| {
        let rest = page.split(before).nth(1).unwrap_or_else(|| panic!("{before}: {page}"));
        rest.split([' ', '>']).next().expect("a reference").to_owned()
    };
    let css = reference(&page, "<link rel=stylesheet href=");
    let script = reference(&page, "<script src=");
    assert!(css.starts_with("/bundle-") && script.starts_with("/bundle-") && page.contains(" integrity="), "{page}");
    let (head, style) = ask(&address, &css, &["--compressed", "-H", "Accept-Encoding: gzip"]);
    assert!(head.contains("cache-control: public, max-age=31536000, immutable"), "{head}");
    assert!(style.starts_with("#text{color:rgb(1,2,3)}#text{background-image:url(/img/dot-"), "{style}");
    let map = style.split("sourceMappingURL=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a map");
    let (head, map) = ask(&address, map, &[]);
    assert!(
        head.contains("application/json") && head.contains("immutable") && map.contains("\"/css/b.css\""),
        "{head} {map}"
    );
    let manifest = ask(&address, "/assets.json", &[]).1;
    assert!(manifest.contains(&format!("\"/bundle.css\":{{\"url\":\"{css}\",\"integrity\":\"sha384-")), "{manifest}");
    // A change, and a fault in it.
    std::fs::write(place.path().join("site/css/a.css"), "#text { color: red }").expect("a file");
    until("the change", || ask(&address, "/bundle.css", &[]).1.starts_with("#text{color:red}"));
    assert!(ask(&address, &css, &[]).1.starts_with("#text{color:rgb(1,2,3)}"), "for pages that were loaded before");
    std::fs::write(place.path().join("site/js/b.js"), "shared.parts.push('b';\n").expect("a file");
    let faults =
        until_some("the fault", || Some(place.must(&["assets", "faults"])).filter(|said| said.contains("/js/b.js:1:")));
    assert!(faults.contains("/js/b.js:1:22: ") && faults.contains("/bundle.js does without it"), "{faults}");
    assert!(ask(&address, "/js/b.js", &[]).1.starts_with("shared.parts.push('b';"), "it is served as it is");
    let log = std::fs::read_to_string(place.path().join("log")).expect("the log");
    assert!(log.contains("/js/b.js:1:22: "), "{log}");
    let list = place.must(&["assets", "list"]);
    for part in ["/bundle.css", "FILE", "site", "/*", "/bundle-"] {
        assert!(list.contains(part), "{part}: {list}");
    }
    let stats = place.must(&["stats", "outwork_assets"]);
    assert!(stats.contains("outwork_assets_builds") && stats.contains("outwork_assets_faults"), "{stats}");
    // A reload that changes nothing about it goes on with what there is.
    let builds = || crate::binary::json(&place.outwork(&["assets", "list", "--json"]))["sites"][0]["builds"].as_u64();
    let before = builds();
    place.must(&["reload"]);
    assert_eq!(builds(), before);
    assert_eq!(place.stop(15).code(), Some(0));
}

#[test]
fn assets_are_made_without_a_server_too() {
    let (place, _) = place(ASSETS);
    write_site(&place);
    let said = place.must(&["assets", "build", "--output", "public"]);
    assert!(said.contains(" files written to public: "), "{said}");
    let bundle = std::fs::read_to_string(place.path().join("public/bundle.css")).expect("a file");
    assert!(bundle.starts_with("#text{color:rgb(1,2,3)}"), "{bundle}");
    std::fs::write(place.path().join("site/js/c.js"), "(").expect("a file");
    let refused = place.outwork(&["assets", "build", "--output", "public"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("/js/c.js:1:"), "{refused:?}");
}

#[test]
fn a_browser_shows_a_page_whose_assets_are_named_by_their_content() {
    let (mut place, address) = place(ASSETS);
    write_site(&place);
    place.start();
    let profile = place.path().join("profile").display().to_string();
    let browser = std::process::Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--virtual-time-budget=20000", "--dump-dom", &format!("--user-data-dir={profile}")])
        .arg(format!("http://{address}/"))
        .output()
        .expect("chromium");
    let shown = text(&browser.stdout);
    for part in [
        "data-done=\"yes\"",
        "data-parts=\"a,b\"",
        "data-colour=\"rgb(1, 2, 3)\"",
        "data-width=\"7\"",
        "data-sources=\"/js/a.js,/js/b.js\"",
        "data-module=\"hereafter\"",
        "src=\"/bundle-",
        "src=\"/img/dot-",
        "href=\"/bundle-",
        "data-map=\"/bundle.js-",
    ] {
        assert!(shown.contains(part), "{part}: {shown} {}", text(&browser.stderr));
    }
    assert!(shown.contains(&format!("url(&quot;http://{address}/img/dot-")), "{shown}");
}

#[test]
fn a_second_server_at_the_same_address_is_refused_and_told_who_is_there_unless_the_address_is_shared() {
    let (mut place, address) = place(ROUTES);
    place.start();
    let config = |shared| {
        format!(
            "[dhcp]\nenabled = false\n[store]\ndata_dir = 'other'\n[admin]\nlisten = ['127.0.0.1:0']\n[[front.listener]]\n\
             address = '{address}'\nshared = {shared}\n[[front.route]]\npath = '/*'\nrespond = {{ body = '2' }}\n"
        )
    };
    let file = place.path().join("other.toml");
    std::fs::write(&file, config(false)).expect("the file");
    let refused = place.outwork(&["-c", "other.toml", "run"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let help = format!("process {} (", place.pid());
    assert!(said.contains(&format!("cannot listen on {address}")) && said.contains(&help), "{said}");
    let asked = || Client::new(&address).ask("GET /version", "a.example");
    assert!((0..20).all(|_| asked().ends_with("\r\n\r\n1")));
    std::fs::write(&file, config(true)).expect("the file");
    let mut second = command(place.path(), &["-c", "other.toml", "run"]).spawn().expect("it runs");
    // The kernel shares new connections out.
    while !asked().ends_with("\r\n\r\n2") {
        assert!(second.try_wait().expect("a process").is_none(), "it has ended");
    }
    second.kill().and_then(|()| second.wait()).expect("it ends");
}
