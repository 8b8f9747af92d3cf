//! What `outwork check` says of certificates: their files are read and judged as a start would.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use outwork_config::Fault;
use outwork_front::config::{Listener, RedirectHttps, TlsSettings};
use outwork_front::tls::{Certificate, ClientAuth, TlsError, TlsFiles};
use outwork_net::privileges;

use crate::routes::FrontSettings;
use crate::settings::Settings;
use crate::starting::AS_WHOM;

/// What is wrong, or should be looked at, by key.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// What keeps the server from starting.
    pub(crate) faults: Vec<(String, Fault)>,
    /// What does not.
    pub(crate) warnings: Vec<(String, Fault)>,
    /// Who reads what is judged, where that is another user than this one.
    reader: Option<(String, u32)>,
    /// Names of the front door's certificates, which may begin with `*.`.
    names: Vec<String>,
    /// Whether there are certificates that could not be read.
    unread: bool,
}

/// Judges every certificate that is named.
pub(crate) fn judge(settings: &Settings, now: SystemTime) -> Judgement {
    let user = settings.process.user.as_ref();
    let reader = user.and_then(|user| Some((user.clone(), privileges::ids(user).ok()?.0)));
    let mut judgement = Judgement { reader, ..Judgement::default() };
    if let Some(files) = settings.admin.tls_files() {
        judgement.files("admin.tls", &files, now);
        judgement.names.clear();
    }
    for (index, listener) in settings.front.listener.iter().enumerate() {
        if let Some(tls) = &listener.tls {
            judgement.listener(&format!("front.listener[{index}].tls"), tls, now);
        }
    }
    judgement.hosts_are_covered(&settings.front);
    judgement
}

/// What a start or a reload says of it. Files are read by the user that the server has become by then.
pub(crate) fn told(error: &TlsError, settings: &Settings) -> String {
    match (error, &settings.process.user) {
        (TlsError::Read { path, source }, Some(user)) if source.kind() == ErrorKind::PermissionDenied => format!(
            "{error}\n  = help: the server reads it as {user} (process.user): let {user} enter its folders and read it, as with \
             `setfacl -m u:{user}:r {}`, or have what renews it leave a copy for {user}",
            path.display()
        ),
        _ => error.to_string(),
    }
}

/// Whether a file, or a folder on the way to it, is for its owner alone, who is somebody else. Of groups and lists of users (which show as
/// bits of the group) nothing is said.
fn is_closed_to(user: u32, path: &Path) -> bool {
    let bars = |path: &Path, needed: u32| {
        path.metadata().is_ok_and(|about| user != 0 && about.uid() != user && about.mode() & needed == 0)
    };
    let resolved = path.canonicalize();
    let ways = [Some(path), resolved.as_deref().ok()];
    ways.into_iter().flatten().any(|way| bars(way, 0o044) || way.ancestors().skip(1).any(|folder| bars(folder, 0o011)))
}

impl Judgement {
    fn listener(&mut self, key: &str, tls: &TlsSettings, now: SystemTime) {
        if let (Some(certificate), Some(private)) = (&tls.certificate, &tls.key) {
            let files = TlsFiles { certificate: certificate.clone(), key: private.clone() };
            self.files(key, &files, now);
        }
        self.names.extend(tls.acme.iter().map(ToString::to_string));
        self.names.extend(tls.local.iter().map(ToString::to_string));
        for (index, files) in tls.certificates.iter().enumerate() {
            let files = TlsFiles { certificate: files.certificate.clone(), key: files.key.clone() };
            self.files(&format!("{key}.certificates[{index}]"), &files, now);
        }
        if let Some(auth) = &tls.client_auth {
            let auth = ClientAuth { ca: auth.ca.clone(), mode: auth.mode };
            if let Err(error) = auth.check() {
                self.error(format!("{key}.client_auth.ca"), &error);
            }
        }
    }

    fn files(&mut self, key: &str, files: &TlsFiles, now: SystemTime) {
        match Certificate::load(files) {
            Ok(certificate) => {
                let name = files.certificate.display();
                let warn = |remark: &dyn std::fmt::Display| Fault::new(format!("{name}: {remark}"));
                let remarks = certificate.remarks(now);
                self.names.extend(certificate.facts.names.iter().cloned());
                self.warnings.extend(remarks.iter().map(|remark| (format!("{key}.certificate"), warn(remark))));
                self.readable(&format!("{key}.certificate"), &files.certificate);
                self.readable(&format!("{key}.key"), &files.key);
            }
            Err(error) => {
                let of_key = matches!(&error, TlsError::NoKey(path) | TlsError::EncryptedKey(path)
                    | TlsError::Read { path, .. } | TlsError::Pem { path, .. } if *path == files.key);
                self.error(format!("{key}.{}", if of_key { "key" } else { "certificate" }), &error);
            }
        }
    }

    /// Remarks on what this user may read, and the one that the server runs as may not.
    fn readable(&mut self, key: &str, path: &Path) {
        let Some((user, id)) = &self.reader else { return };
        if is_closed_to(*id, path) {
            let shown = path.display();
            let fault = Fault::new(format!("{shown} is closed to {user} (process.user), as whom the server reads it"));
            let help = format!("let {user} enter its folders and read it, as with `setfacl -m u:{user}:r {shown}`");
            self.warnings.push((key.to_owned(), fault.help(help)));
        }
    }

    /// Remarks on hosts that no certificate is for, where clients are served by TLS alone.
    fn hosts_are_covered(&mut self, front: &FrontSettings) {
        let is_clear = |one: &Listener| one.tls.is_none() && one.redirect_https == RedirectHttps::Off;
        if self.unread || self.names.is_empty() || front.listener.iter().any(is_clear) {
            return;
        }
        for (index, route) in front.route.iter().enumerate() {
            for (place, host) in route.host.iter().enumerate() {
                let text = host.to_string();
                let is_address = text.starts_with('[') || text.parse::<IpAddr>().is_ok();
                if !is_address && !self.names.iter().any(|name| host.is_covered_by(name)) {
                    let fault = Fault::new(format!("no certificate of a listener is for {text}"));
                    let help = "have a listener get one (tls.acme, tls.certificates), or correct the name";
                    let fault = fault.expected(format!("one of {}", self.names.join(", "))).help(help);
                    self.warnings.push((format!("front.route[{index}].host[{place}]"), fault));
                }
            }
        }
    }

    /// What cannot be read here may be for the user alone that the server runs as.
    fn error(&mut self, key: String, error: &TlsError) {
        self.unread = true;
        let fault = Fault::new(error.to_string());
        match error {
            TlsError::Read { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                self.warnings.push((key, fault.help(AS_WHOM)));
            }
            TlsError::Read { .. } => self.faults.push((key, fault.expected("a file that can be read"))),
            _ => self.faults.push((key, fault.expected("a PEM chain, leaf first, and the private key of the leaf"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    #[test]
    fn a_key_that_the_user_of_the_server_may_not_read_is_told_of_with_that_user() {
        let of = |set: &[&str]| {
            let set = set.iter().map(|one| (*one).to_owned()).collect();
            let settings = load::<Settings>(Sources { set, ..Sources::default() }).unwrap().value;
            let source = std::io::Error::from(ErrorKind::PermissionDenied);
            told(&TlsError::Read { path: "/etc/ssl/a.key".into(), source }, &settings)
        };
        assert_eq!(of(&[]), "/etc/ssl/a.key: cannot be read: permission denied");
        let said = of(&["process.user=www"]);
        assert!(said.contains("the server reads it as www (process.user)"), "{said}");
        assert!(said.contains("\n  = help: ") && said.contains("`setfacl -m u:www:r /etc/ssl/a.key`"), "{said}");
    }
}
