use super::*;

static FIXTURE: &[Asset] = &[
    Asset {
        path: "index.html",
        content_type: "text/html; charset=utf-8",
        hash: "aa",
        immutable: false,
        identity: b"<!doctype html>",
        gzip: None,
        brotli: None,
    },
    Asset {
        path: "assets/app-1.js",
        content_type: "text/javascript; charset=utf-8",
        hash: "bb",
        immutable: true,
        identity: b"plain",
        gzip: Some(b"gz"),
        brotli: Some(b"br"),
    },
];

fn ask(method: Method, path: &str, headers: &[(&'static str, &'static str)]) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(FIXTURE, &request.body(Body::empty()).unwrap())
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[test]
fn the_smallest_coding_that_the_browser_takes_is_sent_under_its_own_tag() {
    for (accepts, coding, tag) in [
        ("gzip, deflate, br, zstd", "br", "\"bb-br\""),
        ("gzip, br;q=0", "gzip", "\"bb-gzip\""),
        ("identity", "", "\"bb\""),
    ] {
        let response = ask(Method::GET, "/assets/app-1.js", &[("accept-encoding", accepts)]);
        assert_eq!((header(&response, "content-encoding"), header(&response, "etag")), (coding, tag));
        assert_eq!(header(&response, "vary"), "accept-encoding");
    }
}

#[test]
fn what_the_browser_has_is_not_sent_again() {
    let headers = [("accept-encoding", "br"), ("if-none-match", "\"x\", \"bb-br\"")];
    let response = ask(Method::GET, "/assets/app-1.js", &headers);
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    let other = [("accept-encoding", "gzip"), ("if-none-match", "\"bb-br\"")];
    assert_eq!(ask(Method::GET, "/assets/app-1.js", &other).status(), StatusCode::OK);
}

#[test]
fn hashed_files_are_kept_for_good_and_pages_are_asked_for_again() {
    assert!(header(&ask(Method::GET, "/assets/app-1.js", &[]), "cache-control").contains("immutable"));
    assert_eq!(header(&ask(Method::GET, "/", &[]), "cache-control"), "no-cache");
}

#[test]
fn a_page_leads_into_the_application_and_a_missing_file_is_missing() {
    assert_eq!(header(&ask(Method::GET, "/", &[]), "content-type"), "text/html; charset=utf-8");
    let page = ask(Method::GET, "/dhcp/leases", &[]);
    assert_eq!((page.status(), header(&page, "location")), (StatusCode::FOUND, "/#/dhcp/leases"));
    assert_eq!(header(&ask(Method::GET, "//elsewhere.example/x", &[]), "location"), "/#/elsewhere.example/x");
    assert_eq!(ask(Method::GET, "/assets/gone.js", &[]).status(), StatusCode::NOT_FOUND);
    assert_eq!(ask(Method::POST, "/", &[]).status(), StatusCode::METHOD_NOT_ALLOWED);
    let api = ask(Method::GET, "/api/v1/nothing", &[]);
    assert_eq!((api.status(), header(&api, "content-type")), (StatusCode::NOT_FOUND, "application/problem+json"));
}

#[test]
fn nothing_from_elsewhere_may_run_in_the_page_or_frame_it() {
    let response = ask(Method::GET, "/", &[]);
    let policy = header(&response, "content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe"));
    assert_eq!(header(&response, "x-content-type-options"), "nosniff");
}

#[test]
fn the_built_dashboard_is_embedded_and_compressed() {
    let index = assets().iter().find(|asset| asset.path == "index.html").unwrap();
    let page = std::str::from_utf8(index.identity).unwrap();
    let script = assets().iter().find(|asset| asset.path.starts_with("assets/index-") && asset.path.ends_with(".js"));
    let script = script.unwrap();
    assert!(page.contains(script.path), "the page loads its script");
    assert!(script.immutable && script.brotli.unwrap().len() < script.identity.len());
    assert!(!page.contains("<style") && !page.contains("onload="), "the security policy refuses inline code");
}
