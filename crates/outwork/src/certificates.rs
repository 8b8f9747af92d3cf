//! What `outwork check` says of certificates: their files are read and judged as a start would.

use std::io::ErrorKind;
use std::time::SystemTime;

use outwork_config::Fault;
use outwork_front::config::TlsSettings;
use outwork_front::tls::{Certificate, ClientAuth, TlsError, TlsFiles};

use crate::settings::Settings;

/// What is wrong, or should be looked at, by key.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// What keeps the server from starting.
    pub(crate) faults: Vec<(String, Fault)>,
    /// What does not.
    pub(crate) warnings: Vec<(String, Fault)>,
}

/// Judges every certificate that is named.
pub(crate) fn judge(settings: &Settings, now: SystemTime) -> Judgement {
    let mut judgement = Judgement::default();
    if let Some(files) = settings.admin.tls_files() {
        judgement.files("admin.tls", &files, now);
    }
    for (index, listener) in settings.front.listener.iter().enumerate() {
        if let Some(tls) = &listener.tls {
            judgement.listener(&format!("front.listener[{index}].tls"), tls, now);
        }
    }
    judgement
}

impl Judgement {
    fn listener(&mut self, key: &str, tls: &TlsSettings, now: SystemTime) {
        if let (Some(certificate), Some(private)) = (&tls.certificate, &tls.key) {
            let files = TlsFiles { certificate: certificate.clone(), key: private.clone() };
            self.files(key, &files, now);
        }
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
                self.warnings.extend(remarks.iter().map(|remark| (format!("{key}.certificate"), warn(remark))));
            }
            Err(error) => {
                let of_key = matches!(&error, TlsError::NoKey(path) | TlsError::EncryptedKey(path)
                    | TlsError::Read { path, .. } | TlsError::Pem { path, .. } if *path == files.key);
                self.error(format!("{key}.{}", if of_key { "key" } else { "certificate" }), &error);
            }
        }
    }

    /// What cannot be read here may be for the user alone that the server runs as.
    fn error(&mut self, key: String, error: &TlsError) {
        let fault = Fault::new(error.to_string());
        match error {
            TlsError::Read { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                let help = "check as the user that the server runs as, or as root";
                self.warnings.push((key, fault.help(help)));
            }
            TlsError::Read { .. } => self.faults.push((key, fault.expected("a file that can be read"))),
            _ => self.faults.push((key, fault.expected("a PEM chain, leaf first, and the private key of the leaf"))),
        }
    }
}
