//! Files are changed in every way there is, and asked for right after.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

use super::*;
use crate::metrics::Lookup;

/// With word of changes, and without.
const MODES: [&str; 2] = ["", "watch = false"];

#[test]
fn a_file_that_is_written_over_is_seen_with_the_next_request_each_time() {
    for mode in MODES {
        let site = Site::new(mode);
        let mut client = site.client();
        for round in 0..300 {
            let content = format!("{round:05}");
            match round % 3 {
                0 => site.write("a.txt", &content),
                1 => {
                    site.write("new.txt", &content);
                    fs::rename(site.path("new.txt"), site.path("a.txt")).unwrap();
                }
                // The same length, and within the tick of the clock that file systems go by.
                _ => fs::File::options()
                    .write(true)
                    .open(site.path("a.txt"))
                    .unwrap()
                    .write_all_at(content.as_bytes(), 0)
                    .unwrap(),
            }
            assert_eq!(client.get("/a.txt"), (200, content), "{mode:?}");
        }
    }
}

#[test]
fn whatever_happens_to_a_path_is_seen_with_the_next_request() {
    for mode in MODES {
        let site =
            Site::new(&format!("{mode}\ntry = ['$path', '$path.html', '$path/']\nindex = ['index.html', 'index.htm']"));
        let mut client = site.client();
        let mut expect = |path: &str, status: u16, content: &str| {
            // What is found is kept, then found again, and in the end known by heart.
            for _ in 0..4 {
                let (got, body) = client.get(path);
                assert_eq!((got, if got == 200 { &*body } else { "" }), (status, content), "{mode:?} {path}");
            }
        };
        let path = |name: &str| site.path(name);
        // Deleted, and there again.
        expect("/a.txt", 200, "0123456789");
        fs::remove_file(path("a.txt")).unwrap();
        expect("/a.txt", 404, "");
        site.write("a.txt", "again");
        expect("/a.txt", 200, "again");
        // A link to it, and one to something else.
        expect("/in.txt", 200, "again");
        site.write("a.txt", "through the link");
        expect("/in.txt", 200, "through the link");
        site.write("b.txt", "b");
        symlink("b.txt", path("link.new")).unwrap();
        fs::rename(path("link.new"), path("in.txt")).unwrap();
        expect("/in.txt", 200, "b");
        // Its folder is moved away and another one takes its place.
        expect("/sub/", 200, "<p>sub");
        fs::rename(path("sub"), path("old")).unwrap();
        expect("/sub/", 404, "");
        expect("/old/", 200, "<p>sub");
        fs::create_dir(path("sub")).unwrap();
        site.write("sub/index.htm", "short");
        expect("/sub/", 200, "short");
        // What comes before it appears, and goes.
        site.write("sub/index.html", "long");
        expect("/sub/", 200, "long");
        fs::remove_file(path("sub/index.html")).unwrap();
        expect("/sub/", 200, "short");
        site.write("page.html", "page");
        expect("/page", 200, "page");
        site.write("page", "without an end");
        expect("/page", 200, "without an end");
        fs::remove_file(path("page")).unwrap();
        expect("/page", 200, "page");
        // A folder on the way that is a link, which turns elsewhere.
        fs::create_dir_all(path("v1/deep")).unwrap();
        fs::create_dir_all(path("v2/deep")).unwrap();
        site.write("v1/deep/x.txt", "one");
        site.write("v2/deep/x.txt", "two");
        symlink("v1", path("current")).unwrap();
        expect("/current/deep/x.txt", 200, "one");
        symlink("v2", path("next")).unwrap();
        fs::rename(path("next"), path("current")).unwrap();
        expect("/current/deep/x.txt", 200, "two");
        site.write("v2/deep/x.txt", "two and a half");
        expect("/current/deep/x.txt", 200, "two and a half");
        // Another name of the same file, elsewhere.
        fs::hard_link(path("b.txt"), site.dir.path().join("elsewhere")).unwrap();
        expect("/b.txt", 200, "b");
        fs::write(site.dir.path().join("elsewhere"), "by another name").unwrap();
        expect("/b.txt", 200, "by another name");
        // Cut short, and grown.
        let file = fs::File::options().write(true).open(path("b.txt")).unwrap();
        file.set_len(2).unwrap();
        expect("/b.txt", 200, "by");
        file.set_len(0).unwrap();
        expect("/b.txt", 200, "");
    }
}

#[test]
fn the_folder_itself_may_be_exchanged_as_a_new_release_is() {
    let dir = tempfile::tempdir().unwrap();
    for release in ["one", "two"] {
        fs::create_dir_all(dir.path().join(release)).unwrap();
        fs::write(dir.path().join(release).join("a.txt"), release).unwrap();
    }
    symlink("one", dir.path().join("root")).unwrap();
    let site = Site::serve(dir, "", None);
    let mut client = site.client();
    for release in ["one", "two", "one"] {
        symlink(release, site.dir.path().join("next")).unwrap();
        fs::rename(site.dir.path().join("next"), site.dir.path().join("root")).unwrap();
        for _ in 0..2 {
            assert_eq!(client.get("/a.txt"), (200, release.into()));
        }
    }
    fs::rename(site.dir.path().join("one"), site.dir.path().join("gone")).unwrap();
    assert_eq!(client.get("/a.txt").0, 404);
    fs::rename(site.dir.path().join("two"), site.dir.path().join("one")).unwrap();
    assert_eq!(client.get("/a.txt"), (200, "two".into()));
}

#[test]
fn what_is_kept_and_watched_is_served_without_a_look_at_the_disk() {
    let site = Site::new("");
    let mut client = site.client();
    let rounds = 500;
    for _ in 0..rounds {
        assert_eq!(client.get("/sub/index.html").0, 200);
    }
    assert_eq!(site.metrics.lookups.of(Lookup::Hit).get(), rounds - 1);
    // But for one every two seconds.
    assert!(site.metrics.looks.get() < 20, "{}", site.metrics.looks.get());
    assert!(site.metrics.watches.get() >= 3 && site.metrics.watch_refused.get() == 0);
    let unwatched = Site::new("watch = false");
    let mut client = unwatched.client();
    for _ in 0..rounds {
        assert_eq!(client.get("/sub/index.html").0, 200);
    }
    assert_eq!((unwatched.metrics.looks.get(), unwatched.metrics.watches.get()), (rounds - 1, 0));
}

#[test]
fn a_file_that_may_no_longer_be_read_is_not_served_from_memory() {
    let site = Site::new("");
    let mut client = site.client();
    assert_eq!(client.get("/a.txt").0, 200);
    fs::set_permissions(site.path("a.txt"), fs::Permissions::from_mode(0o000)).unwrap();
    client.get("/a.txt");
    // Root may read everything, so that the answer says nothing; but it was asked for anew.
    assert_eq!(site.metrics.lookups.of(Lookup::Changed).get(), 1);
}

#[test]
fn more_changes_than_the_kernel_keeps_make_everything_be_looked_at_anew() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    let site = Site::new("");
    let mut client = site.client();
    assert_eq!(client.get("/a.txt").1, "0123456789");
    // Each write is an event; the thread that serves takes them up meanwhile, so more are needed than are kept.
    let file = fs::File::options().write(true).open(site.path("a.txt")).unwrap();
    let other = fs::File::options().write(true).open(site.path("large.bin")).unwrap();
    assert_eq!(client.get("/large.bin").0, 200);
    for round in 0..limit {
        (if round % 2 == 0 { &file } else { &other }).write_all_at(b"z", 0).unwrap();
    }
    assert_eq!(client.get("/a.txt").1, "z123456789");
}

#[test]
fn watches_go_with_what_they_are_for() {
    let site = Site::new("memory = '16KiB'");
    for index in 0..100 {
        fs::create_dir(site.path(&format!("d{index}"))).unwrap();
        site.write(&format!("d{index}/x.txt"), "x");
    }
    let mut client = site.client();
    for index in 0..100 {
        assert_eq!(client.get(&format!("/d{index}/x.txt")).0, 200);
    }
    assert!(site.metrics.watches.get() < 40, "{}", site.metrics.watches.get());
}

#[test]
fn what_is_not_there_has_nothing_watched() {
    let site = Site::new("");
    let mut client = site.client();
    // The way to the folder itself.
    let before = site.metrics.watches.get();
    for path in ["/none", "/sub/none", "/sub", "/sub/none/at/all"] {
        client.get(path);
    }
    assert_eq!((site.metrics.watches.get(), site.metrics.watch_events.get()), (before, 0));
}
