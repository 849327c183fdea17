//! Requests under way: what a worker does for a call, and what is done with its answer.

use super::Target;
use super::frame::Frame;
use super::status::Status;
use super::transfer::Transfer;
use trimotor_bus::{GuestTime, PhysAddr};

/// How a call goes on.
#[derive(Debug)]
pub enum Step {
    /// It is done with this status.
    Done(Status),
    /// It is done, and has set AH and the carry flag itself.
    Answered,
    /// A worker has something to do first.
    Wait(Work),
}

/// What a worker does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// It moves sectors.
    Sectors {
        /// The drive.
        target: Target,
        /// Which ones, and what is done with them.
        transfer: Transfer,
        /// What is done afterwards.
        destination: Destination,
    },
    /// It reads what an entry of the boot order boots from.
    Boot {
        /// The entry.
        entry: u8,
    },
    /// It reads sectors of the boot catalog of a CD.
    Catalog {
        /// The drive.
        cd: u8,
        /// The first sector, counted from the catalog's.
        first: u16,
        /// How many.
        count: u8,
        /// Where they go.
        buffer: PhysAddr,
    },
    /// It reads the image whose emulation a program began (functions 4Ah and 4Ch).
    Emulate {
        /// The specification packet.
        packet: super::cd_boot::Packet,
        /// Whether the image is started.
        start: bool,
    },
}

/// What is done when sectors have been moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// What was read goes to `buffer`, and the number of sectors to AL.
    Count {
        /// Where the buffer is.
        buffer: PhysAddr,
    },
    /// What was read goes to `buffer`, and the number of sectors into EDD's packet.
    Packet {
        /// Where the buffer is.
        buffer: PhysAddr,
        /// Where the packet is.
        packet: PhysAddr,
    },
    /// Nothing is left to be told.
    Nothing,
}

impl Work {
    /// About how many bytes are moved.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Sectors { transfer, .. } => u64::from(transfer.count) * 512,
            Self::Catalog { count, .. } => u64::from(*count) * 2048,
            Self::Boot { .. } => 512,
            Self::Emulate { packet, .. } => u64::from(packet.load_sectors) * 512,
        }
    }
}

/// A call that waits for a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The caller's registers.
    pub frame: Frame,
    /// What is done for it.
    pub work: Work,
    /// When it is done, where guest time counts instructions.
    pub due: GuestTime,
}
