//! `outwork listeners`.

use serde_json::Value as Json;

use super::rows;
use crate::cli::Global;
use crate::client::Client;
use crate::local::print_json;
use crate::table::{bytes, cell};

/// `outwork listeners`.
pub(crate) fn listeners(global: &Global) -> anyhow::Result<()> {
    let answer = Client::new(global)?.get("/proxy/listeners")?;
    if global.json {
        return print_json(&answer);
    }
    let columns = [
        "LISTENER",
        "ADDRESS",
        "PROTOCOL",
        "POOL",
        ">OPEN",
        ">TOTAL",
        ">REFUSED",
        ">RECEIVED",
        ">SENT",
        "BY",
        "PASSED ON BY A TIER",
    ];
    rows(&mut anstream::stdout(), &columns, &answer, "no listeners of layer 4", |listener| {
        let own = |name: &str| cell(&listener[name]);
        let amount = |name: &str| bytes(listener[name].as_f64().unwrap_or_default());
        let named = listener["sni"].as_array().into_iter().flatten().map(|route| cell(&route["pool"]));
        let mut pools: Vec<String> = listener["pool"].as_str().map(str::to_owned).into_iter().chain(named).collect();
        pools.dedup();
        let protocol = if listener["tls"] == true { "tls".to_owned() } else { own("protocol") };
        vec![
            own("name"),
            own("address"),
            protocol,
            pools.join(", "),
            own("active"),
            own("total"),
            own("refused"),
            amount("received"),
            amount("sent"),
            own("forwarding"),
            passed(&listener["passed"]),
        ]
    })?;
    Ok(())
}

/// What a tier has passed on, of which sockets know nothing.
pub(super) fn passed(passed: &Json) -> String {
    let amount = |name: &str| passed[name].as_f64().unwrap_or_default();
    match passed.is_object() {
        true => format!("{} flows, {} packets, {}", amount("flows"), amount("packets"), bytes(amount("bytes"))),
        false => "-".to_owned(),
    }
}
