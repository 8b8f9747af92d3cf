//! What is made of shaping as it is written, and what is said of what cannot be.

use outwork_config::{Sources, load};

use super::*;

const UPLINKS: &str = "[[uplink]]\nname = 'fibre'\ninterface = 'eth1'\nbandwidth = 100_000_000\n\
                       [[uplink]]\nname = 'lte'\nlisten = ['0.0.0.0:51821']\ninterface = 'wwan0'\n";

fn read(text: &str) -> Result<(Sdwan, String), String> {
    let sources = Sources { file: Some(("outwork.toml".into(), format!("{text}\n{UPLINKS}"))), ..Sources::default() };
    let loaded = load::<Sdwan>(sources).map_err(|faults| faults.render(false))?;
    let warnings = loaded.warnings().iter().map(|warning| warning.render(false)).collect();
    Ok((loaded.value, warnings))
}

/// What is wrong, or else what is warned of, where uplinks are shaped.
fn said(text: &str) -> String {
    read(&format!("[qos]\nenabled = true\n{text}")).map_or_else(|faults| faults, |(_, warnings)| warnings)
}

#[test]
fn nothing_is_shaped_unless_it_is_asked_for() {
    let (plain, warnings) = read("[qos.uplink.fibre]\nrate = 64_000").unwrap();
    assert!(plain.shaped_uplinks().is_empty() && warnings.is_empty(), "{warnings}");
}

#[test]
fn uplinks_are_held_to_a_part_of_their_bandwidth_or_to_the_rate_that_is_said() {
    let rates = |text: &str| {
        let (sdwan, _) = read(&format!("[qos]\nenabled = true\n{text}")).unwrap();
        let uplinks = sdwan.shaped_uplinks();
        uplinks.iter().map(|one| (one.place, one.interface.to_string(), one.rate)).collect::<Vec<_>>()
    };
    assert_eq!(rates(""), [(0, "eth1".to_owned(), 95_000_000)]);
    assert_eq!(
        rates("bandwidth_share = 0.5\n[qos.uplink.lte]\nrate = 7_000_000"),
        [(0, "eth1".to_owned(), 50_000_000), (1, "wwan0".to_owned(), 7_000_000)]
    );
    assert_eq!(
        rates("[qos.uplink.fibre]\nshaped = false\n[qos.uplink.lte]\nrate = 64_000"),
        [(1, "wwan0".to_owned(), 64_000)]
    );
}

#[test]
fn an_uplink_that_cannot_be_shaped_is_warned_of_unless_that_was_said() {
    let told = said("");
    assert!(told.contains("uplink[1]") && told.contains("nobody says its rate"), "{told}");
    assert_eq!(said("[qos.uplink.lte]\nshaped = false"), "");
    let told = said("[qos.uplink.lte]\nshaped = false\n[qos.uplink.fibre]\nshaped = false");
    assert!(told.contains("qos.enabled") && told.contains("no uplink can be shaped"), "{told}");
}

#[test]
fn what_is_said_of_a_class_stands_beside_what_it_has_by_default() {
    let text = "[class.backup]\n[class.gold]\n[qos.class.voice]\nrate = 2_000_000\ndscp = ['EF', 'AF41']\nmarks = ['0x10/0xf0', '7']\n\
                [qos.class.gold]\nceiling = 0.5\npriority = 7\n[qos.class.bulk]\ndscp = []";
    let (sdwan, _) = read(text).unwrap();
    let classes = sdwan.shaped_classes();
    let names: Vec<_> = classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!(names, ["control", "voice", "video", "transactional", "bulk", "gold"], "of backup nothing is said");
    let [_, voice, video, _, bulk, gold] = classes.as_slice() else { panic!("{classes:?}") };
    assert_eq!((voice.rate, voice.priority, voice.dscp.as_slice()), (Amount::Rate(2_000_000), 1, &[46, 34][..]));
    assert_eq!(voice.marks, [PacketMark { value: 0x10, mask: 0xf0 }, PacketMark::of(7)]);
    assert!(!video.dscp.contains(&34), "what is named elsewhere is of no other class: {video:?}");
    assert_eq!((bulk.rate, bulk.dscp.as_slice()), (Amount::Share(0.1), &[][..]));
    assert_eq!((gold.rate, gold.ceiling, gold.priority), (Amount::Share(0.05), 0.5, 7));
}

#[test]
fn what_cannot_be_is_refused_by_its_key_and_with_what_would_be() {
    for (text, key, expected) in [
        ("default_class = 'gold'", "qos.default_class", "one of voice, video, transactional, bulk"),
        ("default_class = 'control'", "qos.default_class", "one of voice"),
        ("first_mark = '0x10/0xff'", "qos.first_mark", "without a mask"),
        ("first_mark = '0xffffffff'", "qos.first_mark", "256 marks"),
        ("bandwidth_share = 1.5", "qos.bandwidth_share", "1.0"),
        ("foreign = 'keep'", "qos.foreign", "replace"),
        ("[qos.class.gold]", "qos.class.gold", "add [sdwan.class.gold]"),
        ("[qos.class.voice]\nshare = 0.1\nrate = 9000", "qos.class.voice.rate", "one of the two"),
        ("[qos.class.voice]\nshare = 0.5", "qos.class", "115 % of uplink \"fibre\""),
        ("[qos.class.voice]\nrate = 200_000_000", "qos.class", "ceiling is what they have"),
        ("[qos.class.voice]\ndscp = ['gold']", "qos.class.voice.dscp[0]", "a traffic class"),
        (
            "[qos.class.voice]\ndscp = ['EF', 'CS3']\n[qos.class.video]\ndscp = [24]",
            "qos.class.voice.dscp[1]",
            "\"video\"",
        ),
        ("[qos.class.voice]\nmarks = ['0x11/0xf0']", "qos.class.voice.marks[0]", "no packet is like that"),
        ("[qos.class.voice]\nmarks = ['0']", "qos.class.voice.marks[0]", "other than 0"),
        ("[qos.uplink.dsl]\nrate = 64_000", "qos.uplink.dsl", "one of fibre, lte"),
        ("[qos.uplink.lte]\nrate = 1", "qos.uplink.lte.rate", "64000"),
    ] {
        let told = said(text);
        assert!(told.contains(key) && told.contains(expected), "{text}: {told}");
    }
}

#[test]
fn one_interface_is_shaped_for_one_uplink() {
    let text = "[qos]\nenabled = true\n[[uplink]]\nname = 'more'\nlisten = ['0.0.0.0:51822']\ninterface = 'eth1'\nbandwidth = 1_000_000";
    let told = read(text).unwrap_err();
    assert!(told.contains(".interface") && told.contains("shaped = false"), "{told}");
    assert!(read(&format!("{text}\n[qos.uplink.fibre]\nshaped = false")).is_ok());
}

#[test]
fn marks_are_read_and_shown_as_people_write_them() {
    for (text, mark, told) in [
        ("0x10", PacketMark::of(16), "0x10"),
        ("16", PacketMark::of(16), "0x10"),
        ("0x10 / 0xff", PacketMark { value: 16, mask: 255 }, "0x10/0xff"),
        ("0/1", PacketMark { value: 0, mask: 1 }, "0x0/0x1"),
    ] {
        let read: PacketMark = text.parse().unwrap();
        assert_eq!((read, read.to_string().as_str()), (mark, told), "{text}");
    }
    for wrong in ["", "x", "0", "1/0", "0x1_0", "4294967296", "1/"] {
        assert_eq!(wrong.parse::<PacketMark>(), Err(PacketMarkError::Number), "{wrong}");
    }
    assert_eq!("3/1".parse::<PacketMark>(), Err(PacketMarkError::Mask));
}
