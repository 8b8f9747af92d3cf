//! The arguments of `outwork assets`.

use std::path::PathBuf;

use clap::Subcommand;

/// `outwork assets`.
#[derive(Debug, Subcommand)]
pub(crate) enum AssetsCommand {
    /// Lists what the running server has made of which files, with sizes before and after
    #[command(after_help = "\
Examples:
  outwork assets list
  outwork assets list --json | jq '.sites[].assets[] | select(.url) | {path, url}'")]
    List,
    /// Shows what is wrong with files: where, what came of it, and what to do
    #[command(after_help = "\
Examples:
  outwork assets faults
  outwork assets faults --json | jq '.sites[].faults'")]
    Faults,
    /// Makes everything once, without a server
    ///
    /// What is made of the files of a site is written below a folder, by the paths that it would be served at. Files that nothing is made of are not
    /// copied. Exits with 1 where anything is wrong with a file; what could be made is written all the same.
    #[command(after_help = "\
Examples:
  outwork assets build --config outwork.toml --output public
  outwork assets build --site 'www.example.org/*' --output public")]
    Build {
        /// Where to write to. The folder is created; what is there already stays, unless something of its name is made.
        #[arg(long, value_name = "DIR")]
        output: PathBuf,
        /// The site, by the hosts and the path of its route; needed where several have assets.
        #[arg(long, value_name = "NAME")]
        site: Option<String>,
    },
}
