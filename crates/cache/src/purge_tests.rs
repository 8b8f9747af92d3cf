use bytes::Bytes;
use outwork_engine::{Rng, sim};

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
    let prefix = |number: usize| Ban::Purge(Purge::Prefix(number.to_string().into()));
    for (room, ban) in [(BANS, (|number| name(&number.to_string())) as fn(usize) -> Ban), (PREFIXES, prefix)] {
        let bans = Bans::default();
        let first = bans.era();
        for number in 0..room {
            bans.add(ban(number));
        }
        let unrelated = entry("z", &[]);
        assert!(!bans.bars(first, &KEY, &unrelated));
        bans.add(ban(room));
        assert!(bans.bars(first, &KEY, &unrelated), "the ban it may have had to pass is not known any more");
        assert!(!bans.bars(Era(1), &KEY, &unrelated));
        assert!(bans.bars(Era(1), &KEY, &entry("1", &[])));
        assert_eq!(bans.with(BanList::len), room);
    }
}

#[test]
fn what_is_purged_again_and_again_is_one_ban() {
    let bans = Bans::default();
    for _ in 0..100 {
        for purge in [Purge::Name("u".into()), Purge::Prefix("u".into()), Purge::Tag("u".into())] {
            bans.add(Ban::Purge(purge));
        }
    }
    assert_eq!((bans.with(BanList::len), bans.era()), (3, Era(300)));
    assert!(bans.bars(Era(299), &KEY, &entry("v", &["u"])));
    assert!(bans.bars(Era(298), &KEY, &entry("u2", &[])) && !bans.bars(Era(299), &KEY, &entry("u2", &[])));
}

#[test]
fn the_list_bars_what_looking_at_every_ban_would() {
    sim::seeds(50, |rng| {
        let (mut list, mut all) = (BanList::default(), vec![]);
        for number in 1..300 {
            let word = |rng: &mut Rng| Box::<str>::from(format!("{}", rng.below(40)));
            let ban = match rng.below(100) {
                0..40 => Ban::Purge(Purge::Name(word(rng))),
                40..60 => Ban::Purge(Purge::Prefix(word(rng))),
                60..80 => Ban::Purge(Purge::Tag(word(rng))),
                80..99 => Ban::Key(Key::of(&[word(rng).as_bytes()])),
                _ => Ban::Purge(Purge::All),
            };
            list.add(number, ban.clone());
            all.push((number, ban));
            let (era, key) = (rng.below(number + 1), Key::of(&[word(rng).as_bytes()]));
            let entry = entry(&format!("{}{}", word(rng), word(rng)), &[&word(rng)]);
            let met = |ban: &Ban| match ban {
                Ban::Purge(purge) => purge.matches(&entry),
                Ban::Key(banned) => *banned == key,
            };
            let expected = all.iter().any(|(number, ban)| *number > era && met(ban));
            assert_eq!(list.bars(era, &key, &entry), expected);
        }
    });
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
