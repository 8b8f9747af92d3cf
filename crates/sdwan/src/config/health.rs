//! How paths to other sites are watched, and when traffic changes its path: what the engine is told.

use std::time::Duration;

use outwork_config::{At, Fault, duration_text, hours, millis, mins, secs, section};

use crate::controller::config::Size;
use crate::engine::Settings;
use crate::engine::class::VerdictSettings;
use crate::engine::damp::DampSettings;
use crate::engine::liveness::LivenessSettings;
use crate::engine::mtu::MtuSettings;

section! {
    /// How paths to other sites are watched, and when traffic leaves one.
    pub struct HealthSettings {
        /// Between hellos on paths that carry traffic, and on one beside them to go to.
        pub fast: Duration [range millis(5)..=secs(10)] = LivenessSettings::default().fast,
        /// So many of them missed, and a path is down; one makes it suspect. It is asked four times as often from then on, so that the others are missed within
        /// two thirds of their time; where no other path shows that the other site is at work at all, it has as much time again as all of them take.
        pub misses: u32 [range 2..=20] = LivenessSettings::default().misses,
        /// By how many times the jitter that is measured silence may be longer than was promised.
        pub jitter_factor: u32 [range 0..=32] = LivenessSettings::default().jitter_factor,
        /// Between looks at paths that carry nothing; unset, 10 s, and 15 s where there are more than 500 other sites.
        pub interval: Option<Duration> [range millis(100)..=secs(60)],
        /// Hellos of such a look; unset, 5, and 3 where there are more than 500 other sites.
        pub probes: Option<u8> [range 1..=20],
        /// How long the answer to the first of them may take: then the path is suspect, and an answer that comes later counts as lost.
        pub timeout: Duration [range millis(10)..=secs(60)] = LivenessSettings::default().timeout,
        /// How long a path that has come back is watched before traffic is trusted to it.
        pub trial: Duration [range millis(0)..=hours(1)] = LivenessSettings::default().trial,
        /// How long traffic stays where it went last before it goes where it would be but better.
        pub cooldown: Duration [range millis(0)..=hours(1)] = DampSettings::default().cooldown,
        /// By how much another path has to be better for that: latency, twice the jitter, the costs of its uplinks, and 20 ms for each percent that is lost, taken together.
        pub gain: Duration [range millis(0)..=secs(10)] = millis(10),
        /// And by which part of what the path costs that traffic goes by.
        pub gain_part: f64 [range 0.0..=1.0] = 0.2,
        /// How long a path has to break the limits of a class before flows of that class leave it.
        pub bad_after: Duration [range millis(0)..=mins(10)] = VerdictSettings::default().bad_after,
        /// The same, where so much is lost just now that it is no chance.
        pub proven_after: Duration [range millis(0)..=mins(10)] = VerdictSettings::default().proven_after,
        /// How long it has to keep them again before it is taken for one that does.
        pub good_after: Duration [range millis(0)..=hours(1)] = VerdictSettings::default().good_after,
        /// Which part of each limit it has to keep for that: with 0.9, a path is not good again for being just below.
        pub margin: f64 [range 0.1..=1.0] = VerdictSettings::default().margin,
        /// Between looks for better paths to a site that has traffic.
        pub look: Duration [range millis(100)..=mins(10)] = Settings::default().look,
        /// After so long without traffic a site's paths are looked after as those that carry nothing.
        pub quiet: Duration [range secs(1)..=hours(1)] = Settings::default().quiet,
        /// A path that goes up and down is taken after all others. Each failure counts as one, and half of them are forgotten after this time.
        pub flap_half_life: Duration [range secs(1)..=hours(24)] = DampSettings::default().half_life,
        /// Failures that make a path one that goes up and down.
        pub flap_suppress: f64 [range 1.0..=100.0] = 2.5,
        /// Below how many it is none any more.
        pub flap_reuse: f64 [range 0.01..=100.0] = 1.0,
        /// How long packets may be that go by a path is found out (RFC 8899). So many octets each path is trusted with until it shows otherwise.
        pub mtu_base: u16 [range 576..=9000] = MtuSettings::default().base,
        /// Between looks whether the longest packets still get through, on paths that carry traffic.
        pub mtu_confirm: Duration [range millis(50)..=hours(1)] = MtuSettings::default().confirm,
        /// After so long a path that does not take the longest packets is tried with them again.
        pub mtu_raise: Duration [range secs(10)..=hours(24)] = MtuSettings::default().raise,
        /// A length that is lost so often in a row, while short packets get through, is too much.
        pub mtu_tries: u8 [range 1..=20] = MtuSettings::default().tries,
    }
    check health;
}

fn health(health: &HealthSettings, at: &mut At<'_>) {
    if health.proven_after > health.bad_after {
        let found = format!(
            "what is no chance would be waited for longer than what may be: bad_after is {}",
            duration_text(health.bad_after)
        );
        at.fault("proven_after", Fault::new(found).expected("at most sdwan.health.bad_after"));
    }
    if health.flap_reuse >= health.flap_suppress {
        let suppress = health.flap_suppress;
        let found =
            format!("a path that goes up and down would be one that does not at once: flap_suppress is {suppress}");
        at.fault("flap_reuse", Fault::new(found).expected("less than sdwan.health.flap_suppress"));
    }
}

impl HealthSettings {
    /// What the engine is told, where there are so many other sites, and no packet is longer than `most` octets.
    pub fn engine(&self, sites: usize, most: u16) -> Settings {
        let preset = Size::of(sites).preset();
        let HealthSettings { fast, misses, jitter_factor, timeout, trial, cooldown, look, quiet, .. } = *self;
        let HealthSettings { bad_after, proven_after, good_after, margin, .. } = *self;
        let interval = self.interval.unwrap_or(preset.interval);
        let probes = self.probes.unwrap_or(preset.probes);
        let HealthSettings { mtu_base: base, mtu_confirm: confirm, mtu_raise: raise, mtu_tries: tries, .. } = *self;
        Settings {
            liveness: LivenessSettings { fast, misses, interval, probes, timeout, jitter_factor, trial },
            mtu: MtuSettings { most, base, confirm, raise, tries, ..MtuSettings::default() },
            verdict: VerdictSettings { bad_after, proven_after, good_after, margin },
            damp: DampSettings {
                cooldown,
                least: (self.gain.as_secs_f64() * 1e3) as f32,
                part: self.gain_part as f32,
                half_life: self.flap_half_life,
                suppress: self.flap_suppress as f32,
                reuse: self.flap_reuse as f32,
            },
            look,
            quiet,
        }
    }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    fn read(text: &str) -> Result<HealthSettings, String> {
        let sources = Sources { file: Some(("outwork.toml".into(), text.into())), ..Sources::default() };
        load::<HealthSettings>(sources).map(|loaded| loaded.value).map_err(|faults| faults.render(false))
    }

    #[test]
    fn what_is_not_said_is_as_the_engine_has_it() {
        let most = MtuSettings::default().most;
        assert_eq!(read("").unwrap().engine(0, most), Settings::default());
        assert_eq!(read("").unwrap().engine(500, most), Settings::default());
    }

    #[test]
    fn where_there_are_many_sites_quiet_paths_are_looked_at_less_unless_that_is_said() {
        let seldom = |text: &str, sites| {
            let liveness = read(text).unwrap().engine(sites, 1420).liveness;
            (liveness.interval, liveness.probes)
        };
        assert_eq!(seldom("", 501), (secs(15), 3));
        assert_eq!(seldom("", 5000), (secs(15), 3));
        assert_eq!(seldom("interval = '7s'\nprobes = 9", 501), (secs(7), 9));
        assert_eq!(seldom("probes = 4", 501), (secs(15), 4));
    }

    #[test]
    fn the_engine_gets_each_of_them() {
        let text = "fast = '40ms'\nmisses = 5\njitter_factor = 6\ninterval = '20s'\nprobes = 7\ntimeout = '2s'\ntrial = '3s'\ncooldown = '30s'\n\
                    gain = '25ms'\ngain_part = 0.5\nbad_after = '300ms'\nproven_after = '80ms'\ngood_after = '20s'\nmargin = 0.75\nlook = '2s'\nquiet = '1m'\n\
                    flap_half_life = '5m'\nflap_suppress = 4\nflap_reuse = 1.5\n\
                    mtu_base = 1300\nmtu_confirm = '4s'\nmtu_raise = '1m'\nmtu_tries = 2\n";
        let wanted = Settings {
            liveness: LivenessSettings {
                fast: millis(40),
                misses: 5,
                interval: secs(20),
                probes: 7,
                timeout: secs(2),
                jitter_factor: 6,
                trial: secs(3),
            },
            mtu: MtuSettings { most: 1400, base: 1300, least: 576, confirm: secs(4), raise: mins(1), tries: 2 },
            verdict: VerdictSettings {
                bad_after: millis(300),
                proven_after: millis(80),
                good_after: secs(20),
                margin: 0.75,
            },
            damp: DampSettings {
                cooldown: secs(30),
                least: 25.0,
                part: 0.5,
                half_life: mins(5),
                suppress: 4.0,
                reuse: 1.5,
            },
            look: secs(2),
            quiet: mins(1),
        };
        assert_eq!(read(text).unwrap().engine(0, 1400), wanted);
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_name_with_what_could_be() {
        for (text, key, expected) in [
            ("proven_after = '300ms'", "proven_after", "at most sdwan.health.bad_after"),
            ("flap_reuse = 2.5", "flap_reuse", "less than sdwan.health.flap_suppress"),
            ("gain_part = 1.5", "gain_part", "1"),
            ("margin = 0.0", "margin", "0.1"),
            ("flap_suppress = 0.5", "flap_suppress", "1"),
            ("mtu_base = 500", "mtu_base", "576"),
            ("jitter_factor = 33", "jitter_factor", "32"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(key) && told.contains(expected), "{told}");
        }
    }
}
