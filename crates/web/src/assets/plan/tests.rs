use outwork_config::{Sources, load};

use super::*;

fn settings(text: &str) -> Assets {
    let sources = Sources { file: Some(("a.toml".into(), text.to_owned())), env: vec![], set: vec![] };
    load::<Assets>(sources).unwrap_or_else(|faults| panic!("{}", faults.render(false))).value
}

fn file(path: &str, content: &str) -> File {
    let text = is_text(path).then(|| content.into());
    File { path: path.into(), length: content.len() as u64, digest: Sha256::digest(content).into(), text }
}

fn files(all: &[(&str, &str)]) -> Vec<File> {
    all.iter().map(|(path, content)| file(path, content)).collect()
}

fn built(all: &[(&str, &str)], text: &str) -> Build {
    plan(&files(all), &settings(text), &mut Memory::default())
}

/// The text of the output of a path.
fn text<'b>(build: &'b Build, path: &str) -> &'b str {
    let output = build.outputs.iter().find(|output| output.path == path);
    match output.map(|output| &output.content) {
        Some(Content::Text(text)) => text,
        other => panic!("{path}: {other:?}: {:#?}", build.outputs),
    }
}

fn url(build: &Build, path: &str) -> String {
    build.entries.iter().find(|entry| entry.path == path).unwrap().url.clone().unwrap()
}

const SITE: &[(&str, &str)] = &[
    ("/index.html", "<link rel=stylesheet href=css/app.css>\n<script src=/app.js></script> <img src=img/a.png>"),
    ("/css/app.css", "@import 'base.css';\nbody { background: url(../img/a.png) }\n"),
    ("/css/base.css", "a { color : red }"),
    ("/app.js", "var answer = function (value) { return value }"),
    ("/img/a.png", "image"),
    ("/robots.txt", "all"),
];

#[test]
fn what_refers_to_a_content_has_its_name_and_is_named_after_that() {
    let build = built(SITE, "source_maps = false");
    assert_eq!(build.faults, []);
    let [css, base, js, png] = ["/css/app.css", "/css/base.css", "/app.js", "/img/a.png"].map(|path| url(&build, path));
    assert_eq!(text(&build, "/css/app.css"), format!("@import \"{base}\";body{{background:url({png})}}"));
    assert_eq!(
        text(&build, "/index.html"),
        format!("<link rel=stylesheet href={css}><script src={js}></script><img src={png}>")
    );
    assert_eq!(text(&build, &css), text(&build, "/css/app.css"));
    let paths: Vec<&str> = build.outputs.iter().map(|output| &*output.path).collect();
    assert_eq!(paths.len(), 8, "{paths:?}");
    assert!(!paths.contains(&"/robots.txt") && !paths.contains(&"/img/a.png"), "{paths:?}");
    // Another image is another style sheet, and another page.
    let mut other = SITE.to_vec();
    other[4].1 = "another image";
    let after = built(&other, "source_maps = false");
    assert_ne!(url(&after, "/css/app.css"), css);
    assert_eq!(url(&after, "/css/base.css"), base);
    assert!(text(&after, "/index.html").contains(&url(&after, "/img/a.png")));
}

#[test]
fn what_has_not_changed_is_not_made_again() {
    let settings = settings("");
    let mut memory = Memory::default();
    let first = plan(&files(SITE), &settings, &mut memory);
    assert_eq!((memory.made, memory.remembered), (4, 0));
    let again = plan(&files(SITE), &settings, &mut memory);
    assert_eq!((memory.made, memory.remembered), (0, 4));
    assert_eq!(first.outputs, again.outputs);
    let mut other = SITE.to_vec();
    other[3].1 = "var answer = 42";
    let after = plan(&files(&other), &settings, &mut memory);
    assert_eq!((memory.made, memory.remembered), (2, 2), "the script, and the page that refers to it");
    assert!(text(&after, "/index.html").contains(&url(&after, "/app.js")));
}

#[test]
fn files_are_put_together_in_order_with_their_references_and_a_map() {
    let site = [
        ("/css/b.css", "@import 'sub/c.css'; b { background: url(i.png) }"),
        ("/css/a.css", "@charset 'utf-8';\na { x: url(none.svg) }"),
        ("/css/sub/c.css", "c { x: url(d.png) }"),
        ("/css/i.png", "i"),
        ("/css/sub/d.png", "d"),
        ("/js/z.js", "(function () { window.z = 1 })()"),
        ("/js/a.js", "var a = function () { return import('./m.js') }"),
        ("/js/m.js", "export default 1"),
        ("/js/bad.js", "var ("),
    ];
    let build = built(
        &site,
        "serve_source_maps = true\n[concatenation]\npatterns = ['/css/*.css -> /all.css', '/js/z.js, /js/*.js, /js/none.js -> /all.js']",
    );
    let [i, d, m] = ["/css/i.png", "/css/sub/d.png", "/js/m.js"].map(|path| url(&build, path));
    let css = text(&build, "/all.css");
    let rules =
        format!("a{{x:url(/css/none.svg)}}c{{x:url({d})}}b{{background:url({i})}}\n/*# sourceMappingURL=/all.css-");
    assert!(css.starts_with(&rules), "{css}");
    let js = text(&build, "/all.js");
    assert!(js.starts_with("(function(){window.z=1})()") || js.starts_with("window.z=1"), "{js}");
    assert!(
        js.contains(&format!("\n;\nvar a=function(){{return import(`{m}`)}}"))
            || js.contains(&format!("import(\"{m}\")")),
        "{js}"
    );
    let map = js.rsplit("sourceMappingURL=").next().unwrap().trim();
    assert!(text(&build, map).contains("\"sources\":[\"/js/z.js\",\"/js/a.js\"]"), "{}", text(&build, map));
    let told: Vec<String> = build.faults.iter().map(ToString::to_string).collect();
    for part in ["/js/bad.js:1:5: ", "/js/m.js: it is a module", "/js/none.js: this file is not there"] {
        assert!(told.iter().any(|fault| fault.starts_with(part)), "{part}: {told:#?}");
    }
    let all = build.entries.iter().find(|entry| entry.path == "/all.js").unwrap();
    assert_eq!(all.before, (site[5].1.len() + site[6].1.len()) as u64);
}

#[test]
fn modules_refer_to_each_other_by_content_but_for_those_that_go_round_in_circles() {
    let site = [
        ("/a.js", "import './b.js'; import 'bare'"),
        ("/b.js", "import('./c.js')"),
        ("/c.js", "import './d.js'; import './e.js'; export let c"),
        ("/d.js", "import './c.js'; export let d"),
        ("/e.js", "export let e = 1"),
    ];
    let build = built(&site, "minification.enabled = false\nsource_maps = false");
    let [b, e] = ["/b.js", "/e.js"].map(|path| url(&build, path));
    assert_eq!(text(&build, "/a.js"), format!("import \"{b}\"; import 'bare'"));
    assert!(build.entries.iter().all(|entry| entry.path != "/c.js" || entry.url.is_none()));
    assert_eq!(text(&build, "/c.js"), format!("import './d.js'; import \"{e}\"; export let c"));
    assert!(build.outputs.iter().all(|output| output.path != "/d.js"));
    let told: Vec<&str> = build.faults.iter().map(|fault| &*fault.path).collect();
    assert_eq!(told, ["/c.js", "/d.js"]);
}

#[test]
fn a_file_with_a_fault_stays_as_it_is_and_keeps_nobody_from_it() {
    let site = [
        ("/a.js", "var = 1"),
        ("/a.css", "a { b: c"),
        ("/index.html", "<script src=a.js></script><!-- open"),
        ("/b.html", "<link rel=stylesheet href=a.css>"),
    ];
    let build = built(&site, "");
    assert_eq!(build.faults.len(), 3, "{:#?}", build.faults);
    let copied = |path: &str| {
        let url = url(&build, path);
        let output = build.outputs.iter().find(|output| output.path == url).unwrap();
        assert_eq!(output.content, Content::Of(path.into()));
        url
    };
    copied("/a.js");
    assert_eq!(text(&build, "/b.html"), format!("<link rel=stylesheet href={}>", copied("/a.css")));
}

#[test]
fn what_is_small_already_keeps_its_text_and_its_map() {
    let map = r#"{"version":3,"sources":["../src/a.ts"],"names":[],"mappings":"AAAA,MAAM"}"#;
    let site = [
        ("/js/a.min.js", "let a=1;  a;\n//# sourceMappingURL=a.min.js.map\n"),
        ("/js/a.min.js.map", map),
        ("/js/b.js", "export let b = 1;\n//# sourceMappingURL=b.js.map\n"),
        ("/js/b.js.map", map),
        ("/js/c.min.js", "import './b.js';\n//# sourceMappingURL=b.js.map"),
        ("/js/d.js", "var d = 1;\n//# sourceMappingURL=data:application/json;base64,e30="),
    ];
    let build = built(&site, "serve_source_maps = true");
    let kept = url(&build, "/js/a.min.js");
    assert_eq!(
        build.outputs.iter().find(|output| output.path == kept).unwrap().content,
        Content::Of("/js/a.min.js".into())
    );
    for path in ["/js/b.js", "/js/c.min.js"] {
        let made = text(&build, path);
        let map = text(&build, made.rsplit("sourceMappingURL=").next().unwrap().trim());
        assert!(map.contains("\"sources\":[\"/src/a.ts\"]"), "{made} {map}");
        assert_eq!(made.matches("sourceMappingURL").count(), 1);
    }
    assert!(text(&build, "/js/c.min.js").starts_with(&format!("import \"{}\";\n//# ", url(&build, "/js/b.js"))));
    assert_eq!(build.faults.len(), 1);
    assert!(
        build.faults[0].to_string().starts_with("/js/d.js:2:1: its source map cannot be read"),
        "{}",
        build.faults[0]
    );
}

#[test]
fn names_may_all_be_in_one_folder_and_the_folder_may_be_served_below_a_path() {
    let site = [
        ("/css/a.css", "a { b: url(x.gif#1) url(none.txt) }"),
        ("/css/x.gif", "x"),
        ("/index.html", "<link rel=stylesheet href=/site/css/a.css><link rel=stylesheet href=/css/a.css>"),
    ];
    let build = built(
        &site,
        "base = '/site/'\nsource_maps = false\nmanifest = '/list.json'\nversioning.pattern = '/v/{file}.{hash}.{ext}'",
    );
    let [css, gif] = ["/css/a.css", "/css/x.gif"].map(|path| url(&build, path));
    assert!(css.starts_with("/site/v/a.") && gif.starts_with("/site/v/x."), "{css} {gif}");
    assert_eq!(text(&build, "/css/a.css"), format!("a{{b:url({gif}#1) url(/site/css/none.txt)}}"));
    assert_eq!(
        text(&build, "/index.html"),
        format!("<link rel=stylesheet href={css}><link rel=stylesheet href=/css/a.css>")
    );
    let list: serde_json::Value = serde_json::from_str(text(&build, "/list.json")).unwrap();
    assert_eq!(list["/site/css/a.css"]["url"], css);
    assert!(list["/site/css/a.css"]["integrity"].as_str().unwrap().starts_with("sha384-"), "{list}");
    assert_eq!(list["/site/css/x.gif"], json!({"url": gif}));
}

#[test]
fn what_is_off_does_nothing() {
    let off = "minification.enabled = false\nversioning.enabled = false\nconcatenation.enabled = false";
    let build = built(SITE, off);
    assert!(build.outputs.is_empty() && build.entries.is_empty(), "{build:?}");
    let plain = built(SITE, "versioning.enabled = false\nsource_maps = false");
    assert_eq!(text(&plain, "/css/app.css"), "@import 'base.css';body{background:url(../img/a.png)}");
    assert!(plain.outputs.iter().all(|output| !output.versioned));
    let except = built(SITE, "versioning.except = ['/img/**']\nsource_maps = false");
    assert!(text(&except, "/css/app.css").contains("url(../img/a.png)"));
}

#[test]
fn scripts_that_are_strict_and_others_that_are_not_are_put_together_as_none_is() {
    let site = [("/a.js", "'use strict'; var a = 1"), ("/b.js", "b = 2")];
    let keys = "source_maps = false\nminification.enabled = false\nconcatenation.patterns = ['*.js -> /all.js']";
    let build = built(&site, keys);
    assert_eq!(text(&build, "/all.js"), ";'use strict'; var a = 1\n;\nb = 2");
    assert!(build.faults[0].to_string().contains("use strict"));
    let both = built(&[site[0], ("/b.js", "'use strict'")], keys);
    assert!(text(&both, "/all.js").starts_with("'use strict'") && both.faults.is_empty());
}

#[test]
fn maps_are_kept_for_who_has_the_disk_and_served_where_that_is_wanted() {
    let site = [("/app.js", "var answer = function (value) { return value }"), ("/app.css", "a { color : red }")];
    let build = built(&site, "");
    for path in ["/app.js", "/app.css"] {
        assert!(!text(&build, path).contains("sourceMappingURL"), "nothing leads to what nobody gets");
        let map = build.outputs.iter().find(|output| output.path == format!("{path}.map")).unwrap();
        assert!(!map.served && !map.versioned, "{map:?}");
        assert!(text(&build, &format!("{path}.map")).contains(&format!("\"sources\":[\"{path}\"]")));
    }
    assert_eq!(built(&site, "source_maps = false").outputs.len(), 4);
    let served = built(&site, "serve_source_maps = true");
    assert!(served.outputs.iter().all(|output| output.served));
    assert!(text(&served, "/app.js").contains("\n//# sourceMappingURL=/app.js-"));
}
