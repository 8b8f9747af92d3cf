//! What is made of policies as they are written, and what is said of those that cannot be.

use outwork_config::{Sources, load};

use super::*;

fn read(text: &str) -> Result<(Sdwan, String), String> {
    let uplinks = "[[uplink]]\nname = 'fibre'\n[[uplink]]\nname = 'lte'\nlisten = ['0.0.0.0:51821']\n";
    let sources = Sources { file: Some(("outwork.toml".into(), format!("{text}\n{uplinks}"))), ..Sources::default() };
    let loaded = load::<Sdwan>(sources).map_err(|faults| faults.render(false))?;
    let warnings = loaded.warnings().iter().map(|warning| warning.render(false)).collect();
    Ok((loaded.value, warnings))
}

fn policy_of(keys: &str) -> Result<PolicySettings, String> {
    read(&format!("[[policy]]\nname = 'calls'\n{keys}")).map(|(mut sdwan, _)| sdwan.policy.remove(0))
}

fn class(latency: u64, jitter: u64, loss: f64) -> Class {
    Class { latency: Some(millis(latency)), jitter: Some(millis(jitter)), loss: Some(loss) }
}

#[test]
fn presets_are_there_can_be_changed_and_the_default_class_comes_last() {
    let (plain, _) = read("").unwrap();
    let names = |sdwan: &Sdwan| sdwan.classes().iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&plain), ["voice", "video", "transactional", "bulk"]);
    let (changed, _) =
        read("default_class = 'video'\n[class.voice]\nloss = 0.005\n[class.backup]\njitter = '1s'").unwrap();
    assert_eq!(names(&changed), ["voice", "transactional", "bulk", "backup", "video"]);
    let classes = changed.classes();
    assert_eq!(classes[0].1, class(150, 30, 0.005), "what is not said stays as it is");
    assert_eq!(classes[3].1, Class { latency: None, jitter: Some(secs(1)), loss: None });
    assert_eq!(classes[4].1, Class::VIDEO);
}

#[test]
fn a_policy_is_read_with_ports_protocols_and_traffic_classes_as_people_write_them() {
    let text = "protocols = ['udp', 6]\nports = [5060, '10000-20000']\ndscp = ['EF', 34]\nmark = 'AF41'\nclass = 'voice'\n\
                strategy = 'ordered'\nuplinks = ['lte', 'fibre']\napplications = ['calls']\n[application.calls]\nnames = ['example.com']";
    let policy = policy_of(text).unwrap();
    assert_eq!(policy.protocols, [Protocol(17), Protocol(6)]);
    assert_eq!(policy.ports, [Ports(5060..=5060), Ports(10_000..=20_000)]);
    assert_eq!((policy.dscp, policy.mark), (vec![Dscp(46), Dscp(34)], Some(Dscp(34))));
    assert_eq!((policy.priority, policy.strategy), (100, StrategyKind::Ordered));
    assert_eq!(policy_of("strategy = 'fec'").unwrap().group(), (8, 1));
    assert_eq!(policy_of("strategy = 'fec'\ndata = 4\nparity = 2").unwrap().group(), (4, 2));
}

#[test]
fn what_cannot_be_is_refused_by_its_key_and_with_what_would_be() {
    for (keys, key, said) in [
        ("class = 'gold'", "policy[0].class", "one of voice, video, transactional, bulk"),
        ("applications = ['mail']", "policy[0].applications[0]", "add [sdwan.application.mail]"),
        ("strategy = 'ordered'", "policy[0].uplinks", "the preferred first"),
        ("strategy = 'ordered'\nuplinks = ['dsl']", "policy[0].uplinks[0]", "one of fibre, lte"),
        ("strategy = 'ordered'\nuplinks = ['lte', 'lte']", "policy[0].uplinks[1]", "each uplink once"),
        ("uplinks = ['lte']", "policy[0].uplinks", "strategy = \"ordered\""),
        ("data = 4", "policy[0].data", "strategy = \"fec\""),
        ("strategy = 'fec'\ndata = 2\nparity = 3", "policy[0].parity", "duplicate"),
        ("strategy = 'fec'\ndata = 33", "policy[0].data", "32"),
        ("strategy = 'fec'\ndata = 32\nparity = 9", "policy[0].parity", "8"),
        ("protocols = ['icmp']\nports = [1]", "policy[0].ports", "tcp, udp or sctp"),
        ("ports = ['9-8']", "policy[0].ports[0]", "ends before it begins"),
        ("ports = [0]", "policy[0].ports[0]", "a port or a range"),
        ("dscp = [64]", "policy[0].dscp[0]", "a traffic class"),
        ("mark = 'gold'", "policy[0].mark", "AF11"),
        ("[[policy]]\nname = 'calls'", "policy[1].name", "a name for each"),
        ("[[policy]]\nname = 'two words'", "policy[1].name", "letters, digits"),
        ("[application.mail]", "application.mail", "names of its servers, or ports"),
        ("[application.mail]\nnames = ['*.example.com']", "application.mail.names[0]", "write \"example.com\""),
        ("[application.a]\nnames = ['A.test']\n[application.b]\nnames = ['a.test']", "application.b.names[0]", "\"a\""),
        (
            "[application.a]\nports = ['udp/1-9']\n[application.b]\nports = ['tcp/5', 'udp/9-12']",
            "application.b.ports[1]",
            "udp/1-9",
        ),
        ("[application.a]\nports = ['7']", "application.a.ports[0]", "tcp or udp, a slash"),
        ("[class.voice]\nloss = 1.5", "class.voice.loss", "0.0 to 1.0"),
    ] {
        let told = policy_of(keys).expect_err(keys);
        assert!(told.contains(key) && told.contains(said), "{keys}: {told}");
    }
    let told = read("default_class = 'gold'").unwrap_err();
    assert!(told.contains("default_class") && told.contains("one of voice"), "{told}");
}

#[test]
fn more_classes_or_policies_than_can_be_told_apart_are_refused() {
    let classes: String = (0..13).map(|number| format!("[class.c{number}]\n")).collect();
    assert!(read(&classes).unwrap_err().contains("at most 16"));
    assert!(read(&classes.replace("[class.c12]\n", "")).is_ok());
    let policy = |number: usize| format!("[[policy]]\nname = 'p{number}'\nports = [{}]\n", number + 1);
    let policies: String = (0..257).map(policy).collect();
    assert!(read(&policies).unwrap_err().contains("at most 256"));
}

#[test]
fn of_a_policy_that_no_flow_comes_to_there_is_a_warning() {
    let two = |priority: u32| {
        format!("[[policy]]\nname = 'rest'\n[[policy]]\nname = 'calls'\nports = [5060]\npriority = {priority}")
    };
    let (_, warnings) = read(&two(100)).unwrap();
    assert!(warnings.contains("policy[1]") && warnings.contains("\"rest\""), "{warnings}");
    assert_eq!(read(&two(99)).unwrap().1, "");
}
