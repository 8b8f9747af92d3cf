//! pebble and its DNS, on a loopback address of their own.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use outwork_front::acme::Settings;
use outwork_front::config::AcmeChallenge;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// Where pebble looks for challenges; the site listens there.
pub(crate) const HTTP: u16 = 5002;
pub(crate) const TLS: u16 = 5001;
const ACME: u16 = 14000;
const MANAGEMENT: u16 = 15000;
const DNS: u16 = 8053;
const DNS_MANAGEMENT: u16 = 8055;

#[derive(Default)]
pub(crate) struct Options {
    /// Seconds that certificates are good; 0 for pebble's own.
    pub(crate) validity: u64,
    /// An account elsewhere that accounts have to be bound to.
    pub(crate) external: Option<(&'static str, &'static str)>,
    /// Names that are refused.
    pub(crate) blocked: Vec<&'static str>,
}

pub(crate) struct Pebble {
    pub(crate) address: Ipv4Addr,
    dir: TempDir,
    acme: Option<Child>,
    dns: Child,
}

impl Pebble {
    pub(crate) fn start(options: Options) -> Self {
        static PLACES: AtomicU8 = AtomicU8::new(1);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, high, low, PLACES.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().expect("a directory");
        write_certificates(dir.path(), address);
        let mut settings = serde_json::json!({
            "listenAddress": format!("{address}:{ACME}"),
            "managementListenAddress": format!("{address}:{MANAGEMENT}"),
            "certificate": dir.path().join("server.pem"),
            "privateKey": dir.path().join("server.key"),
            "httpPort": HTTP,
            "tlsPort": TLS,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": options.external.is_some(),
            "domainBlocklist": options.blocked,
            "certificateValidityPeriod": options.validity,
        });
        if let Some((id, key)) = options.external {
            settings["externalAccountMACKeys"] = serde_json::json!({ id: key });
        }
        let settings = serde_json::json!({ "pebble": settings });
        std::fs::write(dir.path().join("pebble.json"), settings.to_string()).expect("a file");
        let dns = Command::new("pebble-challtestsrv")
            .args(["-defaultIPv4", &address.to_string(), "-defaultIPv6", ""])
            .args(["-dns01", &format!("{address}:{DNS}"), "-management", &format!("{address}:{DNS_MANAGEMENT}")])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble-challtestsrv is there: the Debian package pebble");
        let mut pebble = Self { address, dir, acme: None, dns };
        pebble.begin();
        pebble
    }

    fn begin(&mut self) {
        let log = File::create(self.log()).expect("a file");
        let acme = Command::new("pebble")
            .arg("-config")
            .arg(self.dir.path().join("pebble.json"))
            .args(["-dnsserver", &format!("{}:{DNS}", self.address)])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("pebble is there: the Debian package pebble");
        self.acme = Some(acme);
        for port in [ACME, MANAGEMENT, DNS_MANAGEMENT] {
            let began = Instant::now();
            while TcpStream::connect((self.address, port)).is_err() {
                assert!(began.elapsed() < Duration::from_secs(60), "pebble does not listen: {}", self.said());
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// How it is asked.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            directory: format!("https://{}:{ACME}/dir", self.address),
            email: None,
            root: Some(self.dir.path().join("root.pem")),
            challenges: vec![AcmeChallenge::TlsAlpn01, AcmeChallenge::Http01],
            external_account: None,
        }
    }

    /// The authority that it signs with.
    pub(crate) fn roots(&self) -> PathBuf {
        let path = self.dir.path().join("issuer.pem");
        let curl = Command::new("curl")
            .args(["-sS", "--fail", "--noproxy", "*", "--cacert"])
            .arg(self.dir.path().join("root.pem"))
            .arg("-o")
            .arg(&path)
            .arg(format!("https://{}:{MANAGEMENT}/roots/0", self.address))
            .output()
            .expect("curl");
        assert!(curl.status.success(), "{curl:?}");
        path
    }

    /// Accounts that it knows.
    pub(crate) fn accounts(&self) -> usize {
        let said = self.said();
        let count = |line: &str| line.split("There are now ").nth(1)?.split(' ').next()?.parse().ok();
        said.lines().filter(|line| line.contains("accounts in memory")).filter_map(count).next_back().unwrap_or(0)
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Ends it; it keeps nothing.
    pub(crate) fn stop(&mut self) {
        if let Some(mut acme) = self.acme.take() {
            acme.kill().expect("it ends");
            acme.wait().expect("it ends");
        }
    }

    /// Starts it anew, without what it knew.
    pub(crate) fn forget(&mut self) {
        self.stop();
        self.begin();
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in self.acme.iter_mut().chain([&mut self.dns]) {
            // Nothing to do about one that has ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// What pebble shows to its own clients.
fn write_certificates(dir: &Path, address: Ipv4Addr) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "the root of a test");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let root = params.self_signed(&key).expect("a root");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([address.to_string()]).expect("a name");
    let leaf = params.signed_by(&key, &issuer).expect("a certificate");
    for (file, text) in [("root.pem", root.pem()), ("server.pem", leaf.pem()), ("server.key", key.serialize_pem())] {
        std::fs::write(dir.join(file), text).expect("a file");
    }
}
