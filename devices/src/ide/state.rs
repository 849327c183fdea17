//! What a drive and a channel remember, and what of it a saved state cannot say.

use super::atapi::{Atapi, AtapiStateV1};
use super::unit::MAX_PART;
use crate::disk_work::Work;
use crate::saved_state::saved_state;
use serde::{Deserialize, Serialize};
use trimotor_bus::RestoreError;

/// Registers of the command block, each with what was written before (index 1), as 48-bit commands use them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TaskFile {
    pub(super) feature: [u8; 2],
    pub(super) count: [u8; 2],
    pub(super) lba_low: [u8; 2],
    pub(super) lba_mid: [u8; 2],
    pub(super) lba_high: [u8; 2],
    pub(super) device: u8,
    pub(super) status: u8,
    pub(super) error: u8,
}

saved_state! {
    /// The saved registers of the command block.
    pub(super) struct TaskFileStateV1 of TaskFile {
        feature: [u8; 2],
        count: [u8; 2],
        lba_low: [u8; 2],
        lba_mid: [u8; 2],
        lba_high: [u8; 2],
        device: u8,
        status: u8,
        error: u8,
    }
}

/// Where a command is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Phase {
    /// No command.
    Idle,
    /// A worker has a request, which completes at this time where time is counted.
    Working { token: u64, due_ns: u64 },
    /// A reset waits for the request that a worker has.
    Draining { token: u64, due_ns: u64 },
    /// The host failed, and the machine pauses: the request is done again at this time.
    Stopped { retry_ns: u64 },
    /// The host reads a block.
    DataIn,
    /// The host writes a block.
    DataOut,
    /// The host writes the bytes of a packet command.
    Packet,
    /// The bus master has not begun yet.
    Dma,
    /// The bus master stopped before the command's end: nothing but a reset helps.
    DmaEnded,
}

/// What a command moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// Nothing.
    #[default]
    Nothing,
    /// Sectors to the host.
    Read,
    /// Sectors from the host.
    Write,
    /// Sectors that are read and forgotten, a flush, ranges that are given up: a worker alone has to do.
    Worker,
    /// The buffer to the host.
    Reply,
    /// A list of ranges from the host.
    TrimList,
    /// The sector buffer from the host.
    SectorBuffer,
    /// Parameters of a packet command from the host.
    Parameters,
}

/// The transfer of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) purpose: Purpose,
    /// By the bus master.
    pub(super) dma: bool,
    /// The first sector that has not been moved yet.
    pub(super) sector: u64,
    /// Sectors that have not been moved yet.
    pub(super) left: u32,
    /// Sectors of the part under way.
    pub(super) part: u32,
    /// Bytes of a block through the data register.
    pub(super) block: u32,
    /// Writes are waited for.
    pub(super) through: bool,
    /// The address is one of 48 bits.
    pub(super) extended: bool,
    /// Sector by sector, to find the one that fails.
    pub(super) single: bool,
}

saved_state! {
    /// The saved transfer.
    pub(super) struct TransferStateV1 of Transfer {
        purpose: Purpose,
        dma: bool,
        sector: u64,
        left: u32,
        part: u32,
        block: u32,
        through: bool,
        extended: bool,
        single: bool,
    }
}

/// Whether the drive turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Power {
    Active,
    Standby,
    /// Until a reset.
    Sleep,
}

/// What hosts set, and counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) cylinders: u16,
    pub(super) heads: u8,
    pub(super) track_sectors: u8,
    /// Sectors of a block of READ MULTIPLE, 0 where that is not set up.
    pub(super) multiple: u8,
    /// The transfer mode of SET FEATURES: 20h and a multiword DMA mode, 40h and an Ultra DMA mode.
    pub(super) dma_mode: u8,
    pub(super) write_cache: bool,
    pub(super) look_ahead: bool,
    pub(super) smart: bool,
    pub(super) smart_autosave: bool,
    pub(super) power: Power,
    /// What WRITE BUFFER left.
    pub(super) sector_buffer: Vec<u8>,
    pub(super) read_errors: u32,
    pub(super) write_errors: u32,
}

saved_state! {
    /// The saved settings and counts.
    pub(super) struct SettingsStateV1 of Settings {
        cylinders: u16,
        heads: u8,
        track_sectors: u8,
        multiple: u8,
        dma_mode: u8,
        write_cache: bool,
        look_ahead: bool,
        smart: bool,
        smart_autosave: bool,
        power: Power,
        sector_buffer: Vec<u8>,
        read_errors: u32,
        write_errors: u32,
    }
}

/// Most heads that IDENTIFY tells, and most cylinders (ATA/ATAPI-5, annex on CHS addressing).
const HEADS: u8 = 16;
const TRACK_SECTORS: u8 = 63;
const MOST_CYLINDERS: u64 = 16383;

impl Settings {
    pub(super) fn new(sectors: u64, write_through: bool) -> Self {
        let cylinder = u64::from(HEADS) * u64::from(TRACK_SECTORS);
        Self {
            cylinders: (sectors / cylinder).clamp(1, MOST_CYLINDERS) as u16,
            heads: HEADS,
            track_sectors: TRACK_SECTORS,
            multiple: 0,
            dma_mode: 0x22,
            write_cache: !write_through,
            look_ahead: true,
            smart: true,
            smart_autosave: true,
            power: Power::Active,
            sector_buffer: vec![0; 512],
            read_errors: 0,
            write_errors: 0,
        }
    }
    /// What a reset by software changes: the drive wakes.
    pub(super) fn soft_reset(&mut self) {
        if self.power == Power::Sleep {
            self.power = Power::Active;
        }
    }
    /// Sectors that cylinder, head and sector can reach.
    pub(super) fn chs_sectors(&self) -> u64 {
        u64::from(self.cylinders) * u64::from(self.heads) * u64::from(self.track_sectors)
    }
}

/// The saved state of a drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitStateV1 {
    pub(super) task: TaskFileStateV1,
    pub(super) intrq: bool,
    pub(super) phase: Phase,
    pub(super) work: Work,
    pub(super) transfer: TransferStateV1,
    pub(super) buffer: Vec<u8>,
    pub(super) position: u32,
    pub(super) block_end: u32,
    pub(super) settings: SettingsStateV1,
    pub(super) next_request: u64,
    pub(super) atapi: Option<AtapiStateV1>,
}

impl UnitStateV1 {
    /// Whether a drive can be so; `packet` says whether it is a packet device, `number` which it is.
    pub(super) fn check(&self, packet: bool, number: u8) -> Result<(), RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "IDE drive", field, value });
        let (length, s) = (self.buffer.len(), &self.settings);
        if length as u64 > MAX_PART {
            return refuse("buffer", format!("{length} bytes"));
        }
        if self.position > self.block_end || self.block_end as usize > length {
            return refuse("block", format!("{} to {} of {length}", self.position, self.block_end));
        }
        let whole_sectors = length > 0 && length.is_multiple_of(512);
        match self.work {
            Work::Read { bytes, .. } if bytes == 0 || u64::from(bytes) > MAX_PART => {
                return refuse("request", format!("{bytes} bytes"));
            }
            Work::Verify { bytes, .. } if bytes > 0x1_0000 * 512 => {
                return refuse("request", format!("{bytes} bytes"));
            }
            Work::Fill | Work::Discard | Work::Zero { .. } => {
                return refuse("request", "of another controller".to_owned());
            }
            Work::Write { .. } | Work::Trim if !whole_sectors => {
                return refuse("request", format!("{length} bytes"));
            }
            _ => {}
        }
        if let Phase::Working { token, .. } | Phase::Draining { token, .. } = self.phase
            && (token & 3 != u64::from(number) || token >> 2 >= self.next_request)
        {
            return refuse("request", token.to_string());
        }
        if self.next_request > u64::MAX >> 3 {
            return refuse("request", self.next_request.to_string());
        }
        let moves = self.transfer.block >= 2 && self.block_end > self.position;
        if matches!(self.phase, Phase::DataIn | Phase::DataOut | Phase::Packet) && !moves {
            return refuse("block", self.transfer.block.to_string());
        }
        if self.transfer.left > 0x1_0000 && !packet || self.transfer.part > self.transfer.left {
            return refuse("sectors", self.transfer.left.to_string());
        }
        if s.cylinders == 0 || !(1..=16).contains(&s.heads) || s.track_sectors == 0 {
            return refuse("geometry", format!("{} {} {}", s.cylinders, s.heads, s.track_sectors));
        }
        if s.sector_buffer.len() != 512 || s.multiple > 16 || s.multiple.count_ones() > 1 {
            return refuse("settings", s.multiple.to_string());
        }
        if !matches!(s.dma_mode, 0x20..=0x22 | 0x40..=0x45) {
            return refuse("transfer mode", s.dma_mode.to_string());
        }
        match &self.atapi {
            Some(atapi) if packet => Atapi::from(atapi.clone()).check(),
            None if !packet => Ok(()),
            other => refuse("kind", if other.is_some() { "packet device" } else { "disk" }.to_owned()),
        }
    }
}
