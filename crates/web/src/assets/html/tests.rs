use super::*;

/// Style sheets, scripts and images have a hash in their names.
fn hashed(from: &str, reference: &str) -> Option<Resolved> {
    let target = Place { base: "/", from: Some(from) }.target(reference)?;
    let (file, extension) = target.path.rsplit_once('.')?;
    let known = matches!(extension, "css" | "js" | "png");
    let integrity = matches!(extension, "css" | "js").then(|| "sha384-x".to_owned());
    known.then(|| Resolved { url: format!("{file}-1.{extension}{}", target.suffix), integrity })
}

fn made(text: &str, minify: bool, integrity: bool) -> (String, Vec<AssetFault>) {
    let order = Order { minify, css: true, js: true, integrity, base: "/", resolve: &hashed };
    page(&Page { path: "/sub/a.html", text }, &order).unwrap()
}

#[test]
fn what_a_page_needs_is_referred_to_by_its_content() {
    for (written, replaced) in [
        ("<link rel=stylesheet href='a.css?v=1'>", "<link rel=\"stylesheet\" href=\"/sub/a-1.css?v=1\">"),
        ("<link rel=preload as=script href=../a.js>", "<link rel=\"preload\" as=\"script\" href=\"/a-1.js\">"),
        ("<link rel=canonical href=/a.png>", "<link rel=canonical href=/a.png>"),
        ("<script src=\"/a.js\" defer></script>", "<script src=\"/a-1.js\" defer></script>"),
        (
            "<img src=a.png srcset='a.png 1x, /b.png 2x' alt=\"A &amp; b\">",
            "<img src=\"/sub/a-1.png\" srcset=\"/sub/a-1.png 1x, /b-1.png 2x\" alt=\"A & b\">",
        ),
        ("<video poster=/p.png src=/v.mp4>", "<video poster=\"/p-1.png\" src=\"/v.mp4\">"),
        ("<p style='background: url(\"a.png\")'>", "<p style=\"background: url(/sub/a-1.png)\">"),
        ("<style>p { background: url(a.png) }</style>", "<style>p { background: url(/sub/a-1.png) }</style>"),
        (
            "<svg><use xlink:href='/i.svg#a'/><image href=a.png /></svg>",
            "<svg><use xlink:href='/i.svg#a'/><image href=\"/sub/a-1.png\"/></svg>",
        ),
        ("<a href=/a.png>A</a>", "<a href=/a.png>A</a>"),
        (
            "<script type=module>import './a.js'; import 'b'</script>",
            "<script type=module>import \"/sub/a-1.js\"; import 'b'</script>",
        ),
        (
            "<script type=importmap>{\"imports\": {\"a\": \"./a.js\"}, \"scopes\": {\"/x/\": {\"b\": \"/b.js\"}}, \"integrity\": {\"/b.js\": \"sha384-y\"}}</script>",
            "<script type=importmap>{\"imports\":{\"a\":\"/sub/a-1.js\"},\"scopes\":{\"/x/\":{\"b\":\"/b-1.js\"}},\"integrity\":{\"/b-1.js\":\"sha384-x\"}}</script>",
        ),
        ("<base href=/other/><img src=a.png>", "<base href=/other/><img src=\"/other/a-1.png\">"),
        ("<base href=https://cdn.example/><img src=/a.png>", "<base href=https://cdn.example/><img src=/a.png>"),
        ("<!-- <img src=a.png> --> <pre>\n a  b</pre>", "<!-- <img src=a.png> --> <pre>\n a  b</pre>"),
    ] {
        assert_eq!(made(written, false, false).0, replaced);
    }
}

#[test]
fn browsers_are_told_what_a_content_has_to_be_where_that_is_asked_for_or_was_said_already() {
    let page =
        "<script src=a.js></script><link rel=stylesheet href=a.css integrity=sha256-old><link rel=icon href=a.png>";
    assert_eq!(
        made(page, true, false).0,
        "<script src=/sub/a-1.js></script><link rel=stylesheet href=/sub/a-1.css integrity=sha384-x><link rel=icon href=/sub/a-1.png>"
    );
    assert!(made(page, true, true).0.starts_with("<script src=/sub/a-1.js integrity=sha384-x></script>"));
}

#[test]
fn what_means_nothing_is_left_out() {
    for (written, short) in [
        (
            "<!DOCTYPE html>\n<html lang=\"en\">\n <head>\n  <title> A  b </title>\n  <meta charset=\"utf-8\">\n </head>\n <body>\n  <p class=\"a b\">\n   one  <b>two</b>\n   three\n  </p>\n </body>\n</html>\n",
            "<!DOCTYPE html><html lang=en><head><title> A  b </title><meta charset=utf-8></head><body>\n<p class=\"a b\">\none <b>two</b>\nthree\n</p>\n</body>\n</html>\n",
        ),
        (
            "<p>a<!-- prose --> b <!--[if IE]> c <![endif]--><!--$--><!-- ko if: a --><!---->",
            "<p>a b <!--[if IE]> c <![endif]--><!--$--><!-- ko if: a --><!---->",
        ),
        (
            "<pre> a\n  b <b> c </b></pre>  <textarea>  x </textarea>",
            "<pre> a\n  b <b> c </b></pre> <textarea>  x </textarea>",
        ),
        ("<script type=\"text/javascript\">\n var first = 1;  // what\n</script>", "<script>var first=1;</script>"),
        ("<script type=\"application/json\"> { } </script>", "<script type=application/json> { } </script>"),
        (
            "<style type='text/css'> a { color : red } </style><p style=' color : red ; '>",
            "<style>a{color:red}</style><p style=color:red>",
        ),
        ("<p title='say \"a\"' data-b=\"it's &quot;\" hidden>", "<p title='say \"a\"' data-b=\"it's &quot;\" hidden>"),
        ("<a href=\"/a/?b=c&copy=1&amp;d\">", "<a href=\"/a/?b=c&amp;copy=1&amp;d\">"),
        (
            "<svg viewBox=\"0 0 1 1\">  <path d=\"M0 0\"/>\n</svg>  a",
            "<svg viewBox=\"0 0 1 1\">  <path d=\"M0 0\"/>\n</svg> a",
        ),
        ("<noscript>  <p>a</p> </noscript>", "<noscript>  <p>a</p> </noscript>"),
        ("<p>a\r\n\r\n b", "<p>a\nb"),
    ] {
        let (text, faults) = made(written, true, false);
        assert_eq!((text.as_str(), faults), (short, vec![]), "{written}");
        assert_eq!(made(short, true, false).0, short);
    }
}

#[test]
fn what_a_policy_knows_by_its_hash_stays_as_it_is() {
    let page =
        "<meta http-equiv=Content-Security-Policy content=\"script-src 'sha256-x'\"><script> var a = 1 </script>";
    assert!(made(page, true, false).0.ends_with("<script> var a = 1 </script>"));
}

#[test]
fn a_fault_in_a_part_of_a_page_has_its_place_in_the_page_and_the_part_stays_as_it_is() {
    let page = "<p>\n<script>a(\n } </script><style>b { c: 'd\n }</style> <script type=importmap>{</script>";
    let (text, faults) = made(page, true, false);
    assert!(text.contains("<script>a(\n } </script><style>b { c: 'd\n }</style>"), "{text}");
    let places: Vec<_> = faults.iter().filter_map(|fault| fault.at).collect();
    assert_eq!(places, [(3, 2), (3, 27), (4, 35)], "{faults:?}");
    let order = Order { minify: true, css: true, js: true, integrity: false, base: "/", resolve: &hashed };
    let fault = super::page(&Page { path: "/a.html", text: "a\n<p" }, &order);
    assert_eq!(fault.unwrap().0, "a\n<p");
    let fault = super::page(&Page { path: "/a.html", text: "a\n<!-- b" }, &order).unwrap_err();
    assert!(fault.to_string().starts_with("/a.html:2:1: "), "{fault}");
}
