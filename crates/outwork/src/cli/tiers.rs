//! The arguments of `outwork tiers`.

use clap::Subcommand;

/// `outwork tiers`.
#[derive(Debug, Subcommand)]
pub(crate) enum TiersCommand {
    /// The same as `outwork tiers`
    List,
    /// Virtual functions of cards (SR-IOV)
    #[command(subcommand)]
    Vfs(FunctionsCommand),
}

/// `outwork tiers vfs`.
#[derive(Debug, Subcommand)]
pub(crate) enum FunctionsCommand {
    /// Lists cards that can have virtual functions, and those that they have
    List,
    /// Gives a card virtual functions, in the place of those that it has
    #[command(after_help = "\
Examples:
  outwork tiers vfs create eth0 8
  outwork tiers vfs list")]
    Create {
        /// An interface of the card.
        #[arg(value_name = "DEVICE")]
        device: String,
        /// How many.
        #[arg(value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=4096))]
        count: u32,
    },
    /// Removes the virtual functions of a card; whoever uses them loses them
    Remove {
        /// An interface of the card.
        #[arg(value_name = "DEVICE")]
        device: String,
    },
}
