//! Trees as they are wanted, and the steps from what there is.

use outwork_config::{Sources, load};
use outwork_net::netlink::shaping::Statistics;

use super::*;
use crate::engine::class::ClassId;
use crate::plane::tunnel::UplinkIndex;

const TEXT: &str = "
[class.gold]
[class.backup]
[qos]
enabled = true
[qos.class.gold]
share = 0.05
marks = ['0x1/0xf']
[qos.uplink.lte]
rate = 1_000_000
[[uplink]]
name = 'wifi'
[[uplink]]
name = 'fibre'
listen = ['0.0.0.0:51821']
interface = 'eth1'
bandwidth = 100_000_000
[[uplink]]
name = 'lte'
listen = ['0.0.0.0:51822']
interface = 'wwan0'
";

fn settings(text: &str) -> Sdwan {
    let sources = Sources { file: Some(("outwork.toml".into(), text.into())), ..Sources::default() };
    load::<Sdwan>(sources).map_err(|faults| faults.render(false)).unwrap().value
}

/// What the kernel says of it once all has been done.
fn planted(wanted: &Wanted, fair: bool) -> There {
    let mut there = There::default();
    let qdisc = |kind: &str, handle, parent, options| {
        let statistics = Statistics::default();
        Qdisc { kind: kind.to_owned(), handle, parent, options, statistics }
    };
    let auto = Handle { major: 0x8001, minor: 0 };
    for step in steps(wanted, &there, fair) {
        match step {
            Step::Plant => there.qdiscs.push(qdisc("htb", handle(0), None, vec![])),
            Step::Set(class) => there.classes.push(Class { burst: class.burst - 1, ..class }),
            Step::Queue(class, Leaf::FqCodel) => there.qdiscs.push(qdisc("fq_codel", auto, Some(class), vec![])),
            Step::Queue(class, Leaf::Octets { octets }) => {
                there.qdiscs.push(qdisc("bfifo", auto, Some(class), octets.to_ne_bytes().to_vec()));
            }
            Step::AddFilter(priority, matching, class) => {
                there.filters.push(Filter { priority, matching: Some(matching), class: Some(class) });
            }
            other => panic!("{other:?} of nothing"),
        }
    }
    there
}

#[test]
fn a_tree_has_the_rates_of_its_uplink_and_classes() {
    let all = Wanted::of(&settings(TEXT));
    let [fibre, lte] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((fibre.interface.as_str(), fibre.rate, fibre.place), ("eth1", 95_000_000, 1));
    let rates = |wanted: &Wanted| {
        let of = |branch: &Branch| (branch.name.clone(), branch.class.rate, branch.class.ceil);
        wanted.branches.iter().map(of).collect::<Vec<_>>()
    };
    let full = 95_000_000 / 8;
    let of = |name: &str, rate| (name.to_owned(), rate, full);
    assert_eq!(
        rates(fibre),
        [
            of("control", full / 20),
            of("voice", full / 5),
            of("video", 3_562_500),
            of("transactional", full / 5),
            of("bulk", full / 10),
            of("gold", full / 20),
        ]
    );
    assert!(lte.branches.iter().all(|branch| branch.queue == LEAST_QUEUE && branch.class.ceil == 125_000));
    let queue = fibre.branches[0].queue;
    assert_eq!(queue, within(Duration::from_millis(50), full), "what leaves in 50 ms");
    assert_eq!((fibre.run(), lte.run()), (23_750, 250));
}

#[test]
fn datagrams_of_classes_without_a_tree_of_their_own_bear_the_mark_of_the_default_one() {
    let settings = settings(TEXT);
    let marking = marking(&settings, &Wanted::of(&settings));
    let base = 0x6f57_0000;
    // voice, video, transactional, backup, gold, bulk: the default one of traffic comes last.
    let marks: Vec<u32> = (0..7).map(|class| marking.class(ClassId(class))).collect();
    let default = base + u32::from(DEFAULT);
    assert_eq!(marks, [base + 0x11, base + 0x12, base + 0x13, default, base + 0x15, default, 0]);
    assert_eq!(marking.control, base + 0x10);
    assert_eq!([0, 1, 2, 3].map(|place| marking.run(UplinkIndex(place))), [usize::MAX, 23_750, 250, usize::MAX]);
    assert_eq!(super::marking(&settings, &[]), Marking::default());
}

#[test]
fn who_says_its_class_by_a_mark_is_believed_before_traffic_classes_are_looked_at() {
    let filters = Wanted::of(&settings(TEXT))[0].filters();
    let marks = filters.iter().take_while(|(_, matching, _)| matches!(matching, Match::Mark { .. })).count();
    assert_eq!(marks, 7, "six classes and a mark of others");
    assert!(filters.iter().skip(marks).all(|(_, matching, _)| matches!(matching, Match::Dscp(_))));
    assert!(filters.contains(&(FILTERS + 6, Match::Mark { value: 1, mask: 0xf }, handle(0x15))));
    let class_of = |dscp: u8| filters.iter().find(|(_, matching, _)| *matching == Match::Dscp(dscp)).map(|one| one.2);
    assert_eq!([48, 46, 34].map(class_of), [0x10, 0x11, 0x12].map(|minor| Some(handle(minor))));
    assert_eq!(class_of(8), None, "it comes to the default class anyway");
}

#[test]
fn where_all_is_as_it_should_be_nothing_is_done() {
    for fair in [true, false] {
        let wanted = &Wanted::of(&settings(TEXT))[0];
        assert_eq!(steps(wanted, &planted(wanted, fair), fair), []);
    }
}

#[test]
fn only_what_differs_is_changed() {
    let before = Wanted::of(&settings(TEXT)).remove(0);
    let there = planted(&before, false);
    let after = TEXT.replace("[qos.class.gold]\nshare = 0.05\nmarks = ['0x1/0xf']", "[qos.class.voice]\nshare = 0.25");
    let after = Wanted::of(&settings(&after)).remove(0);
    let steps = steps(&after, &there, false);
    let [Step::Set(voice), Step::RemoveFilter(own), ..] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!((voice.handle, voice.rate, *own), (handle(0x11), 95_000_000 / 32, FILTERS + 5));
    assert_eq!(steps.iter().filter(|step| matches!(step, Step::RemoveClass(_))).count(), 1);
    let place = |wanted: Step| steps.iter().position(|step| *step == wanted).unwrap();
    let goes = place(Step::RemoveClass(handle(0x15)));
    let filters_go = steps.iter().rposition(|step| matches!(step, Step::RemoveFilter(_))).unwrap();
    let filters_come = steps.iter().position(|step| matches!(step, Step::AddFilter(..))).unwrap();
    assert!(filters_go < goes && goes < filters_come, "a class that a filter leads to cannot go: {steps:?}");
    assert!(!steps.iter().any(|step| matches!(step, Step::Plant | Step::Queue(..))), "{steps:?}");
}

#[test]
fn filters_of_others_in_our_tree_stay_and_other_roots_are_told_apart() {
    let wanted = Wanted::of(&settings(TEXT)).remove(0);
    let mut there = planted(&wanted, true);
    there.filters.push(Filter { priority: 9, matching: None, class: None });
    assert_eq!(steps(&wanted, &there, true), []);
    assert_eq!(there.whose(), Whose::Ours);
    let mut root = there.qdiscs[0].clone();
    for (kind, major, minor_of_root) in [("htb", 1, 0), ("fq_codel", 0x8001, 0), ("bfifo", MAJOR, 0)] {
        (root.kind, root.handle) = (kind.to_owned(), Handle { major, minor: minor_of_root });
        let foreign = There { qdiscs: vec![root.clone()], ..there.clone() };
        assert_eq!(foreign.whose(), Whose::Foreign(&root));
        assert_eq!(steps(&wanted, &foreign, true)[0], Step::Plant);
    }
    root.handle = Handle { major: 0, minor: 0 };
    assert_eq!(There { qdiscs: vec![root], ..there }.whose(), Whose::Kernel);
}
