//! The saved state of a request under way, and of the CD that was booted from.

use super::Target;
use super::cd_boot::{Packet, Session};
use super::frame::Frame;
use super::request::{Destination, Request, Work};
use super::transfer::{Action, Transfer};
use crate::saved_state::{saved_state, saved_variants};
use trimotor_bus::{GuestTime, PhysAddr};

saved_state! {
    /// A call that waits for a worker.
    pub struct RequestStateV1 of Request {
        frame: FrameStateV1,
        work: WorkStateV1,
        due: GuestTime,
    }
}

saved_state! {
    /// The caller's registers.
    pub struct FrameStateV1 of Frame {
        at: PhysAddr,
        service: u16,
        drive: u8,
        edi: u32,
        esi: u32,
        ebp: u32,
        ebx: u32,
        edx: u32,
        ecx: u32,
        eax: u32,
        es: u16,
        ds: u16,
        ip: u16,
        cs: u16,
        flags: u16,
    }
}

saved_variants! {
    /// What the worker does.
    pub enum WorkStateV1 of Work {
        Sectors { target: TargetStateV1, transfer: TransferStateV1, destination: DestinationStateV1 },
        Boot { entry: u8 },
        Catalog { cd: u8, first: u16, count: u8, buffer: PhysAddr },
        Emulate { packet: PacketStateV1, start: bool },
    }
}

saved_variants! {
    /// The drive that the call is for.
    pub enum TargetStateV1 of Target {
        Floppy(index: u8),
        Disk(index: u8),
        Cd(index: u8),
        Emulated,
    }
}

saved_state! {
    /// Sectors of a volume, and what is done with them.
    pub struct TransferStateV1 of Transfer {
        first: u64,
        count: u16,
        action: ActionStateV1,
    }
}

saved_variants! {
    /// What is done with sectors.
    pub enum ActionStateV1 of Action {
        Read,
        Write { bytes: Vec<u8>, verify: bool },
        Verify,
        Fill(byte: u8),
    }
}

saved_variants! {
    /// What is done when they have been moved.
    pub enum DestinationStateV1 of Destination {
        Count { buffer: PhysAddr },
        Packet { buffer: PhysAddr, packet: PhysAddr },
        Nothing,
    }
}

saved_state! {
    /// The CD that was booted from.
    pub struct SessionStateV1 of Session {
        cd: u8,
        packet: PacketStateV1,
        emulating: bool,
    }
}

saved_state! {
    /// A specification packet.
    pub struct PacketStateV1 of Packet {
        media_type: u8,
        drive: u8,
        controller: u8,
        image: u32,
        device: u16,
        buffer_segment: u16,
        load_segment: u16,
        load_sectors: u16,
        last_sector: [u8; 2],
        last_head: u8,
    }
}
