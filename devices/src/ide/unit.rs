//! One drive at a channel: its registers, and in which phase its command is.
//!
//! A command goes from phase to phase: a worker reads or writes a part of the medium (BSY), the host moves a block through the
//! data register (DRQ) or the bus master moves the part to memory, until nothing is left. What each
//! command does is in `ata.rs` and `atapi`, how parts follow each other in `transfer.rs`.

use super::atapi::Atapi;
use super::registers::*;
use super::state::{Phase, Settings, TaskFile, Transfer, UnitStateV1};
use crate::device::OutsideRef;
use crate::disk_work::Work;
use crate::drive::{Drive, Medium};
use crate::requests::MachineRequests;
use trimotor_bus::GuestTime;

/// Bytes of a sector of a disk.
pub(super) const SECTOR: u64 = 512;
/// Bytes of a sector of a CD.
pub(super) const CD_SECTOR: u64 = 2048;
/// Bytes that a request to a worker carries at most: a guest that asks for 32 MiB at once gets them in parts.
pub(super) const MAX_PART: u64 = 256 << 10;

/// What a drive is connected to.
pub(super) struct Wires {
    pub(super) drive: Drive,
    pub(super) outside: OutsideRef,
    pub(super) requests: MachineRequests,
    /// Tells requests of the controller's drives apart: channel and unit.
    pub(super) number: u8,
}

/// One drive.
pub(super) struct Unit {
    pub(super) wires: Wires,
    /// What makes it a packet device.
    pub(super) atapi: Option<Atapi>,
    /// Changes of the medium that the drive has noticed.
    pub(super) seen_changes: u64,
    /// Sectors of the disk; 0 for packet devices.
    pub(super) sectors: u64,
    /// Whether a failure of the host has been told since the last success.
    pub(super) told: bool,
    pub(super) task: TaskFile,
    /// The device asks for an interrupt.
    pub(super) intrq: bool,
    pub(super) phase: Phase,
    pub(super) work: Work,
    pub(super) transfer: Transfer,
    /// What goes between host and device, or device and worker.
    pub(super) buffer: Vec<u8>,
    /// Next byte of the buffer for the data register.
    pub(super) position: usize,
    /// End of the block that the host moves now.
    pub(super) block_end: usize,
    pub(super) settings: Settings,
    /// Number of the next request.
    pub(super) next_request: u64,
}

impl Unit {
    pub(super) fn new(wires: Wires) -> Self {
        let packet = wires.drive.config().media == crate::drive::Media::Cdrom;
        let sectors = match wires.drive.medium() {
            Some(medium) if !packet => medium.size() / SECTOR,
            _ => 0,
        };
        let atapi = packet.then(|| Atapi::new(wires.drive.medium().is_some()));
        let settings = Settings::new(sectors, wires.drive.config().write_through);
        let mut unit = Self {
            seen_changes: wires.drive.changes(),
            wires,
            atapi,
            sectors,
            told: false,
            task: TaskFile::default(),
            intrq: false,
            phase: Phase::Idle,
            work: Work::Nothing,
            transfer: Transfer::default(),
            buffer: Vec::new(),
            position: 0,
            block_end: 0,
            settings,
            next_request: 0,
        };
        unit.set_signature();
        unit
    }
    /// What is in the drive now.
    pub(super) fn medium(&self) -> Option<Medium> {
        self.wires.drive.medium()
    }

    /// The signature by which hosts tell disks from packet devices, and a diagnosis without findings.
    pub(super) fn set_signature(&mut self) {
        let (mid, high) = if self.atapi.is_some() { (0x14, 0xEB) } else { (0, 0) };
        let task = &mut self.task;
        (task.count, task.lba_low, task.lba_mid, task.lba_high) = ([1, 0], [1, 0], [mid, 0], [high, 0]);
        task.device &= DEV;
        task.error = DIAGNOSED;
        // A packet device is not ready for ATA commands until it has seen one of its own.
        task.status = if self.atapi.is_some() { 0 } else { READY };
    }
    /// Ends what is under way: a reset. A request that a worker has is waited for, so that the next
    /// one finds it done.
    pub(super) fn abort(&mut self) {
        self.phase = match self.phase {
            Phase::Working { token, due_ns } | Phase::Draining { token, due_ns } => {
                Phase::Draining { token, due_ns }
            }
            _ => Phase::Idle,
        };
        self.work = Work::Nothing;
        self.transfer = Transfer::default();
        self.buffer = Vec::new();
        (self.position, self.block_end) = (0, 0);
        self.intrq = false;
    }
    /// A reset through the device control register.
    pub(super) fn soft_reset(&mut self) {
        self.abort();
        self.settings.soft_reset();
        if let Some(atapi) = &mut self.atapi {
            atapi.reset();
        }
        self.set_signature();
    }
    /// A reset of the machine. The board has forgotten what workers do.
    pub(super) fn hard_reset(&mut self) {
        self.abort();
        self.phase = Phase::Idle;
        self.settings = Settings::new(self.sectors, self.wires.drive.config().write_through);
        if let Some(atapi) = &mut self.atapi {
            atapi.reset();
        }
        self.task = TaskFile::default();
        self.set_signature();
    }

    /// The status register.
    pub(super) fn status(&self) -> u8 {
        match self.phase {
            Phase::Idle => self.task.status,
            Phase::Working { .. } | Phase::Draining { .. } | Phase::Stopped { .. } | Phase::Dma => BSY,
            Phase::DataIn | Phase::DataOut | Phase::Packet => READY | DRQ,
            Phase::DmaEnded => READY | DRQ,
        }
    }
    /// Whether the device takes no command.
    pub(super) fn busy(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }
    /// When a request that the machine's pause held up is done again.
    pub(super) fn next_event(&self) -> Option<GuestTime> {
        match self.phase {
            Phase::Stopped { retry_ns } => Some(GuestTime(retry_ns)),
            _ => None,
        }
    }

    /// The command is done; with `error`, without success.
    pub(super) fn finish(&mut self, error: u8) {
        self.phase = Phase::Idle;
        self.task.error = error;
        self.task.status = READY | if error != 0 { ERR } else { 0 };
        if self.atapi.is_some() {
            self.task.count[0] = REASON_COMMAND | REASON_TO_HOST;
        }
        self.transfer = Transfer::default();
        self.work = Work::Nothing;
        self.buffer = Vec::new();
        (self.position, self.block_end) = (0, 0);
        self.intrq = true;
    }
    /// No such command, or not now.
    pub(super) fn refuse(&mut self) {
        self.finish(ABRT);
    }

    /// Has a worker do `work`, with what is in the buffer.
    pub(super) fn begin(&mut self, work: Work, now: GuestTime) {
        let due = self.wires.drive.due(work, &self.buffer, now);
        let token = self.next_request << 2 | u64::from(self.wires.number);
        self.next_request = (self.next_request + 1) & (u64::MAX >> 3);
        self.work = work;
        self.phase = Phase::Working { token, due_ns: due.ns() };
        self.send(token, due);
    }
    /// Gives the worker what is under way.
    pub(super) fn send(&self, token: u64, due: GuestTime) {
        let carries = matches!(self.work, Work::Write { .. } | Work::Trim);
        let data = if carries { self.buffer.clone() } else { Vec::new() };
        self.wires.drive.give(&self.wires.outside, token, due, self.work.job(self.medium(), data));
    }

    /// A word through the data register.
    pub(super) fn data_read(&mut self, bytes: usize) -> u32 {
        let value = (0..bytes).fold(0, |value, i| {
            let at = self.position + i;
            let byte = if at < self.block_end { self.buffer.get(at).copied().unwrap_or(0) } else { 0 };
            value | u32::from(byte) << (8 * i)
        });
        self.position = (self.position + bytes).min(self.block_end);
        value
    }
    pub(super) fn data_write(&mut self, bytes: usize, value: u32) {
        for i in 0..bytes {
            if self.position < self.block_end
                && let Some(byte) = self.buffer.get_mut(self.position)
            {
                *byte = (value >> (8 * i)) as u8;
                self.position += 1;
            }
        }
    }

    pub(super) fn save(&self) -> UnitStateV1 {
        let Self {
            wires: _,
            atapi,
            seen_changes: _,
            sectors: _,
            told: _,
            task,
            intrq,
            phase,
            work,
            transfer,
            buffer,
            position,
            block_end,
            settings,
            next_request,
        } = self;
        UnitStateV1 {
            task: task.clone().into(),
            intrq: *intrq,
            phase: *phase,
            work: *work,
            transfer: transfer.clone().into(),
            buffer: buffer.clone(),
            position: *position as u32,
            block_end: *block_end as u32,
            settings: settings.clone().into(),
            next_request: *next_request,
            atapi: atapi.clone().map(Into::into),
        }
    }
    /// Takes a state that [`UnitStateV1::check`] has accepted.
    pub(super) fn restore(&mut self, state: UnitStateV1) {
        let UnitStateV1 {
            task,
            intrq,
            phase,
            work,
            transfer,
            buffer,
            position,
            block_end,
            settings,
            next_request,
            atapi,
        } = state;
        (self.task, self.intrq, self.phase, self.work) = (task.into(), intrq, phase, work);
        (self.transfer, self.buffer, self.settings) = (transfer.into(), buffer, settings.into());
        (self.position, self.block_end) = (position as usize, block_end as usize);
        self.next_request = next_request;
        if let (Some(own), Some(state)) = (&mut self.atapi, atapi) {
            *own = state.into();
        }
        self.seen_changes = self.wires.drive.changes();
        // Workers know nothing of a request that another machine began.
        if let Phase::Working { token, due_ns } | Phase::Draining { token, due_ns } = self.phase {
            self.send(token, GuestTime(due_ns));
        }
    }
}
