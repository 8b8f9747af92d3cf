use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::files::folder::Folder;

struct Place {
    dir: tempfile::TempDir,
    folder: Folder,
    watch: Arc<Watch>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        for name in ["a/b/c.txt", "a/other.txt"] {
            fs::write(dir.path().join(name), "content").unwrap();
        }
        let watch = Watch::new(dir.path().to_owned(), true, Arc::default());
        Self { folder: Folder::open(dir.path(), true).unwrap(), dir, watch }
    }

    fn ticket(&self, path: &str) -> Ticket {
        let mut ticket = Ticket::new(&self.watch);
        ticket.follow(self.folder.descriptor(), path);
        ticket
    }

    /// Takes up everything that was told.
    fn drain(&self) {
        while self.watch.drain().is_ok() {}
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Whether a ticket for a path notices a change.
    fn notices(&self, path: &str, change: impl FnOnce(&Self)) -> bool {
        let ticket = self.ticket(path);
        self.drain();
        assert_eq!(ticket.word(), Word::Unchanged, "{path}");
        change(self);
        self.drain();
        ticket.word() == Word::Changed
    }
}

#[test]
fn a_ticket_notices_what_concerns_its_path_and_nothing_else() {
    let write = |name: &'static str| move |place: &Place| fs::write(place.path(name), "x").unwrap();
    let rename = |from: &'static str, to: &'static str| {
        move |place: &Place| fs::rename(place.path(from), place.path(to)).unwrap()
    };
    let place = Place::new();
    assert!(place.notices("a/b/c.txt", write("a/b/c.txt")));
    assert!(!place.notices("a/b/c.txt", write("a/other.txt")));
    assert!(!place.notices("a/b/c.txt", write("a/b/d.txt")));
    assert!(place.notices("a/b/c.txt", |place| fs::remove_file(place.path("a/b/c.txt")).unwrap()));
    assert!(place.notices("a/b/c.txt", write("a/b/c.txt")), "it was not there, and now it is");
    assert!(place.notices("a/b/c.txt", rename("a", "z")));
    assert!(place.notices("a/b/c.txt", rename("z", "a")), "nor was a folder on its way");
    assert!(place.notices("a/b/c.txt", rename("a/other.txt", "a/b/c.txt")));
    assert!(!place.notices("../outside", write("a/other.txt")));
}

#[test]
fn links_on_the_way_count_and_so_does_what_they_lead_to() {
    let place = Place::new();
    symlink("a", place.path("link")).unwrap();
    symlink("../b/c.txt", place.path("a/file")).unwrap();
    symlink("loop", place.path("loop")).unwrap();
    symlink("/etc/passwd", place.path("away")).unwrap();
    let exchange = |name: &'static str, target: &'static str| {
        move |place: &Place| {
            symlink(target, place.path("new")).unwrap();
            fs::rename(place.path("new"), place.path(name)).unwrap();
        }
    };
    let path = "link/b/c.txt";
    assert!(place.notices(path, |place| fs::write(place.path("a/b/c.txt"), "x").unwrap()));
    assert!(place.notices(path, |place| fs::rename(place.path("a/b"), place.path("a/moved")).unwrap()));
    assert!(place.notices(path, |place| fs::rename(place.path("a/moved"), place.path("a/b")).unwrap()));
    assert!(place.notices(path, exchange("link", "a/b")));
    assert!(place.notices("away", exchange("away", "a/other.txt")));
    assert!(place.notices("loop", exchange("loop", "a/other.txt")));
}

#[test]
fn what_lies_beside_is_looked_up_where_the_last_name_stands() {
    let place = Place::new();
    symlink("a", place.path("link")).unwrap();
    symlink("b/c.txt", place.path("a/file.txt")).unwrap();
    let mut ticket = Ticket::new(&place.watch);
    let beside = ticket.follow(place.folder.descriptor(), "link/file.txt");
    ticket.follow_beside(&beside, "file.txt.br");
    place.drain();
    fs::write(place.path("a/b/file.txt.br"), "").unwrap();
    place.drain();
    assert_eq!(ticket.word(), Word::Unchanged);
    fs::write(place.path("a/file.txt.br"), "").unwrap();
    place.drain();
    assert_eq!(ticket.word(), Word::Changed);
}

#[test]
fn more_changes_than_can_be_told_apart_count_for_everybody() {
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let place = Place::new();
    fs::write(place.path("a/b/d.txt"), "").unwrap();
    let [busy, too, quiet] = ["a/b/c.txt", "a/b/d.txt", "a/other.txt"].map(|path| place.ticket(path));
    place.drain();
    let files = ["a/b/c.txt", "a/b/d.txt"].map(|name| fs::File::options().write(true).open(place.path(name)).unwrap());
    // Two in turn, for the kernel makes one event of the same again and again.
    let write = |times: usize| {
        for round in 0..times {
            std::os::unix::fs::FileExt::write_all_at(&files[round % 2], b"x", 0).unwrap();
        }
    };
    write(EVENTS / 2);
    place.drain();
    assert_eq!([&busy, &too, &quiet].map(Ticket::word), [Word::Changed, Word::Changed, Word::Unchanged]);
    assert_eq!(place.watch.metrics.watch_overflows.get(), 0);
    write(limit + 10);
    place.drain();
    assert_eq!(quiet.word(), Word::Changed);
    // Once for each batch that was too large, and once for the kernel's own word that it has lost some.
    assert_eq!(place.watch.metrics.watch_overflows.get() as usize, limit / EVENTS + 1);
}

#[test]
fn where_nothing_is_told_everything_has_to_be_looked_at() {
    let place = Place::new();
    let unwanted = Watch::new(place.dir.path().to_owned(), false, Arc::default());
    let mut ticket = Ticket::new(&unwanted);
    ticket.follow(place.folder.descriptor(), "a/b/c.txt");
    assert_eq!(ticket.word(), Word::Unknown);
    // The process file system does not tell of changes.
    let proc = Folder::open("/proc".as_ref(), true).unwrap();
    let mut ticket = Ticket::new(&place.watch);
    ticket.follow(proc.descriptor(), "version");
    assert_eq!((ticket.word(), place.watch.metrics.watch_refused.get()), (Word::Unknown, 1));
    ticket.spoil();
    assert_eq!(ticket.word(), Word::Changed);
    assert!(!place.watch.give_up(&io::ErrorKind::Other.into()));
    assert_eq!(place.ticket("a/b/c.txt").word(), Word::Unknown);
}

#[test]
fn watches_are_bounded() {
    let place = Place::new();
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").unwrap().trim().parse().unwrap();
    let count = WATCHES.min(limit) + 10;
    fs::create_dir(place.path("many")).unwrap();
    let mut tickets = Vec::new();
    for index in 0..count {
        let name = format!("many/{index}");
        fs::write(place.path(&name), "").unwrap();
        tickets.push(place.ticket(&name));
    }
    assert!(tickets.first().unwrap().word() != Word::Unknown);
    assert_eq!(tickets.last().unwrap().word(), Word::Unknown);
    assert!(place.watch.metrics.watches.get() as usize <= WATCHES && place.watch.metrics.watch_refused.get() > 0);
    drop(tickets);
    assert_eq!(place.watch.metrics.watches.get(), 0);
}

#[test]
fn who_opens_the_folder_hears_when_its_path_leads_elsewhere() {
    let place = Place::new();
    let root = place.path("a");
    let way = |place: &Place| {
        let mut ticket = Ticket::new(&place.watch);
        ticket.follow_way(&root);
        place.drain();
        ticket
    };
    let ticket = way(&place);
    fs::write(place.path("a/new.txt"), "").unwrap();
    fs::write(place.path("beside"), "").unwrap();
    place.drain();
    assert_eq!(ticket.word(), Word::Unchanged, "what happens in it or beside it does not matter");
    fs::rename(place.path("a"), place.path("z")).unwrap();
    place.drain();
    assert_eq!(ticket.word(), Word::Changed);
    drop(ticket);
    symlink("z", place.path("a")).unwrap();
    let ticket = way(&place);
    symlink("nowhere", place.path("y")).unwrap();
    fs::rename(place.path("y"), place.path("a")).unwrap();
    place.drain();
    assert_eq!(ticket.word(), Word::Changed);
}
