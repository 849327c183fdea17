//! CD-ROM drives: SCSI commands in packets of twelve bytes (ATA/ATAPI-7, "PACKET"; SFF-8090 and MMC for the commands).
//!
//! PACKET asks for the twelve bytes. A command that fails sets CHK, and REQUEST SENSE tells why: a sense key, and a
//! code with its qualifier. A *unit attention* is such a failure that tells of something else: a reset, another disc.
//!
//! Left out: audio and raw sectors (READ CD gives the 2048 bytes of user data), writing, changers.

mod commands;
mod configuration;
mod mode;
mod replies;

use crate::saved_state::saved_state;
use serde::{Deserialize, Serialize};
use trimotor_bus::RestoreError;

/// Why a command failed: sense key, additional sense code, its qualifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sense(pub(super) u8, pub(super) u8, pub(super) u8);

/// Reasons (MMC, "Sense, additional sense and qualifier").
pub(super) mod sense {
    use super::Sense;
    pub const NOTHING: Sense = Sense(0, 0, 0);
    pub const NO_DISC_CLOSED: Sense = Sense(2, 0x3A, 1);
    pub const NO_DISC_OPEN: Sense = Sense(2, 0x3A, 2);
    pub const UNREADABLE: Sense = Sense(3, 0x11, 0);
    pub const PARAMETERS: Sense = Sense(5, 0x1A, 0);
    pub const NO_SUCH_COMMAND: Sense = Sense(5, 0x20, 0);
    pub const OUT_OF_RANGE: Sense = Sense(5, 0x21, 0);
    pub const FIELD: Sense = Sense(5, 0x24, 0);
    pub const PARAMETER_FIELD: Sense = Sense(5, 0x26, 0);
    pub const NOT_SAVED: Sense = Sense(5, 0x39, 0);
    pub const LOCKED: Sense = Sense(5, 0x53, 2);
    pub const NEW_DISC: Sense = Sense(6, 0x28, 0);
    pub const RESET: Sense = Sense(6, 0x29, 0);
}

/// What happened to the disc, as GET EVENT STATUS NOTIFICATION tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum MediaEvent {
    #[default]
    Nothing = 0,
    /// A person wants the disc.
    EjectRequest = 1,
    NewMedia = 2,
    Removal = 3,
}

/// What a packet device remembers beside a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Atapi {
    pub(super) sense: Sense,
    /// Told by the next command that can fail.
    pub(super) attention: Option<Sense>,
    pub(super) event: MediaEvent,
    pub(super) tray_open: bool,
    /// The guest holds the disc.
    pub(super) locked: bool,
    /// The present command moves its data by DMA.
    pub(super) by_dma: bool,
    /// Most bytes of a block through the data register.
    pub(super) limit: u32,
    /// What MODE SELECT can set: error recovery.
    pub(super) recovery: [u8; 6],
}

saved_state! {
    /// The saved state of a packet device.
    pub struct AtapiStateV1 of Atapi {
        sense: Sense,
        attention: Option<Sense>,
        event: MediaEvent,
        tray_open: bool,
        locked: bool,
        by_dma: bool,
        limit: u32,
        recovery: [u8; 6],
    }
}

/// Error recovery: read again five times.
const RECOVERY: [u8; 6] = [0, 5, 0, 0, 0, 0];
/// Most bytes of a block, where the host sets no limit.
const MOST_BLOCK: u32 = 0xFFFE;

impl Atapi {
    pub(super) fn new(disc: bool) -> Self {
        Self {
            sense: sense::NOTHING,
            attention: Some(sense::RESET),
            event: if disc { MediaEvent::NewMedia } else { MediaEvent::Nothing },
            tray_open: false,
            locked: false,
            by_dma: false,
            limit: MOST_BLOCK,
            recovery: RECOVERY,
        }
    }
    pub(super) fn reset(&mut self) {
        let Self { sense, attention, event: _, tray_open: _, locked, by_dma, limit, recovery } = self;
        (*sense, *locked, *by_dma) = (sense::NOTHING, false, false);
        (*limit, *recovery) = (MOST_BLOCK, RECOVERY);
        attention.get_or_insert(sense::RESET);
    }
    /// What no drive can be.
    pub(super) fn check(&self) -> Result<(), RestoreError> {
        if !(2..=MOST_BLOCK).contains(&self.limit) || self.limit & 1 != 0 {
            let value = self.limit.to_string();
            return Err(RestoreError { part: "CD-ROM drive", field: "block", value });
        }
        Ok(())
    }
}
