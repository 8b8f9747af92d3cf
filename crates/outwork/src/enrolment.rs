//! `outwork sdwan enrol`: a site shows its token to its controller.

use std::io::{self, Read, Write};

use anyhow::{Context, ensure};
use outwork_config::HostPort;
use outwork_sdwan::channel::token::Token;
use outwork_sdwan::follower::enrol::{enrol as show, uplinks};
use outwork_sdwan::follower::keep::Keep;
use outwork_sdwan::keys::published;
use serde_json::json;

use crate::cli::Global;
use crate::compose::prepare_data_dir;
use crate::compose::sdwan::{keys, said};
use crate::local::print_json;
use crate::settings;
use crate::table::printable;

/// Octets of a token at most.
const MOST: u64 = 4096;

/// `outwork sdwan enrol`.
pub(crate) fn enrol(global: &Global, shown: &str, addresses: &[HostPort]) -> anyhow::Result<()> {
    let mut read = String::new();
    let shown = match shown {
        "-" => {
            io::stdin().lock().take(MOST).read_to_string(&mut read).context("cannot read the token")?;
            read.as_str()
        }
        shown => shown,
    };
    let token: Token = shown.parse()?;
    let settings = settings::load(global)?.value;
    ensure!(
        settings.sdwan.is_on(),
        "this site has no uplink\n  = help: add a [[sdwan.uplink]]: the controller tells the other sites of it"
    );
    let follow = settings.sdwan.controller.as_ref();
    let addresses = match (addresses, follow) {
        ([], Some(follow)) => follow.address.clone(),
        ([], None) => anyhow::bail!(
            "nothing says where the controller is\n  = help: add [sdwan.controller] with address = [\"192.0.2.9:8068\"], so that the server follows it, too"
        ),
        (given, _) => given.to_vec(),
    };
    prepare_data_dir(&settings)?;
    let data_dir = &settings.store.data_dir;
    let own = uplinks(&settings.sdwan, &published(&settings.sdwan, &keys(data_dir))?);
    let keep = Keep::new(&said(data_dir));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    let identity = runtime.block_on(show(&addresses, &token, &settings.sdwan, own, &keep))?;
    if global.json {
        return print_json(&json!({ "site": identity.site, "network": identity.network }));
    }
    let mut out = anstream::stdout();
    writeln!(out, "this site is {} of the network {}", printable(&identity.site), printable(&identity.network))?;
    match follow {
        Some(_) => writeln!(anstream::stderr(), "a running server takes that up by itself")?,
        None => {
            writeln!(anstream::stderr(), "add [sdwan.controller] to the configuration: the server follows nobody yet")?
        }
    }
    Ok(())
}
