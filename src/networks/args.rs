//! The options about networks.

use super::spec::NetSpec;
use clap::{ArgAction, Args};

/// Options about networks.
#[derive(Args, Debug, Default)]
pub struct NetworkArgs {
    /// A card and its network in one: user, tap and others with their options (`trimotor networks` lists them), and
    /// model=e1000, mac=ADDRESS, addr=SLOT, romfile=FILE. `none`: no card. Repeatable
    /// [default: user, where the machine boots from its drives]
    #[arg(long, value_name = "TYPE[,OPTION=VALUE]", action = ArgAction::Append, help_heading = "Networks")]
    pub nic: Vec<NetSpec>,
    /// A network for a card that names it: --netdev user,id=n0 --device e1000,netdev=n0. Repeatable
    #[arg(long, value_name = "TYPE,id=ID[,OPTION=VALUE]", action = ArgAction::Append, help_heading = "Networks")]
    pub netdev: Vec<NetSpec>,
    /// The same as --nic; `--net nic,model=M` beside it says which card, as in QEMU's older command lines. Repeatable
    #[arg(long, value_name = "TYPE[,OPTION=VALUE]", action = ArgAction::Append, help_heading = "Networks")]
    pub net: Vec<NetSpec>,
}
