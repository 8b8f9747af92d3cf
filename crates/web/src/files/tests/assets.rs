//! What is made of files, served.

use std::fs;
use std::time::Instant;

use super::*;
use crate::assets::Pipeline;

/// A site with these files beside the usual ones, whose assets are made when it is there.
fn site(keys: &str, files: &[(&str, &str)]) -> Site {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join("root").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    Site::serve(
        dir,
        &format!("{keys}\n[files.assets]\ndebounce = '10ms'\nstart_wait = '60s'\nsource_maps = false\n"),
        None,
    )
}

const FILES: &[(&str, &str)] = &[
    ("index.html", "<link rel=stylesheet href=app.css>\n\n<p>home"),
    ("app.css", "p { color : red }"),
    ("404.html", "<link rel=stylesheet href=/app.css>\n\n<p>none"),
    ("image.png", "\u{0}png"),
    ("readme.txt", "read  me"),
];

/// The first URL in a page.
fn url(page: &str) -> String {
    page.split("href=").nth(1).and_then(|rest| rest.split('>').next()).unwrap().to_owned()
}

impl Site {
    fn pipeline(&self) -> Arc<Pipeline> {
        self.workshop.sites().into_iter().next().unwrap()
    }

    /// Waits until something is so: what is made follows a change, and does not come with it.
    fn until(&self, mut is_so: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < end, "{:#?}", self.pipeline().progress());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_name_by_content_is_kept_for_ever_and_another_is_asked_for_again() {
    let site = site(
        "error_pages = { 404 = '/404.html' }\ncache_control = 'max-age=60'\ncache_rules = [{ files = ['app.css'], value = 'max-age=9' }]",
        FILES,
    );
    let (status, head, page) = site.ask("GET", "/", "");
    assert_eq!(status, 200);
    assert!(head.contains("cache-control: max-age=60\r\n"), "{head}");
    let css = url(&page);
    assert!(css.starts_with("/app-") && page.ends_with("><p>home"), "{page}");
    let (status, head, body) = site.ask("GET", &css, "");
    assert_eq!((status, body.as_str()), (200, "p{color:red}"));
    assert!(head.contains("cache-control: public, max-age=31536000, immutable\r\n"), "{head}");
    assert!(head.contains("content-type: text/css; charset=utf-8\r\n"), "{head}");
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    assert_eq!(site.ask("GET", &css, &format!("If-None-Match: {etag}\r\n")).0, 304);
    assert_eq!(site.ask("GET", &css, "Range: bytes=2-6\r\n").2, "color");
    let (_, head, body) = site.ask("GET", "/app.css", "");
    assert!(head.contains("cache-control: max-age=9\r\n") && body == "p{color:red}", "{head}");
    assert_eq!(site.get("/readme.txt"), (200, "read  me".to_owned()));
    let (status, _, page) = site.ask("GET", "/nothing", "");
    assert!(status == 404 && url(&page) == css && page.ends_with("><p>none"), "{page}");
}

#[test]
fn what_has_no_rule_is_asked_for_again_where_it_was_made() {
    let site = site("", FILES);
    let control = |path: &str| {
        let (_, head, _) = site.ask("GET", path, "");
        head.lines().find_map(|line| line.strip_prefix("cache-control: ")).map(str::to_owned)
    };
    assert_eq!(
        [control("/app.css"), control("/"), control("/readme.txt")],
        [Some("no-cache".into()), Some("no-cache".into()), None]
    );
}

#[test]
fn a_change_is_a_generation_of_its_own_and_what_was_before_is_still_there() {
    for mode in ["", "watch = false"] {
        let site = site(mode, FILES);
        let mut client = site.client();
        let before = url(&client.get("/").1);
        site.write("app.css", "p { color : blue }");
        assert!(
            client.get("/app.css").1.contains("blue"),
            "a change is seen with the next request, whatever is made of it"
        );
        site.until(|| client.get("/app.css").1 == "p{color:blue}");
        let after = url(&client.get("/").1);
        assert_ne!(before, after);
        assert_eq!(client.get(&after), (200, "p{color:blue}".into()));
        assert_eq!(client.get(&before), (200, "p{color:red}".into()), "a page that was loaded before");
        // One that has a fault is served as it is.
        site.write("app.css", "p { color : 'green }");
        site.until(|| client.get("/app.css").1 == "p { color : 'green }");
        site.until(|| {
            site.pipeline().progress().faults.iter().any(|fault| fault.to_string().starts_with("/app.css:1:13: "))
        });
        fs::remove_file(site.path("app.css")).unwrap();
        assert_eq!(client.get("/app.css").0, 404);
        site.until(|| client.get("/").1 == "<link rel=stylesheet href=app.css><p>home");
        site.until(|| site.pipeline().progress().faults.is_empty());
        assert_eq!(client.get(&after), (200, "p{color:blue}".into()));
    }
}

#[test]
fn what_is_hidden_or_leads_out_is_not_looked_at() {
    let site = site(
        "symlinks = true",
        &[
            ("index.html", "<img src=.a.png><img src=out.png><img src=in.png>"),
            (".a.png", "a"),
            ("b/c.png", "c"),
            ("../out.png", "out"),
        ],
    );
    symlink("../out.png", site.path("out.png")).unwrap();
    symlink("b/c.png", site.path("in.png")).unwrap();
    symlink("..", site.path("b/loop")).unwrap();
    site.until(|| site.get("/").1.starts_with("<img src=.a.png><img src=out.png><img src=/in-"));
}

#[test]
fn names_of_the_last_run_are_served_before_anything_is_made_and_go_when_their_time_is_over() {
    let site = site("", FILES);
    let before = url(&site.get("/").1);
    let settings = site.settings.clone();
    let made = site.dir.path().join("made");
    let Site { door, dir, workshop, .. } = &mut { site };
    door.take().unwrap().stop(Farewell::Brief, Duration::from_secs(5));
    assert!(workshop.sites().is_empty(), "nobody serves it any more");
    fs::write(dir.path().join("root/app.css"), "p { color : blue }").unwrap();
    for (keep, kept) in [(60, true), (0, false)] {
        let mut settings = settings.clone();
        settings.assets.as_mut().unwrap().versioning.keep = Duration::from_secs(keep);
        // As the next start does.
        let workshop = Workshop::new(made.clone());
        let pipeline = workshop.pipeline("test", &settings).unwrap();
        let progress = pipeline.progress();
        let now =
            progress.entries.iter().find(|entry| entry.path == "/app.css").and_then(|entry| entry.url.clone()).unwrap();
        let generation = pipeline.generation();
        assert_eq!((generation.find(&before).is_some(), generation.find(&now).is_some()), (kept, true));
        assert_ne!(now, before);
    }
}

#[test]
fn a_source_map_is_served_where_that_is_asked_for() {
    for (keys, status) in [("", 404), ("serve_source_maps = true\nversioning.enabled = false", 200)] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root")).unwrap();
        fs::write(dir.path().join("root/app.css"), "p { color : red }").unwrap();
        let site = Site::serve(dir, &format!("[files.assets]\nstart_wait = '60s'\n{keys}"), None);
        assert!(site.get("/app.css").1.starts_with("p{color:red}"));
        assert_eq!(site.get("/app.css.map").0, status, "{keys}");
    }
}
