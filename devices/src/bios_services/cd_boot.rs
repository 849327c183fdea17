//! INT 13h for CD-ROM drives and for disks that are emulated from an image on a CD (El Torito, "INT 13 functions").
//!
//! | AH | function |
//! |---|---|
//! | 4Ah | begin the emulation that the specification packet at DS:SI describes |
//! | 4Bh | end the emulation (AL = 0), and tell its specification packet |
//! | 4Ch | begin an emulation and start its image |
//! | 4Dh | read sectors of the boot catalog |
//!
//! Of a CD without an emulated disk the other functions are EDD's, with sectors of 2048 bytes; there is no access by cylinder, head and
//! sector. An emulated disk has the functions of the PC AT, and nothing can be written to it.

use super::drives::{FIRST_CD, FIRST_DISK, Volume};
use super::el_torito::{BootEntry, Emulation};
use super::frame::{Frame, real_mode};
use super::geometry::{Geometry, format_of_drive};
use super::low_memory::{DISK_STATUS, FLOPPY_STATUS, read_byte};
use super::request::{Step, Work};
use super::status::Status;
use super::transfer::{Action, Transfer};
use super::{BiosServices, Target};
use trimotor_bus::{DmaBus, PhysAddr};

/// Bytes of a specification packet, which are also its first byte.
const PACKET_BYTES: u8 = 0x13;
/// Bytes of the packet of function 4Dh.
const CATALOG_PACKET_BYTES: u8 = 8;
/// DL of function 4Bh that means all emulated drives.
const ALL_DRIVES: u8 = 0x7F;

/// A specification packet (El Torito, figure 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// What is emulated, as in the boot catalog.
    pub media_type: u8,
    /// The emulated drive's number, or the CD's.
    pub drive: u8,
    /// Which controller the CD-ROM drive is at.
    pub controller: u8,
    /// The sector of the CD where the image begins.
    pub image: u32,
    /// Which drive of the controller: for IDE, bit 0 is set for a slave.
    pub device: u16,
    /// A segment that sectors of the CD are kept in; zero for none.
    pub buffer_segment: u16,
    /// The segment to load the image's beginning to.
    pub load_segment: u16,
    /// Sectors of 512 bytes to load.
    pub load_sectors: u16,
    /// CH and CL of function 08h for the emulated drive.
    pub last_sector: [u8; 2],
    /// DH of function 08h for it.
    pub last_head: u8,
}

/// The CD that was booted from, and the disk that is emulated from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// The CD-ROM drive.
    pub cd: u8,
    /// What is told of it.
    pub packet: Packet,
    /// Whether a disk is emulated now.
    pub emulating: bool,
}

impl Packet {
    /// What a catalog's entry says, of CD-ROM drive `cd`.
    pub fn of_entry(entry: &BootEntry, geometry: Option<Geometry>, cd: u8, device: u16) -> Self {
        let drive = match entry.emulation {
            Emulation::None => FIRST_CD.wrapping_add(cd),
            Emulation::Floppy(_) => 0,
            Emulation::HardDisk => FIRST_DISK,
        };
        let (last, last_head) = geometry.map_or((0, 0), |geometry| geometry.last());
        let [low, high] = last.to_le_bytes();
        Self {
            media_type: entry.media_type,
            drive,
            controller: (device >> 1) as u8,
            image: entry.image,
            device: device & 1,
            buffer_segment: 0,
            load_segment: entry.load_segment,
            load_sectors: entry.load_sectors,
            last_sector: [high, low],
            last_head,
        }
    }
    fn read(bytes: &[u8; PACKET_BYTES as usize]) -> Option<Self> {
        if bytes[0] < PACKET_BYTES {
            return None;
        }
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Some(Self {
            media_type: bytes[1],
            drive: bytes[2],
            controller: bytes[3],
            image: u32::from(word(4)) | u32::from(word(6)) << 16,
            device: word(8),
            buffer_segment: word(10),
            load_segment: word(12),
            load_sectors: word(14),
            last_sector: [bytes[16], bytes[17]],
            last_head: bytes[18],
        })
    }
    fn bytes(&self) -> [u8; PACKET_BYTES as usize] {
        let mut bytes = [0; PACKET_BYTES as usize];
        bytes[..4].copy_from_slice(&[PACKET_BYTES, self.media_type, self.drive, self.controller]);
        bytes[4..8].copy_from_slice(&self.image.to_le_bytes());
        let words = [self.device, self.buffer_segment, self.load_segment, self.load_sectors];
        for (index, word) in words.into_iter().enumerate() {
            bytes[8 + 2 * index..][..2].copy_from_slice(&word.to_le_bytes());
        }
        bytes[16..].copy_from_slice(&[self.last_sector[0], self.last_sector[1], self.last_head]);
        bytes
    }
    /// What is emulated; `None` for a media type that there is not.
    pub fn emulation(&self) -> Option<Emulation> {
        Some(match self.media_type & 0x0F {
            0 => Emulation::None,
            1 => Emulation::Floppy(2),
            2 => Emulation::Floppy(4),
            3 => Emulation::Floppy(5),
            4 => Emulation::HardDisk,
            _ => return None,
        })
    }
    /// The emulated disk's geometry.
    fn geometry(&self) -> Geometry {
        let cylinder = u32::from(self.last_sector[0]) | u32::from(self.last_sector[1] & 0xC0) << 2;
        Geometry {
            cylinders: cylinder + 1,
            heads: u32::from(self.last_head) + 1,
            sectors: (self.last_sector[1] & 0x3F).max(1).into(),
        }
    }
}

impl Session {
    /// Whether the disk of this number is emulated.
    pub fn emulates(&self, drive: u8) -> bool {
        self.emulating && self.packet.drive == drive
    }
}

impl BiosServices {
    /// A call for CD-ROM drive `index`.
    pub(super) fn cd_call(&mut self, frame: &mut Frame, index: u8) -> Step {
        let Some(drive) = self.drives.cds.get(usize::from(index)) else {
            return Step::Done(Status::BadCommand);
        };
        let volume = Volume::of(&drive.drive);
        match frame.ah() {
            0x00 | 0x09 | 0x0D | 0x11 => Step::Done(Status::Ok),
            0x10 => Step::Done(if volume.is_some() { Status::Ok } else { Status::NotReady }),
            0x01 => {
                let status = read_byte(&self.memory, DISK_STATUS);
                frame.set_ah(status);
                frame.set_carry(status != 0);
                Step::Answered
            }
            0x03 | 0x05 => Step::Done(Status::WriteProtected),
            0x41.. => self.extended_call(frame, Target::Cd(index), volume.as_ref()),
            _ => Step::Done(Status::BadCommand),
        }
    }

    /// A call for the disk that is emulated.
    pub(super) fn emulated_call(&mut self, frame: &mut Frame) -> Step {
        let Some((volume, geometry)) = self.emulated_volume() else { return Step::Done(Status::NotReady) };
        let floppy = frame.drive < FIRST_DISK;
        match frame.ah() {
            0x03 | 0x05 => Step::Done(Status::WriteProtected),
            0x01 if floppy => {
                let status = read_byte(&self.memory, FLOPPY_STATUS);
                frame.set_ah(status);
                frame.set_carry(status != 0);
                Step::Answered
            }
            0x08 if floppy => {
                let Some(Emulation::Floppy(drive_type)) = self.session.and_then(|s| s.packet.emulation())
                else {
                    return Step::Done(Status::BadCommand);
                };
                let step = self.chs_call(frame, Target::Emulated, &volume, geometry);
                let count = self.floppy_count();
                if let Some(format) = format_of_drive(drive_type) {
                    let (segment, offset) = self.put_parameters(0, format);
                    frame.es = segment;
                    frame.set_di(offset);
                }
                frame.set_ax(0);
                frame.set_bx(drive_type.into());
                frame.set_dl(count);
                step
            }
            // It never changes.
            0x15 if floppy => {
                frame.set_ah(1);
                frame.set_carry(false);
                Step::Answered
            }
            0x16 if floppy => Step::Done(Status::Ok),
            0x00..=0x40 => self.chs_call(frame, Target::Emulated, &volume, geometry),
            _ => Step::Done(Status::BadCommand),
        }
    }
    /// The disk that is emulated, if there is one and its CD is in the drive.
    pub(super) fn emulated_volume(&self) -> Option<(Volume, Geometry)> {
        let session = self.session.filter(|session| session.emulating)?;
        let medium = self.drives.cds.get(usize::from(session.cd))?.drive.medium()?;
        let geometry = session.packet.geometry();
        Some((Volume::image(medium, session.packet.image, geometry.total()), geometry))
    }

    /// Functions 4Ah to 4Dh.
    pub(super) fn emulation_call(&mut self, frame: &mut Frame) -> Step {
        if self.drives.cds.is_empty() {
            return Step::Done(Status::BadCommand);
        }
        let at = frame.ds_si();
        match frame.ah() {
            0x4A | 0x4C => {
                let mut bytes = [0; PACKET_BYTES as usize];
                self.memory.dma_read(at, &mut bytes);
                let packet = Packet::read(&bytes).filter(|packet| packet.emulation().is_some());
                let Some(packet) = packet else { return Step::Done(Status::BadCommand) };
                Step::Wait(Work::Emulate { packet, start: frame.ah() == 0x4C })
            }
            0x4B => self.end_emulation(frame, at),
            _ => self.read_catalog(frame, at),
        }
    }
    fn end_emulation(&mut self, frame: &Frame, at: PhysAddr) -> Step {
        let drive = frame.drive;
        let Some(session) = &mut self.session else { return Step::Done(Status::BadCommand) };
        if frame.al() > 1 || (drive != ALL_DRIVES && drive != session.packet.drive) {
            return Step::Done(Status::BadCommand);
        }
        let bytes = session.packet.bytes();
        if frame.al() == 0 {
            session.emulating = false;
            self.put_counts();
        }
        self.memory.dma_write(at, &bytes);
        Step::Done(Status::Ok)
    }
    fn read_catalog(&mut self, frame: &Frame, at: PhysAddr) -> Step {
        let mut bytes = [0; CATALOG_PACKET_BYTES as usize];
        self.memory.dma_read(at, &mut bytes);
        let cd = match self.session {
            Some(session) => session.cd,
            None => frame.drive.saturating_sub(FIRST_CD),
        };
        if bytes[0] < CATALOG_PACKET_BYTES || bytes[1] == 0 || frame.al() != 0 {
            return Step::Done(Status::BadCommand);
        }
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let buffer = real_mode(word(4), word(2));
        Step::Wait(Work::Catalog { cd, first: word(6), count: bytes[1], buffer })
    }

    /// The image was read: the emulation begins, and with function 4Ch the image is started.
    pub(super) fn begin_emulation(
        &mut self,
        frame: &mut Frame,
        packet: Packet,
        start: bool,
        image: &[u8],
    ) -> Status {
        let Some(cd) = self.cd_of_packet(&packet) else { return Status::BadCommand };
        let emulating = packet.emulation().is_some_and(|emulation| emulation != Emulation::None);
        self.session = Some(Session { cd, packet, emulating });
        self.put_counts();
        if start {
            self.write_buffer(real_mode(packet.load_segment, 0), image);
            (frame.cs, frame.ip) = (packet.load_segment, 0);
            frame.set_dl(packet.drive);
        }
        Status::Ok
    }
    /// The CD-ROM drive that a packet names by its controller and device.
    pub(super) fn cd_of_packet(&self, packet: &Packet) -> Option<u8> {
        let place = |drive: &super::drives::DiskDrive| {
            drive.place.map(|place| (place.channel, u16::from(place.unit)))
        };
        let wanted = Some((packet.controller, packet.device & 1));
        self.drives.cds.iter().position(|drive| place(drive) == wanted).map(|index| index as u8)
    }
}

/// Reads an image's beginning as a packet says: what a worker does for functions 4Ah and 4Ch. The answer is that of a transfer.
pub(super) fn carry_out_load(cd: &Volume, packet: &Packet, start: bool, limit: u64) -> Vec<u8> {
    let Some(emulation) = packet.emulation() else { return vec![Status::BadCommand as u8, 0, 0] };
    let load_sectors = if start { packet.load_sectors.max(1) } else { 1 };
    let Packet { media_type, load_segment, image, .. } = *packet;
    let entry = BootEntry { emulation, media_type, load_segment, load_sectors, image };
    match entry.load(cd, limit) {
        Ok(mut loaded) => {
            let mut answer = vec![Status::Ok as u8, 0, 0];
            answer.append(&mut loaded);
            answer
        }
        Err(_) => vec![Status::UnsupportedMedium as u8, 0, 0],
    }
}

/// Reads sectors of a CD's boot catalog: what a worker does for function 4Dh.
pub(super) fn carry_out_catalog(cd: &Volume, first: u16, count: u8) -> Vec<u8> {
    match super::el_torito::find_catalog(cd) {
        Ok(at) => {
            let first = u64::from(at) + u64::from(first);
            Transfer { first, count: count.into(), action: Action::Read }.carry_out(cd)
        }
        Err(_) => vec![Status::UnsupportedMedium as u8, 0, 0],
    }
}
