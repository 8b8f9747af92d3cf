//! The dashboard in a real browser, on a lease that a real client made, on requests that curl makes, on a pool whose backends are the server itself, and on
//! paths to a site that does not answer.

use std::path::Path;

use serde_json::Value as Json;

use super::client::{Client, Kind};
use super::site::{LAN, SERVER, Site, binary};

/// What is served beside DHCP: files as they are and cached, rows of a database, one that cannot be reached, a limit, and a pool of which one backend
/// is not there.
const WEB: &str = r#"
[[front.listener]]
address = "127.0.0.1:8080"
[[front.listener]]
address = "127.0.0.1:8443"
tls = { local = ["127.0.0.1"] }
[[front.route]]
path = "/*"
files = { root = "SITE/www" }
[[front.route]]
path = "/cached/*"
files = { root = "SITE/www" }
rewrite = { strip_prefix = "/cached" }
cache = { default_ttl = "1h" }
[[front.route]]
path = "/api/square/{n}"
query = { database = "lab", sql = "SELECT :n * :n AS square", rows = "one", params = { n = { type = "integer" } }, cache = { ttl = "1h" } }
[[front.route]]
path = "/api/gone"
query = { database = "gone", sql = "SELECT 1" }
[[front.route]]
path = "/limited"
respond = { body = "ok" }
rate_limit = [{ limit = 1, window = "1m" }]
[[front.listener]]
address = "127.0.0.1:8081"
[[front.listener]]
address = "127.0.0.1:8082"
[[front.route]]
path = "/pool/*"
rewrite = { strip_prefix = "/pool" }
proxy = { pool = "lab" }
[proxy.pool.lab]
backend = [{ url = "http://127.0.0.1:8081", weight = 3, zone = "here" }, { url = "http://127.0.0.1:8082" }, { url = "http://127.0.0.1:9" }]
health_check = { interval = "1s", fast_interval = "100ms" }
[[proxy.listener]]
name = "echo"
address = ["127.0.0.1:8083"]
pool = "direct"
[proxy.pool.direct]
backend = [{ url = "tcp://127.0.0.1:8081" }]
[web.database.lab]
url = "sqlite:SITE/lab.db"
[web.database.gone]
url = "postgres://nobody@127.0.0.1:9/none"
connect_timeout = "100ms"
"#;

/// Two uplinks, a site that nobody answers for, and a peer that has not come yet; and the controller of a network that no site is in.
const SDWAN: &str = r#"
[controller]
listen = ["127.0.0.1:8068"]
[sdwan]
subnets = ["10.102.0.0/16"]
[sdwan.tunnel]
addresses = ["10.102.0.1/16"]
workers = 1
[[sdwan.uplink]]
name = "fibre"
listen = ["127.0.0.1:51820"]
endpoint = "127.0.0.1:51820"
[[sdwan.uplink]]
name = "lte"
listen = ["127.0.0.1:51821"]
endpoint = "127.0.0.1:51821"
[[sdwan.peer]]
name = "phone"
public_key = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="
allowed_ips = ["10.104.0.2/32"]
[[sdwan.site]]
name = "north"
subnets = ["10.103.0.0/16"]
[[sdwan.site.uplink]]
name = "fibre"
public_key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
endpoint = "127.0.0.1:9"
"#;

#[test]
fn the_dashboard_shows_and_changes_what_the_server_does() {
    let dashboard = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dashboard");
    assert!(dashboard.join("node_modules").exists(), "the browser tests are not installed: run `make dashboard`");
    // A client that takes its time: the lease must be the same from the first test to the last.
    let mut site = Site::new("");
    let web = WEB.replace("SITE", &site.path("").display().to_string());
    site.configure(&[&LAN.replace("4s", "1h"), &web, SDWAN].concat());
    std::fs::create_dir(site.path("www")).unwrap();
    std::fs::write(site.path("www/index.html"), "<p>home</p>").unwrap();
    // Nothing in it, which is a database of SQLite's all the same.
    std::fs::write(site.path("lab.db"), "").unwrap();
    site.start();
    let client = Client::start(&site, Kind::Udhcpc, site.plug("client"));
    let given = client.bound(&site);
    let relay = site.plug("relay");
    relay.ip("addr add 10.1.0.2/24 dev eth0");
    let bench =
        format!("ip netns exec {} {} bench dhcp --target {SERVER}:67 --giaddr 10.1.0.2", relay.name(), binary());
    let output = site
        .server
        .command("npm")
        .args(["run", "--silent", "e2e"])
        .current_dir(dashboard)
        .env("OUTWORK_URL", "http://127.0.0.1:8067")
        .env("OUTWORK_TOKEN", site.token())
        .env("OUTWORK_LAB_ADDRESS", &given.address)
        .env("OUTWORK_LAB_MAC", client.mac())
        .env("OUTWORK_LAB_BENCH", bench)
        .env("OUTWORK_LAB_WEB", "http://127.0.0.1:8080")
        .env("OUTWORK_LAB_LAYER4", "http://127.0.0.1:8083")
        .env("OUTWORK_LAB_WEB_TLS", "https://127.0.0.1:8443")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}\nserver:\n{}", site.log());
    // What was measured on the way.
    for line in said.lines().filter(|line| line.contains("bytes of JS and CSS")) {
        eprintln!("{line}");
    }
}

/// Every text under a key, wherever it stands.
fn texts(value: &Json, key: &str, found: &mut Vec<String>) {
    match value {
        Json::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        Json::Object(fields) => {
            found.extend(fields.get(key).and_then(Json::as_str).map(str::to_owned));
            fields.values().for_each(|field| texts(field, key, found));
        }
        _ => {}
    }
}

#[test]
fn the_board_of_the_sdwan_asks_for_metrics_that_the_server_has() {
    let mut site = Site::new(SDWAN);
    site.start();
    let token = format!("Authorization: Bearer {}", site.token());
    let address = "http://127.0.0.1:8067/api/v1/metrics/now";
    let now = site.server.command("curl").args(["-s", "-H", &token, address]).output().unwrap();
    let declared: Json = serde_json::from_slice(&now.stdout).unwrap();
    let metrics = declared["metrics"].as_array().unwrap();
    let names: Vec<&str> = metrics.iter().filter_map(|one| one["name"].as_str()).collect();
    // Of a histogram, Prometheus has the series of its distribution.
    let plain = |word: &str| word.replace("_distribution_seconds_bucket", "_seconds");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/grafana/outwork-sdwan.json");
    let board: Json = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let (mut expressions, mut sources) = (vec![], vec![]);
    texts(&board, "expr", &mut expressions);
    texts(&board["templating"], "definition", &mut expressions);
    texts(&board["panels"], "uid", &mut sources);
    assert!(expressions.len() > 30, "{} expressions", expressions.len());
    for expression in &expressions {
        let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let asked: Vec<String> = words.filter(|word| word.starts_with("outwork_")).map(plain).collect();
        assert!(!asked.is_empty(), "{expression}: which metric is that of?");
        for name in asked {
            assert!(names.contains(&name.as_str()), "{expression}: there is no metric {name}");
        }
    }
    assert!(sources.iter().all(|source| source == "${datasource}"), "{sources:?}");
}
