//! The DHCP clients of Debian. Each tells a script of ours what it was given, and the script writes it down.

use std::fs::{read_to_string, write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use outwork_net::testing::Namespace;

use super::site::{Site, send};
use super::wait_for;

/// Which client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dhclient,
    Dhcpcd,
    /// dhcpcd as it comes: before it takes an address it asks by ARP whether another host has it (RFC 5227).
    DhcpcdWithArp,
    Udhcpc,
}

/// What a client was given, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) event: String,
    pub(crate) address: String,
    pub(crate) router: String,
    pub(crate) name_server: String,
    pub(crate) lease_time: String,
    pub(crate) server: String,
}

/// A client at work on `eth0` of its namespace.
pub(crate) struct Client {
    kind: Kind,
    pub(crate) namespace: Namespace,
    dir: PathBuf,
    process: Child,
}

/// Configures `eth0` as told (dhcpcd does that itself), and writes down every event. All three clients speak through the environment.
const SCRIPT: &str = r#"#!/bin/sh
event=${1:-$reason}
address=${new_ip_address:-$ip}
mask=${new_subnet_mask:-$subnet}
routers=${new_routers:-$router}
servers=${new_domain_name_servers:-$dns}
time=${new_dhcp_lease_time:-$lease}
server=${new_dhcp_server_identifier:-$serverid}
case KIND-$event in
  Dhcpcd*) ;;
  *-BOUND | *-RENEW | *-REBIND | *-REBOOT | *-bound | *-renew)
    ip -4 address replace "$address/$mask" dev eth0
    [ -z "$routers" ] || ip route replace default via "$routers" dev eth0 ;;
  *-EXPIRE | *-FAIL | *-RELEASE | *-STOP | *-deconfig) ip -4 address flush dev eth0 ;;
esac
echo "$event|$address|$routers|$servers|$time|$server" >>DIR/events
"#;

/// Events that come with a lease, in the words of all three.
const LEASE_EVENTS: [&str; 6] = ["BOUND", "RENEW", "REBIND", "REBOOT", "bound", "renew"];

impl Client {
    /// Starts a client on `eth0` of a namespace.
    pub(crate) fn start(site: &Site, kind: Kind, namespace: Namespace) -> Client {
        let dir = site.path(namespace.name());
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
        let script = SCRIPT.replace("KIND", &format!("{kind:?}")).replace("DIR", dir.to_str().unwrap());
        write(dir.join("script"), script).unwrap();
        std::fs::set_permissions(dir.join("script"), PermissionsExt::from_mode(0o755)).unwrap();
        write(dir.join("events"), "").unwrap();
        write(dir.join("conf"), kind.configuration()).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let mut command = kind.command(&namespace, &dir, "exec");
        let process = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Client { kind, namespace, dir, process }
    }

    /// Everything it was given so far, oldest first.
    pub(crate) fn given(&self) -> Vec<Given> {
        let text = read_to_string(self.dir.join("events")).unwrap();
        let events = text.lines().filter_map(|line| {
            let [event, address, router, name_server, lease_time, server] = line.split('|').collect::<Vec<_>>()[..]
            else {
                panic!("{line} has six fields");
            };
            LEASE_EVENTS.contains(&event).then(|| Given {
                event: event.to_owned(),
                address: address.to_owned(),
                router: router.to_owned(),
                name_server: name_server.to_owned(),
                lease_time: lease_time.to_owned(),
                server: server.to_owned(),
            })
        });
        events.collect()
    }

    /// Waits for its first lease.
    pub(crate) fn bound(&self, site: &Site) -> Given {
        self.lease_after(site, 0)
    }

    /// Has it renew, and waits for what it is given then.
    pub(crate) fn renewed(&self, site: &Site) -> Given {
        let before = self.given().len();
        // The others renew by themselves every two seconds, half of their lease; udhcpc keeps every lease for longer.
        if self.kind == Kind::Udhcpc {
            send(10, self.process.id());
        }
        self.lease_after(site, before)
    }

    fn lease_after(&self, site: &Site, before: usize) -> Given {
        let said = || {
            let own = read_to_string(self.dir.join("log")).unwrap_or_default();
            format!("events: {:?}\n{:?}:\n{own}\nserver:\n{}", self.given(), self.kind, site.log())
        };
        wait_for("a lease", said, || self.given().into_iter().nth(before))
    }

    /// Has it give its address back.
    pub(crate) fn release(&self) {
        match self.kind {
            Kind::Udhcpc => send(12, self.process.id()),
            Kind::Dhcpcd | Kind::DhcpcdWithArp => send(14, self.process.id()),
            Kind::Dhclient => {
                let output = self.kind.command(&self.namespace, &self.dir, "release").output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }

    /// The IPv4 addresses of its interface, as the kernel has them.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let output =
            self.namespace.command("ip").args(["-4", "-o", "address", "show", "dev", "eth0"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let words = text.lines().filter_map(|line| line.split_whitespace().skip_while(|word| *word != "inet").nth(1));
        words.map(str::to_owned).collect()
    }

    /// The hardware address of its interface.
    pub(crate) fn mac(&self) -> String {
        let output = self.namespace.command("cat").arg("/sys/class/net/eth0/address").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Kind {
    fn configuration(self) -> &'static str {
        match self {
            Kind::Dhclient => "retry 1;\ninitial-interval 1;\nrequest subnet-mask, routers, domain-name-servers;\n",
            Kind::Dhcpcd => {
                "ipv4only\nnoipv4ll\nnoarp\noption subnet_mask, routers, domain_name_servers\nvendorclassid lab\n"
            }
            Kind::DhcpcdWithArp => {
                "ipv4only\nnoipv4ll\noption subnet_mask, routers, domain_name_servers\nvendorclassid lab\n"
            }
            Kind::Udhcpc => "",
        }
    }

    /// The command that runs a client in the foreground, or has dhclient release.
    fn command(self, namespace: &Namespace, dir: &std::path::Path, task: &str) -> Command {
        let line = match (self, task) {
            // A copy: distributions confine dhclient, by its path, to its own script.
            (Kind::Dhclient, "release") => {
                "exec ./dhclient -r -v -cf conf -lf $PWD/leases -pf $PWD/pid -sf $PWD/script eth0"
            }
            (Kind::Dhclient, _) => {
                "cp $(command -v dhclient) . && touch leases && \
                 exec ./dhclient -d -v -4 -cf conf -lf $PWD/leases -pf $PWD/pid -sf $PWD/script eth0"
            }
            // Its directories are fixed, and this mount namespace is its own.
            (Kind::Dhcpcd | Kind::DhcpcdWithArp, _) => {
                "mkdir -p /run/dhcpcd /var/lib/dhcpcd state && mount -t tmpfs run /run/dhcpcd && mount --bind state /var/lib/dhcpcd \
                 && exec dhcpcd -B -d -f $PWD/conf -c $PWD/script eth0"
            }
            (Kind::Udhcpc, _) => "exec udhcpc -f -i eth0 -t 30 -T 1 -A 1 -s $PWD/script",
        };
        let mut command = namespace.command("sh");
        command.args(["-c", line]).current_dir(dir);
        command
    }
}
