//! The boot order, and what each of its entries boots from.
//!
//! A hard disk or a floppy is booted by its first sector, loaded to 0000:7C00h; that of a hard disk must end with the bytes 55 AA, that
//! of a floppy must hold more than one value, as a PC AT asks for. A CD is booted as its boot catalog says
//! ([`el_torito`](super::el_torito)).
//!
//! Each entry that fails says why, in words that the ROM shows.

use super::cd_boot::{Packet, Session};
use super::drives::{FIRST_CD, FIRST_DISK, SECTOR, Volume};
use super::el_torito::{BootEntry, CatalogError, Emulation, find_entry};
use super::frame::{Frame, real_mode};
use super::geometry::Geometry;
use super::low_memory::{ebda, put_message};
use super::request::{Step, Work};
use super::status::Status;
use super::transfer::{Action, Outcome, Transfer};
use super::{BiosServices, Target};
use crate::device::Job;
use crate::drive::Drive;
use serde::{Deserialize, Serialize};

/// A kind of drive to boot from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootKind {
    /// Floppy drives: the letter `a`.
    Floppy,
    /// Hard disks: `c`.
    HardDisk,
    /// CD-ROM drives: `d`.
    CdRom,
    /// The network, by an option ROM: `n`.
    Network,
}

impl BootKind {
    /// The kind of a letter of a boot order.
    pub fn of_letter(letter: char) -> Option<Self> {
        Some(match letter {
            'a' => Self::Floppy,
            'c' => Self::HardDisk,
            'd' => Self::CdRom,
            'n' => Self::Network,
            _ => return None,
        })
    }
    /// As DL of service 0102h has it.
    fn code(self) -> u8 {
        match self {
            Self::Floppy => 0,
            Self::HardDisk => FIRST_DISK,
            Self::CdRom => FIRST_CD,
            Self::Network => 0xFE,
        }
    }
    fn name(self) -> &'static str {
        match self {
            Self::Floppy => "Floppy",
            Self::HardDisk => "Hard disk",
            Self::CdRom => "CD-ROM",
            Self::Network => "Network",
        }
    }
}

/// What the configuration says about booting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootOrder {
    /// The kinds in their order.
    pub order: Vec<BootKind>,
    /// The order of the first start alone.
    pub once: Option<Vec<BootKind>>,
    /// Whether a menu is offered.
    pub menu: bool,
    /// How long the ROM waits for the key that opens it, in tenths of a second.
    pub prompt_tenths: u8,
}

impl Default for BootOrder {
    fn default() -> Self {
        let order = vec![BootKind::HardDisk, BootKind::CdRom, BootKind::Floppy, BootKind::Network];
        Self { order, once: None, menu: false, prompt_tenths: 0 }
    }
}

/// Why an entry cannot be booted from; the codes are AH of service 0101h.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum BootError {
    #[error("there is no such drive")]
    NoDrive,
    #[error("no medium in the drive")]
    NoMedium,
    #[error("sector 0 cannot be read")]
    Unreadable,
    #[error("no boot signature (55 AA) at the end of sector 0")]
    NoSignature,
    #[error("sector 0 holds no program: all its bytes are {0:02X}")]
    Blank(u8),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("no adapter with a boot ROM")]
    Network,
    #[error("the drive did not answer")]
    NoAnswer,
}

impl BootError {
    fn code(&self) -> u8 {
        match self {
            Self::NoDrive => 1,
            Self::NoMedium => 2,
            Self::Unreadable | Self::NoAnswer | Self::Catalog(CatalogError::Unreadable(_)) => 3,
            Self::NoSignature | Self::Blank(_) => 4,
            Self::Catalog(CatalogError::NoBootRecord) => 5,
            Self::Catalog(_) => 6,
            Self::Network => 0xFE,
        }
    }
}

/// AH of service 0101h for an entry that does not exist.
const NO_ENTRY: u8 = 0xFF;
/// Where boot sectors are loaded.
const BOOT_SECTOR: u16 = 0x7C00;

/// What a worker found on a CD.
#[derive(Serialize, Deserialize)]
struct CdImage {
    entry: BootEntry,
    geometry: Option<Geometry>,
    loaded: Vec<u8>,
}

impl BiosServices {
    /// The entries of the boot order: a kind, and which drive of it.
    pub(super) fn boot_entries(&self) -> Vec<(BootKind, u8)> {
        let first_start = self.starts <= 1;
        let order = self.boot.once.as_ref().filter(|_| first_start).unwrap_or(&self.boot.order);
        let mut entries = Vec::new();
        for kind in order {
            let drives = match kind {
                BootKind::Floppy => self.drives.floppies.len(),
                BootKind::HardDisk => self.drives.disks.len(),
                BootKind::CdRom => self.drives.cds.len(),
                BootKind::Network => 1,
            };
            // A kind without a drive has one entry, which says so when it is tried.
            entries.extend((0..drives.max(1)).map(|index| (*kind, index as u8)));
        }
        // AL counts them.
        entries.truncate(usize::from(NO_ENTRY));
        entries
    }

    /// Service 0101h.
    pub(super) fn boot_call(&mut self, frame: &mut Frame) -> Step {
        let number = frame.al();
        let Some((kind, index)) = self.boot_entries().get(usize::from(number)).copied() else {
            return self.boot_failed(frame, NO_ENTRY, "There is no such entry in the boot order");
        };
        // What was booted before is over.
        self.session = None;
        self.first_disk = if kind == BootKind::HardDisk { index } else { 0 };
        self.put_counts();
        let there = match kind {
            BootKind::Network => Err(BootError::Network),
            _ => match self.drive(kind, index) {
                None => Err(BootError::NoDrive),
                Some(drive) if drive.medium().is_none() => Err(BootError::NoMedium),
                Some(_) => Ok(()),
            },
        };
        match there {
            Ok(()) => Step::Wait(Work::Boot { entry: number }),
            Err(error) => self.boot_error(frame, kind, index, &error),
        }
    }
    fn drive(&self, kind: BootKind, index: u8) -> Option<&Drive> {
        let index = usize::from(index);
        match kind {
            BootKind::Floppy => self.drives.floppies.get(index).map(|drive| &drive.drive),
            BootKind::HardDisk => self.drives.disks.get(index).map(|drive| &drive.drive),
            BootKind::CdRom => self.drives.cds.get(index).map(|drive| &drive.drive),
            BootKind::Network => None,
        }
    }
    pub(super) fn boot_error(
        &mut self,
        frame: &mut Frame,
        kind: BootKind,
        index: u8,
        error: &BootError,
    ) -> Step {
        let text = match kind {
            BootKind::Network => format!("{}: {error}", kind.name()),
            _ => format!("{} {index}: {error}", kind.name()),
        };
        self.boot_failed(frame, error.code(), &text)
    }
    fn boot_failed(&self, frame: &mut Frame, code: u8, text: &str) -> Step {
        let (segment, offset) = put_message(&self.memory, text);
        frame.es = segment;
        frame.set_bx(offset);
        frame.set_ah(code);
        frame.set_carry(true);
        Step::Answered
    }

    /// What a worker does for service 0101h; nothing where the drive is empty by now.
    pub(super) fn boot_job(&self, entry: u8) -> Option<Job> {
        let (kind, index) = self.boot_entries().get(usize::from(entry)).copied()?;
        let volume = Volume::of(self.drive(kind, index)?)?;
        let limit = u64::from(ebda(&self.memory)) << 4;
        Some(Box::new(move || match kind {
            BootKind::CdRom => read_cd(&volume, limit),
            _ => read_sector(&volume),
        }))
    }

    /// A worker has read what entry `entry` boots from.
    pub(super) fn booted(&mut self, frame: &mut Frame, entry: u8, answer: &[u8]) {
        let Some((kind, index)) = self.boot_entries().get(usize::from(entry)).copied() else { return };
        let found = match kind {
            BootKind::CdRom => self.start_cd(frame, index, answer),
            _ => self.start_sector(frame, kind, answer),
        };
        match found {
            Ok(()) => frame.set_carry(false),
            Err(error) => _ = self.boot_error(frame, kind, index, &error),
        }
    }
    fn start_sector(&mut self, frame: &mut Frame, kind: BootKind, answer: &[u8]) -> Result<(), BootError> {
        let outcome = Outcome::of(answer);
        let sector = outcome.bytes;
        if outcome.status == Status::NotReady {
            return Err(BootError::NoAnswer);
        }
        if outcome.status != Status::Ok || sector.len() != SECTOR as usize {
            return Err(BootError::Unreadable);
        }
        if kind == BootKind::HardDisk && sector[510..] != [0x55, 0xAA] {
            return Err(BootError::NoSignature);
        }
        if sector.iter().all(|byte| *byte == sector[0]) {
            return Err(BootError::Blank(sector[0]));
        }
        self.write_buffer(real_mode(0, BOOT_SECTOR), sector);
        frame.es = 0;
        frame.set_bx(BOOT_SECTOR);
        frame.set_dl(kind.code());
        Ok(())
    }
    fn start_cd(&mut self, frame: &mut Frame, index: u8, answer: &[u8]) -> Result<(), BootError> {
        let answer: Result<CdImage, CatalogError> =
            postcard::from_bytes(answer).map_err(|_| BootError::NoAnswer)?;
        let CdImage { entry, geometry, loaded } = answer?;
        let device = self
            .drives
            .cds
            .get(usize::from(index))
            .and_then(|drive| drive.place)
            .map_or(0, |place| u16::from(place.channel) << 1 | u16::from(place.unit));
        let packet = Packet::of_entry(&entry, geometry, index, device);
        let emulating = entry.emulation != Emulation::None;
        self.session = Some(Session { cd: index, packet, emulating });
        self.put_counts();
        self.write_buffer(real_mode(entry.load_segment, 0), &loaded);
        frame.es = entry.load_segment;
        frame.set_bx(0);
        frame.set_dl(packet.drive);
        Ok(())
    }

    /// Service 0102h.
    pub(super) fn name_call(&mut self, frame: &mut Frame) -> Step {
        let Some((kind, index)) = self.boot_entries().get(usize::from(frame.al())).copied() else {
            return self.boot_failed(frame, NO_ENTRY, "There is no such entry in the boot order");
        };
        let at = usize::from(index);
        let size = self.drive(kind, index).map(|drive| drive.medium().map(|medium| medium.size()));
        let content = match size {
            None => "no drive".to_owned(),
            Some(None) => "no medium".to_owned(),
            Some(Some(bytes)) if bytes < 4 << 20 => format!("{} KiB", bytes >> 10),
            Some(Some(bytes)) => format!("{} MiB", bytes >> 20),
        };
        let place = match kind {
            BootKind::HardDisk => self.drives.disks.get(at).map(|drive| drive.place),
            BootKind::CdRom => self.drives.cds.get(at).map(|drive| drive.place),
            _ => None,
        };
        let text = match (kind, place) {
            (BootKind::Network, _) => kind.name().to_owned(),
            (_, Some(Some(place))) => format!("{} {index}: {place}, {content}", kind.name()),
            (_, Some(None)) => format!("{} {index}: virtio, {content}", kind.name()),
            (_, None) => format!("{} {index}: {content}", kind.name()),
        };
        let (segment, offset) = put_message(&self.memory, &text);
        frame.es = segment;
        frame.set_bx(offset);
        frame.set_dl(kind.code());
        frame.set_carry(false);
        Step::Answered
    }
    /// Service 0103h.
    pub(super) fn menu_call(&self, frame: &mut Frame) -> Step {
        frame.set_ah(self.boot.menu.into());
        frame.set_al(self.boot.prompt_tenths);
        frame.set_carry(false);
        Step::Answered
    }
    /// The drive that a target of a transfer names now.
    pub(super) fn target_volume(&self, target: Target) -> Option<Volume> {
        match target {
            Target::Floppy(index) => Volume::of(&self.drives.floppies.get(usize::from(index))?.drive),
            Target::Disk(index) => Volume::of(&self.drives.disks.get(usize::from(index))?.drive),
            Target::Cd(index) => Volume::of(&self.drives.cds.get(usize::from(index))?.drive),
            Target::Emulated => self.emulated_volume().map(|(volume, _)| volume),
        }
    }
}

fn read_sector(volume: &Volume) -> Vec<u8> {
    let first = Transfer { first: 0, count: 1, action: Action::Read };
    first.carry_out(volume)
}

fn read_cd(cd: &Volume, limit: u64) -> Vec<u8> {
    let read = || -> Result<CdImage, CatalogError> {
        let entry = find_entry(cd)?;
        let geometry = entry.disk(cd)?;
        Ok(CdImage { entry, geometry, loaded: entry.load(cd, limit)? })
    };
    // A value of ours can be written; without bytes the drive did not answer.
    postcard::to_stdvec(&read()).unwrap_or_default()
}
