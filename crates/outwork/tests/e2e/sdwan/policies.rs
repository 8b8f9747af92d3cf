//! Policies of two sites over two uplinks each.

use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::process::Stdio;

use outwork_net::testing::Namespace;
use serde_json::Value as Json;

use super::super::{PATIENCE, wait_for};
use super::sites::{Sites, inner};

const POLICIES: &str = "
[sdwan.application.shop]
names = ['shop.test']
[[sdwan.policy]]
name = 'calls'
protocols = ['udp']
ports = [5060]
class = 'voice'
strategy = 'ordered'
uplinks = ['two']
mark = 'EF'
[[sdwan.policy]]
name = 'shop'
applications = ['shop']
strategy = 'ordered'
uplinks = ['two']
mark = 'AF21'
[[sdwan.policy]]
name = 'rest'
priority = 200
strategy = 'ordered'
uplinks = ['one']
";

/// AF41, and ECT(0).
const AF41_CAPABLE: u8 = 34 << 2 | 2;
/// Counters of datagrams that leave by each cable with a traffic class.
const LEAVING: &str = "table inet watch { \
    counter ef_one { packets 0 bytes 0; }; counter ef_two { packets 0 bytes 0; }; \
    counter af21_one { packets 0 bytes 0; }; counter af21_two { packets 0 bytes 0; }; \
    counter af41_one { packets 0 bytes 0; }; \
    chain out { type filter hook output priority 0; \
    oifname \"one\" ip dscp ef counter name ef_one; oifname \"two\" ip dscp ef counter name ef_two; \
    oifname \"one\" ip dscp af21 counter name af21_one; oifname \"two\" ip dscp af21 counter name af21_two; \
    oifname \"one\" ip dscp af41 ip ecn not-ect counter name af41_one; }; }";

/// A counter of packets that come out of the tunnel with a traffic class.
const COMING: &str = "table inet watch { counter calls { packets 0 bytes 0; }; \
    chain in { type filter hook input priority 0; iifname \"outwork0\" udp dport 5060 ip dscp ef counter name calls; }; }";

fn watch(room: &Namespace, rules: &str) {
    assert!(room.command("nft").arg(rules).status().unwrap().success());
}

fn count(room: &Namespace, name: &str) -> u64 {
    let output = room.command("nft").args(["list", "counter", "inet", "watch", name]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split("packets ").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// What becomes of a flow from the first site to the second, once it takes the cable.
fn taken(sites: &Sites, flow: &[&str], cable: &str) -> Json {
    let (from, to) = (inner(0), inner(1));
    let words = [&["paths", "explain", from.as_str(), to.as_str()][..], flow].concat();
    wait_for(
        "a flow to take its path",
        || format!("{:#}\n{}", sites.sites[0].json(&words), sites.told()),
        || {
            let told = sites.sites[0].json(&words);
            let path = told["paths"].as_array().unwrap().iter().find(|path| path["taken"] == "first")?.clone();
            path["path"].as_str().unwrap().starts_with(&format!("far {cable}-")).then_some(told)
        },
    )
}

#[test]
fn flows_take_the_path_and_the_traffic_class_that_their_policy_says_and_it_is_told_why() {
    let sites = Sites::with("cooldown = '10ms'", POLICIES);
    let [here, there] = [&sites.sites[0].server, &sites.sites[1].server];
    watch(here, LEAVING);
    watch(there, COMING);

    let calls = taken(&sites, &["--protocol", "udp", "--port", "5060"], "two");
    let said = |told: &Json| ["policy", "class", "strategy", "mark"].map(|name| told[name].as_str().map(str::to_owned));
    let expected = |words: [&str; 4]| words.map(|word| Some(word.to_owned()).filter(|word| !word.is_empty()));
    assert_eq!(said(&calls), expected(["calls", "voice", "ordered: two", "EF"]), "{calls:#}");
    let shop = taken(&sites, &["--port", "8443", "--name", "www.shop.test"], "two");
    assert_eq!(said(&shop), expected(["shop", "bulk", "ordered: two", "AF21"]), "{shop:#}");
    assert!(shop["why"].to_string().contains("by the name that it asks for"), "{shop:#}");
    let rest = taken(&sites, &["--port", "8443", "--name", "other.test"], "one");
    assert_eq!(said(&rest), expected(["rest", "bulk", "ordered: one", ""]), "{rest:#}");

    let socket = here.run(|| UdpSocket::bind((inner(0), 0))).unwrap();
    wait_for(
        "a call to come with its traffic class",
        || sites.told(),
        || {
            socket.send_to(b"hello?", (inner(1), 5060)).unwrap();
            (count(there, "calls") > 0).then_some(())
        },
    );
    assert!(count(here, "ef_two") > 0 && count(here, "ef_one") == 0);

    // The policy of the rest marks nothing: what programs say goes on outside, but for congestion.
    rustix::net::sockopt::set_ip_tos(&socket, AF41_CAPABLE).unwrap();
    wait_for(
        "a datagram to leave with the traffic class that its program gave it",
        || sites.told(),
        || {
            socket.send_to(b"a film", (inner(1), 5070)).unwrap();
            (count(here, "af41_one") > 0).then_some(())
        },
    );

    let listener = there.run(|| TcpListener::bind((inner(1), 8443))).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut first = [0; 5];
            stream.read_exact(&mut first).unwrap();
            assert_eq!(first[0], 22, "a handshake of TLS");
        });
        let at = format!("{}:8443", inner(1));
        let mut client = here.command("openssl");
        client.args(["s_client", "-connect", &at, "-servername", "www.shop.test"]);
        // Nobody answers it: it ends with an error.
        client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    });
    assert!(count(here, "af21_two") > 0 && count(here, "af21_one") == 0, "{}", sites.told());
}
