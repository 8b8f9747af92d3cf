//! The arguments of `outwork sdwan`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use outwork_config::HostPort;

use super::duration;
use super::leases::limit;

/// `outwork sdwan`.
#[derive(Debug, Subcommand)]
pub(crate) enum SdwanCommand {
    /// Makes a token that lets a site in once: at the controller
    ///
    /// It goes to standard output, and is shown this once. What the site has to be told besides is where the controller is: sdwan.controller.address.
    #[command(after_help = "\
Examples:
  outwork sdwan token north
  outwork sdwan token north --subnets 10.1.0.0/16,2001:db8:1::/48
  outwork sdwan token north --expires 10m | ssh north outwork sdwan enrol -")]
    Token {
        /// What the site is to be called.
        site: String,
        /// How long it is good for; an hour without it, 30 days at most.
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires: Option<Duration>,
        /// The networks that the site may come with, or parts of them; without it, any that overlap no other site's, and no default route.
        #[arg(long, value_name = "NETWORKS", value_delimiter = ',')]
        subnets: Option<Vec<String>>,
    },
    /// Lists tokens that let sites in, without their secrets: at the controller
    Tokens,
    /// Takes a token away that was not used: at the controller
    #[command(after_help = "\
Examples:
  outwork sdwan withdraw 12
  outwork sdwan tokens --json | jq '.items[] | select(.used == null) | .id' | xargs -n1 outwork sdwan withdraw")]
    Withdraw {
        /// Its number, as `outwork sdwan tokens` says it.
        number: i64,
    },
    /// Has the controller take this site in, with a token of the controller's: at the site
    ///
    /// The site makes its key itself, which never leaves it. What it was told by the controller of another network is forgotten. A running server takes it up by itself.
    #[command(after_help = "\
Examples:
  outwork sdwan enrol outwork_enrol_...
  outwork sdwan enrol - < token
  outwork sdwan enrol - --controller 192.0.2.9:8068 < token
  outwork sdwan enrol - --controller control.example.org:8068 < token")]
    Enrol {
        /// The token; `-` reads it from standard input, where no list of processes shows it.
        #[arg(value_name = "TOKEN")]
        shown: String,
        /// Where the controller is, for this once; without it, where sdwan.controller.address says.
        #[arg(long, value_name = "HOST:PORT")]
        controller: Vec<HostPort>,
    },
    /// Makes another key for an uplink of this site, which takes over from the one that it has: at the site
    ///
    /// No connection notices. Both keys are good until all have shown that they know the new one, and for sdwan.keys.overlap at most; then the old one is dropped. A controller tells the
    /// other sites by itself. Without one, write the new key down at the others, as next_public_key beside public_key, and reload; once `outwork tunnels` shows it alone,
    /// it is the public_key. Who speaks plain WireGuard knows one key at a time: give it the new one before the old one is dropped.
    #[command(after_help = "\
Examples:
  outwork sdwan rotate-key
  outwork sdwan rotate-key fibre
  outwork sdwan rotate-key fibre --abandon")]
    RotateKey {
        /// The uplink; without it, all whose keys are made and kept here.
        uplink: Option<String>,
        /// Gives the new key up: the old one goes on alone.
        #[arg(long)]
        abandon: bool,
    },
    /// Believes a site no longer: its certificates and tokens are good for nothing from now on
    ///
    /// It goes on as it was told last. To take its tunnels away from the other sites, remove it: `outwork sdwan sites remove`.
    #[command(after_help = "\
Examples:
  outwork sdwan revoke north
  outwork sdwan revoke north && outwork sdwan sites remove north")]
    Revoke {
        /// What it is called.
        site: String,
    },
    /// Says which sites are connected to the controller, and whether they hold what the network is now; at a site, how it stands with its controller
    #[command(after_help = "\
Examples:
  outwork sdwan status
  outwork sdwan status --json | jq '.items[] | select(.current | not) | .site'
  outwork sdwan status --json | jq '.follows | [.version, .error]'  # at a site")]
    Status,
    /// Lists the paths of the network as sites have reported them, or says how one was: at the controller
    ///
    /// `outwork paths` says it of a site's own, as they are at this moment.
    #[command(after_help = "\
Examples:
  outwork sdwan paths --state down
  outwork sdwan paths --site north --all
  outwork sdwan paths 12 --last 24h
  outwork sdwan paths --all --json | jq '.items[] | select(.loss > 0.01) | [.site, .remote_site]'")]
    Paths {
        /// The number of one, as the list says it: how it was, by report or in spans.
        #[arg(conflicts_with_all = ["site", "state", "limit", "all", "after"])]
        number: Option<i64>,
        /// Of the last so long.
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h", requires = "number")]
        last: Duration,
        /// From or to this site.
        #[arg(long, value_name = "SITE")]
        site: Option<String>,
        /// In this state: new, down, trial, up, suspect, unknown or gone.
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Lists what has happened at sites, the latest first, with the reason for each switch: at the controller
    #[command(after_help = "\
Examples:
  outwork sdwan events
  outwork sdwan events --site north --limit 20
  outwork sdwan events --all --json | jq '.items[] | select(.kind == \"switch\") | [.at, .site, .why]'")]
    Events {
        /// At this site.
        #[arg(long, value_name = "SITE")]
        site: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Lists the certificates of a site whose time is not over: at the controller
    #[command(after_help = "\
Examples:
  outwork sdwan certificates north
  outwork sdwan certificates north --json | jq '.items[] | select(.revoked == null) | .expires'")]
    Certificates {
        /// What it is called.
        site: String,
    },
    /// Lists who has changed what of the network, the latest first, or says what a change was: at the controller
    #[command(after_help = "\
Examples:
  outwork sdwan changes
  outwork sdwan changes 17
  outwork sdwan changes --limit 20 --after 400
  outwork sdwan changes --all --json | jq '.items[] | select(.who | startswith(\"site \"))'")]
    Changes {
        /// The number of one: what it has changed, key by key.
        #[arg(conflicts_with_all = ["limit", "all", "after"])]
        number: Option<i64>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Takes a change of the network back: at the controller
    ///
    /// With it goes all that was made at once, such as the uplinks that went with a site. Nothing is done where what it has changed was changed again since. It is a change as well:
    /// the same command takes it back. A site that was removed comes back without its certificate, and is enrolled anew.
    #[command(after_help = "\
Examples:
  outwork sdwan undo
  outwork sdwan undo --check
  outwork sdwan changes && outwork sdwan undo 17")]
    Undo {
        /// Its number, as `outwork sdwan changes` says it; without it, the latest that there is.
        change: Option<i64>,
        /// Says what would change, and changes nothing.
        #[arg(long)]
        check: bool,
    },
    /// Has all sites told what the network is, though some were told a later version: at a controller that came out of a backup
    ///
    /// Until then it tells them nothing, and they go on as they were told: what the backup does not have may be made anew before. `outwork status` says whether that is so.
    #[command(after_help = "\
Examples:
  outwork sdwan accept
  outwork sdwan accept --beyond 412")]
    Accept {
        /// Goes beyond this version, which a site holds and cannot show that it was told.
        #[arg(long, value_name = "VERSION")]
        beyond: Option<u64>,
    },
    /// Lists, adds, changes and removes sites, at the controller
    #[command(subcommand)]
    Sites(DocumentCommand),
    /// Lists, adds, changes and removes uplinks of sites, at the controller
    #[command(subcommand)]
    Uplinks(DocumentCommand),
    /// Lists, adds, changes and removes classes of traffic, at the controller
    #[command(subcommand)]
    Classes(DocumentCommand),
    /// Lists, adds, changes and removes applications, at the controller
    #[command(subcommand)]
    Applications(DocumentCommand),
    /// Lists, adds, changes and removes policies, and says what they have carried, at the controller
    #[command(subcommand)]
    Policies(PolicyCommand),
    /// Shows and changes what holds at all sites whose own files do not say it: at the controller
    #[command(subcommand)]
    Settings(SharedCommand),
}

/// How much of a list.
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// The most to list, 1 or more.
    #[arg(long, value_name = "COUNT", default_value = "100", conflicts_with = "all", value_parser = limit)]
    pub(crate) limit: NonZeroUsize,
    /// Lists all there are.
    #[arg(long)]
    pub(crate) all: bool,
    /// Goes on after this point: `next` of an earlier answer.
    #[arg(long, value_name = "NEXT")]
    pub(crate) after: Option<String>,
}

/// What is done with settings for all sites.
#[derive(Debug, Subcommand)]
pub(crate) enum SharedCommand {
    /// Shows them
    Show,
    /// Changes them: what is not named stays as it is. Where somebody else changes them at the same time, nothing is done
    ///
    /// Keys are those of [sdwan]: all of health, default_class, and qos.class. A site that says one of them in its own file goes by that.
    #[command(after_help = "\
Examples:
  outwork sdwan settings edit health.misses=5 health.interval=5s --check
  outwork sdwan settings edit default_class=transactional qos.class.voice.share=0.25
  outwork sdwan settings edit --clear health.interval --clear qos.class.voice")]
    Edit {
        #[command(flatten)]
        says: DocumentArgs,
        /// Takes a key out, with all below it; may be given many times.
        #[arg(long, value_name = "KEY")]
        clear: Vec<String>,
        /// Says what would change or what is wrong with it, and changes nothing.
        #[arg(long)]
        check: bool,
    },
}

/// What is done with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    #[command(flatten)]
    Document(DocumentCommand),
    /// Says what flows under a policy have sent, by site
    #[command(after_help = "\
Examples:
  outwork sdwan policies traffic
  outwork sdwan policies traffic calls --last 24h
  outwork sdwan policies traffic calls --site north --json | jq '.items[] | [.at, .octets]'")]
    Traffic {
        /// Its name; without it, what flows under each policy and under none have sent.
        name: Option<String>,
        /// Of the last so long.
        #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1h")]
        last: Duration,
        /// By this site alone.
        #[arg(long, value_name = "SITE")]
        site: Option<String>,
    },
}

/// What is done with documents of a kind.
#[derive(Debug, Subcommand)]
pub(crate) enum DocumentCommand {
    /// Lists them
    List,
    /// Shows one
    Get {
        /// Its name; that of an uplink behind its site's, such as north/fibre.
        name: String,
    },
    /// Adds one; sites are told at once
    #[command(after_help = "\
Examples:
  outwork sdwan policies add calls class=voice 'ports=[\"5060-5061\"]' strategy=duplicate
  outwork sdwan sites add north 'subnets=[\"10.1.0.0/16\"]'
  outwork sdwan classes add gold latency=20ms loss=0.001
  outwork sdwan policies get calls --json | jq '.body | .name = \"more\"' | outwork sdwan policies add more --json-body -")]
    Add {
        /// Its name; that of an uplink behind its site's, such as north/fibre.
        name: String,
        #[command(flatten)]
        says: DocumentArgs,
        /// Says what would change or what is wrong with it, and changes nothing.
        #[arg(long)]
        check: bool,
    },
    /// Changes one: what is not named stays as it is. Where somebody else changes it at the same time, nothing is done
    #[command(after_help = "\
Examples:
  outwork sdwan policies edit calls priority=10 mark=EF
  outwork sdwan policies edit calls priority=10 mark=EF --check
  outwork sdwan policies edit calls --clear mark
  outwork sdwan uplinks edit north/lte cost=50 metered=true
  outwork sdwan uplinks edit north/lte pinned=true  # stays though the site names it no longer")]
    Edit {
        /// Its name; that of an uplink behind its site's, such as north/fibre.
        name: String,
        #[command(flatten)]
        says: DocumentArgs,
        /// Takes a key out; may be given many times.
        #[arg(long, value_name = "KEY")]
        clear: Vec<String>,
        /// Says what would change or what is wrong with it, and changes nothing.
        #[arg(long)]
        check: bool,
    },
    /// Removes one; sites are told at once. With a site go its uplinks, and it is believed no longer
    #[command(after_help = "\
Examples:
  outwork sdwan policies remove calls --check
  outwork sdwan sites remove north")]
    Remove {
        /// Its name; that of an uplink behind its site's, such as north/fibre.
        name: String,
        /// Says what would go or what is wrong with it, and changes nothing.
        #[arg(long)]
        check: bool,
    },
}

/// What a document says.
#[derive(Debug, Args)]
pub(crate) struct DocumentArgs {
    /// Keys with their values, as in the configuration file: numbers and what is in brackets in JSON, lists also with commas, such as ports=5060,5061, texts as they are.
    // `set` is the id of `--set`, which every command takes.
    #[arg(id = "says", value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// All of it in JSON, from a file, or from standard input for `-`; keys that are named besides go over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) json_body: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn what_a_document_says_is_not_what_is_set_over_the_file() {
        let words = ["outwork", "sdwan", "classes", "add", "gold", "loss=0.1", "--set", "log.level=debug"];
        let cli = Cli::try_parse_from(words).unwrap();
        assert_eq!(cli.global.set, ["log.level=debug"]);
        let Command::Sdwan(SdwanCommand::Classes(DocumentCommand::Add { says, .. })) = cli.command else { panic!() };
        assert_eq!(says.set, [("loss".to_owned(), "0.1".to_owned())]);
    }

    #[test]
    fn what_is_done_with_documents_is_done_with_policies_as_well_and_they_say_what_they_have_carried() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["outwork", "sdwan"][..], words].concat()).unwrap().command;
        let Command::Sdwan(SdwanCommand::Policies(PolicyCommand::Document(DocumentCommand::Edit { check, .. }))) =
            parse(&["policies", "edit", "calls", "priority=1", "--check"])
        else {
            panic!()
        };
        assert!(check);
        let Command::Sdwan(SdwanCommand::Policies(PolicyCommand::Traffic { name, last, .. })) =
            parse(&["policies", "traffic", "calls", "--last", "24h"])
        else {
            panic!()
        };
        assert_eq!((name.as_deref(), last), (Some("calls"), Duration::from_secs(86_400)));
        assert!(matches!(parse(&["undo"]), Command::Sdwan(SdwanCommand::Undo { change: None, check: false })));
        assert!(Cli::try_parse_from(["outwork", "sdwan", "sites", "traffic"]).is_err());
    }

    #[test]
    fn one_of_a_list_is_named_by_its_number_and_then_no_part_of_the_list_is() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["outwork", "sdwan"][..], words].concat());
        let Command::Sdwan(SdwanCommand::Changes { number: None, page }) =
            parse(&["changes", "--limit", "20", "--after", "400"]).unwrap().command
        else {
            panic!()
        };
        assert_eq!((page.limit.get(), page.all, page.after.as_deref()), (20, false, Some("400")));
        let one = parse(&["changes", "17"]).unwrap().command;
        assert!(matches!(one, Command::Sdwan(SdwanCommand::Changes { number: Some(17), .. })));
        let one = parse(&["paths", "12", "--last", "24h"]).unwrap().command;
        let Command::Sdwan(SdwanCommand::Paths { number: Some(12), last, .. }) = one else { panic!() };
        assert_eq!(last, Duration::from_secs(86_400));
        for odd in [
            &["changes", "17", "--limit", "2"][..],
            &["paths", "12", "--site", "north"],
            &["paths", "--last", "24h"],
            &["events", "--all", "--limit", "2"],
            &["events", "--limit", "0"],
        ] {
            assert!(parse(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn a_token_is_withdrawn_by_its_number() {
        let cli = Cli::try_parse_from(["outwork", "sdwan", "withdraw", "12"]).unwrap();
        assert!(matches!(cli.command, Command::Sdwan(SdwanCommand::Withdraw { number: 12 })));
        assert!(Cli::try_parse_from(["outwork", "sdwan", "withdraw", "outwork_enrol_x"]).is_err());
    }
}
