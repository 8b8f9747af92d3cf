use bytes::Bytes;

use super::*;
use crate::entry::UnixMillis;

fn entry(name: &str, tags: &[&str]) -> Entry {
    Entry {
        name: name.into(),
        meta: Bytes::new(),
        body: Bytes::new(),
        tags: tags.iter().map(|tag| (*tag).into()).collect(),
        expires: UnixMillis::NEVER,
        decoded: Default::default(),
    }
}

const KEY: Key = Key::from_bytes([7; 16]);

fn name(name: &str) -> Ban {
    Ban::Purge(Purge::Name(name.into()))
}

#[test]
fn a_purge_means_a_name_a_prefix_a_tag_or_everything() {
    let entry = entry("https://a/x?y=1", &["product-1", "home"]);
    for (purge, meant) in [
        (Purge::Name("https://a/x?y=1".into()), true),
        (Purge::Name("https://a/x".into()), false),
        (Purge::Prefix("https://a/".into()), true),
        (Purge::Prefix("https://a/x?y=12".into()), false),
        (Purge::Tag("home".into()), true),
        (Purge::Tag("product".into()), false),
        (Purge::All, true),
    ] {
        assert_eq!(purge.matches(&entry), meant, "{purge:?}");
    }
}

#[test]
fn a_ban_is_read_as_it_was_written() {
    let purges = [Purge::Name("u".into()), Purge::Prefix("".into()), Purge::Tag("ä b".into()), Purge::All];
    for ban in purges.into_iter().map(Ban::Purge).chain([Ban::Key(KEY)]) {
        assert_eq!(Ban::decode(&ban.encode()), Some(ban));
    }
    for wrong in ["", "x", "all", "k12", &format!("k{}", "g".repeat(32))] {
        assert_eq!(Ban::decode(wrong), None, "{wrong}");
    }
}

#[test]
fn what_is_older_than_a_ban_is_held_against_it_and_what_is_newer_is_not() {
    let bans = Bans::default();
    let before = bans.era();
    bans.add(name("a"));
    let after = bans.era();
    bans.add(Ban::Key(KEY));
    let other = Key::from_bytes([8; 16]);
    assert!(bans.bars(before, &other, &entry("a", &[])));
    assert!(!bans.bars(after, &other, &entry("a", &[])));
    assert!(!bans.bars(before, &other, &entry("b", &[])));
    assert!(bans.bars(after, &KEY, &entry("b", &[])));
    bans.add(Ban::Purge(Purge::All));
    assert!(bans.bars(after, &other, &entry("b", &[])));
    assert!(!bans.bars(bans.era(), &KEY, &entry("a", &[])));
}

#[test]
fn more_bans_than_are_kept_ban_everything_that_is_as_old() {
    let bans = Bans::default();
    let first = bans.era();
    for number in 0..BANS {
        bans.add(name(&number.to_string()));
    }
    let unrelated = entry("z", &[]);
    assert!(!bans.bars(first, &KEY, &unrelated));
    bans.add(name("one more"));
    assert!(bans.bars(first, &KEY, &unrelated), "the ban it may have had to pass is not known any more");
    assert!(!bans.bars(Era(1), &KEY, &unrelated));
    assert!(bans.bars(Era(1), &KEY, &entry("1", &[])));
    assert_eq!(bans.list().iter().count(), BANS);
}

#[test]
fn bans_are_forgotten_when_told_so_and_numbers_go_on() {
    let bans = Bans::default();
    let numbers = [bans.add(name("a")), bans.add(name("b"))];
    assert_eq!(numbers, [1, 2]);
    bans.forget(Era(2));
    assert_eq!(bans.add(name("c")), 3);
    assert!(!bans.bars(Era(0), &KEY, &entry("a", &[])));
    assert!(bans.bars(Era(0), &KEY, &entry("b", &[])));
}

#[test]
fn a_ban_that_is_known_already_changes_nothing() {
    let mut list = BanList::default();
    list.add(5, name("a"));
    let before = list.clone();
    list.add(5, Ban::Purge(Purge::All));
    list.add(4, name("b"));
    assert_eq!(list, before);
    list.raise(3);
    assert!(list.bars(2, &KEY, &entry("z", &[])) && !list.bars(3, &KEY, &entry("z", &[])));
}
