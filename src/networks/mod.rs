//! Networks as the command line names them, and the cards that are connected to them.
//!
//! | part | file |
//! |---|---|
//! | the options | [`args`] |
//! | `--netdev user,id=n0`: its text | [`spec`] |
//! | the kinds of networks, and how each is opened | [`kinds`] |
//! | which card has which network | [`cards`] |
//! | the Ethernet addresses of this machine | [`addresses`] |
//! | the expansion ROMs of cards | [`roms`] |
//!
//! A machine that boots from its drives has a card on a user-mode network unless the options say otherwise, as people who know
//! QEMU expect, and as what is on a disk or CD expects to find a network. The model is e1000, which everything has a driver for. There is
//! none of itself where a kernel is handed in, as such guests are made for what they need, and none with `--icount`, where two runs are the
//! same: what comes from a network is not.

mod addresses;
mod args;
mod cards;
mod kinds;
mod roms;
mod spec;

pub use addresses::translate;
pub use args::NetworkArgs;
pub use kinds::list;

use crate::error::Failure;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use trimotor_machine::DeviceConfig;
use trimotor_net::NetBackend;

/// What a machine's networks need to know of the machine.
pub struct Machine<'a> {
    /// The devices that the options name.
    pub devices: &'a [DeviceConfig],
    /// It boots from its drives, or from a network.
    pub boots_from_drives: bool,
    /// It boots from a network, or tries to.
    pub boots_from_network: bool,
    /// Two runs are the same.
    pub counted: bool,
    /// The file that makes it this machine: its first drive's.
    pub identity: Option<&'a Path>,
}

/// The networks of a machine.
#[derive(Default)]
pub struct Networks {
    /// By id.
    pub backends: BTreeMap<String, Arc<dyn NetBackend>>,
    /// All devices: network cards have their networks, addresses and ROMs.
    pub devices: Vec<DeviceConfig>,
    /// What is in the files that cards' options `romfile` name.
    pub roms: BTreeMap<String, Vec<u8>>,
}

/// Opens all networks that the options name.
///
/// # Errors
/// An option that cannot be used, or a network that the host refuses; the message names it.
pub fn open(args: &NetworkArgs, machine: &Machine<'_>) -> Result<Networks, Failure> {
    let plan = cards::plan(args, machine)?;
    let mut backends = BTreeMap::new();
    for network in &plan.networks {
        backends.insert(network.id.clone(), kinds::open(network)?);
    }
    Ok(Networks { backends, ..with_cards(plan.devices, machine)? })
}

/// The same with nothing on the host opened: a machine that replays what came from its networks has the cards.
///
/// # Errors
/// An option that cannot be used.
pub fn cards_only(args: &NetworkArgs, machine: &Machine<'_>) -> Result<Networks, Failure> {
    with_cards(cards::plan(args, machine)?.devices, machine)
}

/// The ROMs of cards that have their networks already.
///
/// # Errors
/// One that cannot be read.
pub fn roms_of(
    devices: &mut [DeviceConfig],
    boots_from_network: bool,
) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    roms::read(devices, boots_from_network)
}

fn with_cards(mut devices: Vec<DeviceConfig>, machine: &Machine<'_>) -> Result<Networks, Failure> {
    addresses::give(&mut devices, machine);
    let roms = roms::read(&mut devices, machine.boots_from_network)?;
    Ok(Networks { backends: BTreeMap::new(), devices, roms })
}
