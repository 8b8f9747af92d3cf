//! A door with certificates by ACME, where pebble looks for it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use http::{HeaderMap, StatusCode};
use outwork_front::acme::{self, Settings};
use outwork_front::answer::Respond;
use outwork_front::door::{Bound, Buffers, Door, DoorMetrics, Farewell, Options, Place, Serving, Threads};
use outwork_front::filter::Networks;
use outwork_front::https::{Https, Rule};
use outwork_front::tls::{Certificates, Entry, Offer, Profile, Source};
use tokio::runtime::Runtime;

use crate::pebble::{HTTP, Pebble, TLS};

pub(crate) struct Site {
    address: Ipv4Addr,
    door: Option<Door>,
    certificates: Arc<Certificates>,
    runtime: Runtime,
}

impl Site {
    /// One that listens in clear text and encrypted, and has not ordered anything yet.
    pub(crate) fn open(pebble: &Pebble, dir: &Path, names: &[&str], settings: Settings) -> Self {
        Self::new(pebble, dir, names, settings, true)
    }

    /// One that listens encrypted alone.
    pub(crate) fn encrypted(pebble: &Pebble, dir: &Path, names: &[&str], settings: Settings) -> Self {
        Self::new(pebble, dir, names, settings, false)
    }

    fn new(pebble: &Pebble, dir: &Path, names: &[&str], settings: Settings, clear: bool) -> Self {
        let address = pebble.address;
        let certificates = Certificates::new(&dir.join("tls"), Some(settings));
        let sources = names.iter().map(|name| Source::Acme((*name).to_owned())).collect();
        let offer = Offer { profile: Profile::default(), sources };
        let tls = certificates.open(&[offer]).expect("an offer").pop();
        let mut places = vec![Place {
            address: (address, TLS).into(),
            tls,
            http3: false,
            backlog: 16,
            buffers: Buffers::default(),
            proxies: Networks::of(&[]),
        }];
        if clear {
            places.push(Place {
                address: (address, HTTP).into(),
                tls: None,
                http3: false,
                backlog: 16,
                buffers: Buffers::default(),
                proxies: Networks::of(&[]),
            });
        }
        let routes = Box::new(Respond::new(StatusCode::OK, HeaderMap::new(), "routed"));
        let rules = vec![((IpAddr::from(address), HTTP).into(), Rule { redirect: Some(443), hsts: None })];
        let handler = Box::new(Https::new(rules, certificates.challenges(), routes));
        let bound = Bound::bind(&places, Threads::of(1), Vec::new()).expect("the addresses are free");
        let metrics = Arc::new(DoorMetrics::default());
        let door = bound
            .serve(Serving { options: Options::default(), handler, entry: Default::default() }, &metrics)
            .expect("a door");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { address, door: Some(door), certificates, runtime: runtime.expect("a runtime") }
    }

    /// Begins to look after the certificates.
    pub(crate) fn order(&self) {
        self.runtime.spawn(acme::run(Arc::clone(&self.certificates)));
    }

    pub(crate) fn entry(&self, name: &str) -> Arc<Entry> {
        let named = |entry: &Arc<Entry>| matches!(&entry.source, Source::Acme(known) if known == name);
        self.certificates.entries().into_iter().find(named).expect("an entry")
    }

    /// Waits until something is so.
    pub(crate) fn until(&self, mut so: impl FnMut(&Self) -> bool) {
        self.until_some(|site| so(site).then_some(()));
    }

    /// Waits until there is something.
    pub(crate) fn until_some<T>(&self, mut some: impl FnMut(&Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = some(self) {
                return found;
            }
            let renewals: Vec<_> = self.certificates.entries().iter().map(|entry| entry.renewal()).collect();
            assert!(began.elapsed() < Duration::from_secs(120), "it does not come: {renewals:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What is answered over TLS; without authorities, whoever answers.
    pub(crate) fn get(&self, name: &str, roots: Option<&PathBuf>) -> String {
        let mut curl = self.curl(&format!("{name}:{TLS}"));
        match roots {
            Some(roots) => curl.arg("--cacert").arg(roots),
            None => curl.arg("--insecure"),
        };
        let answered = curl.arg("--fail").arg(format!("https://{name}:{TLS}/")).output().expect("curl");
        assert!(answered.status.success(), "{answered:?}");
        String::from_utf8_lossy(&answered.stdout).into_owned()
    }

    /// The status and the redirection in clear text.
    pub(crate) fn clear(&self, name: &str) -> String {
        let url = format!("http://{name}:{HTTP}/");
        let form = "%{http_code} %{redirect_url}";
        let answered =
            self.curl(&format!("{name}:{HTTP}")).args(["-o", "/dev/null", "-w", form, &url]).output().expect("curl");
        String::from_utf8_lossy(&answered.stdout).into_owned()
    }

    fn curl(&self, site: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "*", "--resolve", &format!("{site}:{}", self.address)]);
        curl
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(door) = self.door.take() {
            door.stop(Farewell::Brief, Duration::from_secs(5));
        }
    }
}

/// Every file below a directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

pub(crate) fn decoded(key: &str) -> Vec<u8> {
    base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(key).expect("base64url")
}
