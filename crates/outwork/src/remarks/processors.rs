//! Processors that threads are to stay on, and this process may not use.

use outwork_config::{Affinity, At, Fault};
use outwork_net::thread;

use crate::settings::Settings;

/// Refuses processors that are not there, or are other processes': a thread that ran elsewhere would take the time of what was meant to be alone there.
pub(crate) fn may_be_used(settings: &Settings, at: &mut At<'_>) {
    let kept = [
        ("admin.affinity", &settings.admin.affinity),
        ("dhcp.affinity", &settings.dhcp.affinity),
        ("front.affinity", &settings.front.affinity),
        ("proxy.affinity", &settings.proxy.affinity),
        ("sdwan.tunnel.affinity", &settings.sdwan.tunnel.affinity),
        ("proxy.acceleration.af_xdp.affinity", &settings.proxy.acceleration.af_xdp.affinity),
    ];
    // Where that cannot be asked, the start finds out.
    let Ok(usable) = thread::all_processors() else { return };
    for (key, affinity) in kept {
        if let Some(fault) = out_of_reach(affinity, &usable) {
            at.fault(key, fault);
        }
    }
}

fn out_of_reach(affinity: &Affinity, usable: &[usize]) -> Option<Fault> {
    let named = affinity.named()?;
    let absent = named.numbers().iter().find(|processor| !usable.contains(processor))?;
    let expected = format!("some of {}", usable.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let help = "name others, or let the process have it: CPUAffinity= and AllowedCPUs= of its unit, the cpuset of its container, `taskset` in a shell";
    Some(Fault::new(format!("this process may not use processor {absent}")).expected(expected).help(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_the_process_may_not_use_is_named_with_those_that_it_may() {
        let on = |text: &str| Affinity::On(text.parse().expect("processors"));
        let fault = out_of_reach(&on("2-4"), &[0, 2, 3]).expect("a fault");
        assert_eq!(fault.found(), "this process may not use processor 4");
        assert!(fault.render(false).contains("some of 0, 2, 3"), "{}", fault.render(false));
        for affinity in [on("3,2"), Affinity::Each, Affinity::Anywhere] {
            assert!(out_of_reach(&affinity, &[0, 2, 3]).is_none(), "{affinity:?}");
        }
    }
}
