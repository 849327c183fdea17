//! INT 13h from 41h on: Enhanced Disk Drive Specification (EDD) 3.0, for hard disks and CD-ROM drives.
//!
//! | AH | function | AH | function |
//! |---|---|---|---|
//! | 41h | are there extensions (BX is 55AAh) | 46h | eject |
//! | 42h, 43h, 44h | read, write, verify by packet | 48h | parameters of the drive |
//! | 45h | lock, unlock, is it locked | 49h | was the medium changed |
//! | 47h | seek | 4Eh | how the controller transfers |
//!
//! Functions 42h to 44h and 47h have a packet at DS:SI: its size, a zero, the number of sectors, a zero, offset and segment of
//! the buffer, the first sector (8 bytes), and in packets of 24 bytes whose buffer is FFFF:FFFF its 64-bit address.

use super::drives::Volume;
use super::edd::{self, DriveParameters};
use super::frame::{Frame, real_mode};
use super::low_memory::{self, read_word};
use super::request::{Destination, Step, Work};
use super::status::Status;
use super::transfer::{Action, Transfer};
use super::{BiosServices, Target};
use trimotor_bus::{DmaBus, PhysAddr};

/// The most sectors of a packet (EDD 3.0, "Device address packet").
const MAX_COUNT: u16 = 127;
/// Bytes of a packet, and of one with a 64-bit address.
const PACKET_BYTES: u8 = 16;
const LONG_PACKET_BYTES: u8 = 24;
/// The buffer of a packet that has a 64-bit address.
const FAR_ADDRESS: (u16, u16) = (0xFFFF, 0xFFFF);

/// A packet of functions 42h to 44h and 47h.
struct Packet {
    count: u16,
    buffer: PhysAddr,
    first: u64,
}

impl BiosServices {
    /// A call for a drive in which `volume` is.
    pub(super) fn extended_call(
        &mut self,
        frame: &mut Frame,
        target: Target,
        volume: Option<&Volume>,
    ) -> Step {
        match frame.ah() {
            0x41 if frame.bx() == 0x55AA => {
                frame.set_bx(0xAA55);
                frame.set_cx(edd::SUBSETS);
                frame.set_ah(edd::VERSION);
                frame.set_carry(false);
                self.set_last_status(frame.drive, Status::Ok);
                Step::Answered
            }
            0x42..=0x44 | 0x47 => self.packet_call(frame, target, volume),
            0x45 | 0x46 | 0x49 => match target {
                Target::Cd(cd) => self.removable_call(frame, cd),
                _ if frame.ah() == 0x49 => Step::Done(Status::Ok),
                _ => Step::Done(Status::NotRemovable),
            },
            0x48 => self.drive_parameters_call(frame, target, volume),
            // How a controller transfers: what is asked for leaves everything as it is.
            0x4E if matches!(frame.al(), 1 | 3 | 4 | 6) => {
                frame.set_al(0);
                Step::Done(Status::Ok)
            }
            _ => Step::Done(Status::BadCommand),
        }
    }

    fn read_packet(&self, at: PhysAddr) -> Option<Packet> {
        let mut bytes = [0; LONG_PACKET_BYTES as usize];
        self.memory.dma_read(at, &mut bytes);
        if bytes[0] < PACKET_BYTES {
            return None;
        }
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let quad = |at: usize| (0..8).fold(0, |value, i| value | u64::from(bytes[at + i]) << (8 * i));
        let (offset, segment) = (word(4), word(6));
        let far = (segment, offset) == FAR_ADDRESS && bytes[0] >= LONG_PACKET_BYTES;
        let buffer = if far { PhysAddr(quad(16)) } else { real_mode(segment, offset) };
        Some(Packet { count: word(2), buffer, first: quad(8) })
    }

    fn packet_call(&mut self, frame: &mut Frame, target: Target, volume: Option<&Volume>) -> Step {
        let at = frame.ds_si();
        let Some(packet) = self.read_packet(at) else { return Step::Done(Status::BadCommand) };
        let Some(volume) = volume else { return Step::Done(Status::NoMedium) };
        if let Target::Cd(cd) = target {
            self.note_cd_medium(cd);
        }
        let refuse = |status| {
            self.set_packet_count(at, 0);
            Step::Done(status)
        };
        if packet.first >= volume.sectors || packet.count > MAX_COUNT {
            return refuse(Status::BadCommand);
        }
        if frame.ah() == 0x47 || packet.count == 0 {
            return Step::Done(Status::Ok);
        }
        let bytes = usize::from(packet.count) * volume.sector_bytes as usize;
        let action = match (frame.ah(), frame.al()) {
            (0x42, _) => Action::Read,
            (0x44, _) => Action::Verify,
            (_, 0..=2) if volume.read_only() => return refuse(Status::WriteProtected),
            (_, verify @ 0..=2) => {
                Action::Write { bytes: self.read_buffer(packet.buffer, bytes), verify: verify == 2 }
            }
            _ => return refuse(Status::BadCommand),
        };
        let transfer = Transfer { first: packet.first, count: packet.count, action };
        let destination = Destination::Packet { buffer: packet.buffer, packet: at };
        Step::Wait(Work::Sectors { target, transfer, destination })
    }
    /// Tells in a packet how many sectors were moved.
    pub(super) fn set_packet_count(&self, packet: PhysAddr, count: u16) {
        self.memory.dma_write(packet.offset(2), &count.to_le_bytes());
    }

    fn drive_parameters_call(&self, frame: &mut Frame, target: Target, volume: Option<&Volume>) -> Step {
        let (drive, cd, table) = match target {
            Target::Disk(index) => {
                let offset = low_memory::DEVICE_PARAMETERS + 16 * u16::from(index & 7);
                let table = Some((low_memory::ebda(&self.memory), offset));
                let drive = self.drives.disks.get(usize::from(index));
                (drive, false, table.filter(|_| drive.is_some_and(|drive| drive.place.is_some())))
            }
            Target::Cd(index) => (self.drives.cds.get(usize::from(index)), true, None),
            _ => (None, false, None),
        };
        let Some(drive) = drive else { return Step::Done(Status::BadCommand) };
        let at = frame.ds_si();
        let room = read_word(&self.memory, at);
        let of = DriveParameters { drive, volume, cd, table };
        let Some(result) = edd::drive_parameters(&of, room) else { return Step::Done(Status::BadCommand) };
        self.memory.dma_write(at, &result);
        Step::Done(Status::Ok)
    }

    /// Functions 45h, 46h and 49h of CD-ROM drives.
    fn removable_call(&mut self, frame: &mut Frame, cd: u8) -> Step {
        let index = usize::from(cd);
        let (Some(drive), Some(state)) = (self.drives.cds.get(index), self.cds.get_mut(index)) else {
            return Step::Done(Status::BadCommand);
        };
        let drive = drive.drive.clone();
        Step::Done(match (frame.ah(), frame.al()) {
            (0x45, 0) if state.locks == u8::MAX => Status::LockCountExceeded,
            (0x45, request @ 0..=2) => {
                if request == 1 && state.locks == 0 {
                    return Step::Done(Status::NotLocked);
                }
                match request {
                    0 => state.locks += 1,
                    1 => state.locks -= 1,
                    _ => {}
                }
                let locked = state.locks > 0;
                frame.set_al(locked.into());
                Status::Ok
            }
            (0x46, 0) if state.locks > 0 => Status::Locked,
            (0x46, 0) if drive.medium().is_none() => Status::NoMedium,
            (0x46, 0) => {
                // The door opens; what the host had open for it may close.
                drop(drive.set_medium(None));
                Status::Ok
            }
            (0x49, _) => {
                if self.note_cd_medium(cd) {
                    Status::MediumChanged
                } else {
                    Status::Ok
                }
            }
            _ => Status::BadCommand,
        })
    }
    /// Notes which medium is in a CD-ROM drive now; returns whether it is another one than before.
    pub(super) fn note_cd_medium(&mut self, cd: u8) -> bool {
        let index = usize::from(cd);
        let (Some(drive), Some(state)) = (self.drives.cds.get(index), self.cds.get_mut(index)) else {
            return false;
        };
        let changed = state.watch.changed(&drive.drive);
        state.watch.settle(&drive.drive);
        changed
    }
}
