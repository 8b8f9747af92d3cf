//! `outwork tls`.

use std::io::Write;

use serde_json::Value as Json;

use super::items;
use crate::cli::{Global, TlsCommand};
use crate::client::Client;
use crate::local::print_json;
use crate::table::{Table, cell, printable, span};

/// `outwork tls`.
pub(crate) fn tls(global: &Global, command: &TlsCommand) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    match command {
        TlsCommand::Status => status(global, &client.get("/front/certificates")?),
        TlsCommand::Ca => authority(global, &client.get("/front/certificates/authority")?),
    }
}

fn status(global: &Global, answer: &Json) -> anyhow::Result<()> {
    if global.json {
        return print_json(answer);
    }
    let mut out = anstream::stdout();
    let mut table = Table::new(&["CERTIFICATE", "FOR", "KIND", "ISSUER", "EXPIRES", "LEFT", "NEXT RENEWAL"]);
    for certificate in items(&answer["items"]) {
        let names = ["names", "addresses"].into_iter().flat_map(|key| items(&certificate[key]));
        let left = match certificate["expires_in_seconds"].as_i64() {
            Some(left @ 0..) => span(left.unsigned_abs()),
            Some(_) => "expired".to_owned(),
            None => "-".to_owned(),
        };
        let kind = cell(&certificate["kind"]);
        table.row([
            cell(&certificate["name"]),
            names.map(cell).collect::<Vec<_>>().join(" "),
            if certificate["provisional"] == true { format!("{kind} (self-signed so far)") } else { kind },
            cell(&certificate["issuer"]),
            cell(&certificate["not_after"]),
            left,
            cell(&certificate["next_renewal"]),
        ]);
    }
    table.write(&mut out, "no certificates are in use")?;
    for certificate in items(&answer["items"]) {
        let name = printable(&cell(&certificate["name"]));
        for warning in items(&certificate["warnings"]) {
            writeln!(out, "{name}: {}", printable(&cell(warning)))?;
        }
        if let Some(error) = certificate["last_error"].as_str() {
            let failures = certificate["failures"].as_u64().unwrap_or(1);
            let times = if failures == 1 { "once".to_owned() } else { format!("{failures} times") };
            writeln!(out, "{name}: renewal failed {times}, last: {}", printable(error))?;
        }
    }
    Ok(())
}

/// How to trust the root, by system.
const ADVICE: &str = "\
Whoever trusts this root sees no warning for the names that the local authority certifies. It can certify names that
nobody owns, private addresses, and what it was made for; keep its key to the server all the same.
  Debian, Ubuntu   save it as /usr/local/share/ca-certificates/outwork.crt, then: update-ca-certificates
  Fedora, RHEL     save it as /etc/pki/ca-trust/source/anchors/outwork.pem, then: update-ca-trust
  macOS            security add-trusted-cert -r trustRoot -k ~/Library/Keychains/login.keychain-db FILE
  Windows          certutil -user -addstore Root FILE
  Firefox          Settings, Certificates, Authorities, Import; Chromium on Linux likewise
  curl             curl --cacert FILE https://localhost/";

fn authority(global: &Global, answer: &Json) -> anyhow::Result<()> {
    if global.json {
        return print_json(answer);
    }
    let mut told = anstream::stderr();
    writeln!(told, "{}", printable(&cell(&answer["subject"])))?;
    writeln!(told, "on the server: {}", printable(&cell(&answer["path"])))?;
    writeln!(told, "SHA-256 fingerprint: {}", printable(&cell(&answer["fingerprint"])))?;
    writeln!(told, "expires: {}\n\n{ADVICE}\n", printable(&cell(&answer["not_after"])))?;
    let pem = answer["pem"].as_str().unwrap_or_default();
    pem.lines().try_for_each(|line| writeln!(anstream::stdout(), "{}", printable(line)))?;
    Ok(())
}
