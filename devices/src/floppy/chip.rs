//! Ports, resets and seeks.

use super::geometry::{DriveKind, Geometry};
use super::state::{FIFO_OFF, FloppyStateV1, Head, NOT_RESET, Phase};
use super::{FLOPPY_INPUT, FLOPPY_PORTS};
use crate::device::{Completion, Device, OutsideRef};
use crate::disk_work::Work;
use crate::dma8237::DmaChannel;
use crate::drive::{Drive, Medium, MediumError, RemovableDrives};
use crate::isa_cycles;
use crate::requests::MachineRequests;
use trimotor_bus::{GuestTime, IrqLine, Port, PortDevice, RestoreError, SaveState, Timed, Width};

/// Main status: the FIFO can be used.
const RQM: u8 = 1 << 7;
/// Main status: towards the host.
const DIO: u8 = 1 << 6;
/// Main status: data goes through the FIFO.
const NON_DMA: u8 = 1 << 5;
/// Main status: a command is under way.
const BUSY: u8 = 1 << 4;
/// Digital output: interrupts and DMA are let through.
const GATE: u8 = 1 << 3;
/// Data rate register: resets.
const RESET: u8 = 1 << 7;
/// CONFIGURE: drives are not polled.
const POLL_OFF: u8 = 1 << 4;
/// Nanoseconds from the end of a reset to its interrupt.
const RESET_NS: u64 = 20_000;
/// Nanoseconds of a seek, and of each step.
const SEEK_NS: u64 = 50_000;
const STEP_NS: u64 = 5_000;
/// The last track that a head can reach.
const LAST_TRACK: u8 = 83;

/// A drive at the controller.
pub(super) struct Unit {
    pub(super) drive: Drive,
    kind: DriveKind,
    /// Whether a failure of the host has been told since the last success.
    pub(super) told: bool,
}

/// The controller.
pub struct FloppyController {
    irq: IrqLine,
    pub(super) dma: DmaChannel,
    pub(super) outside: OutsideRef,
    pub(super) requests: MachineRequests,
    pub(super) units: [Option<Unit>; 2],
    pub(super) state: FloppyStateV1,
}

impl FloppyController {
    /// A controller with these drives, A: first.
    pub fn new(
        irq: IrqLine,
        dma: DmaChannel,
        outside: OutsideRef,
        requests: MachineRequests,
        drives: [Option<Drive>; 2],
    ) -> Self {
        let unit = |drive: Drive| Unit { kind: DriveKind::of(&drive), drive, told: false };
        let units = drives.map(|drive| drive.map(unit));
        Self { irq, dma, outside, requests, units, state: FloppyStateV1::new() }
    }
    pub(super) fn unit(&self, drive: u8) -> Option<&Unit> {
        self.units.get(usize::from(drive))?.as_ref()
    }
    pub(super) fn head(&mut self, drive: u8) -> &mut Head {
        &mut self.state.heads[usize::from(drive & 3)]
    }
    /// The medium in a drive, its geometry, and the cylinder under the head, where all fits together.
    pub(super) fn readable(&self, drive: u8) -> Option<(Medium, Geometry, u8)> {
        let unit = self.unit(drive)?;
        let medium = unit.drive.medium()?;
        let (geometry, rate) = unit.kind.reads(medium.size())?;
        let (track, steps) = (self.state.heads[usize::from(drive & 3)].track, unit.kind.steps(geometry));
        let cylinder = track / steps;
        let fits = rate == self.state.rate && cylinder < geometry.cylinders && track.is_multiple_of(steps);
        fits.then_some((medium, geometry, cylinder))
    }
    /// Puts the head on a cylinder, as an implied seek does.
    pub(super) fn implied_seek(&mut self, drive: u8, cylinder: u8) {
        let steps = self.unit(drive).and_then(|unit| {
            let (geometry, _) = unit.kind.reads(unit.drive.medium()?.size())?;
            Some(unit.kind.steps(geometry))
        });
        self.arrive(drive, cylinder.saturating_mul(steps.unwrap_or(1)));
    }

    /// Whether an interrupt waits.
    fn interrupts(&self) -> bool {
        let s = &self.state;
        let moves = matches!(s.phase, Phase::DataIn | Phase::DataOut);
        s.result_interrupt || moves || s.heads.iter().any(|head| head.interrupt.is_some())
    }
    pub(super) fn drive_irq(&self) {
        self.irq.set(self.state.output & GATE != 0 && self.interrupts());
    }

    fn main_status(&self) -> u8 {
        let s = &self.state;
        if s.output & NOT_RESET == 0 {
            return 0;
        }
        let seeks = s.heads.iter().enumerate().filter(|(_, head)| head.seek.is_some());
        let seeks = seeks.fold(0, |bits, (drive, _)| bits | 1 << drive);
        seeks
            | match s.phase {
                Phase::Command if s.command.is_empty() => RQM,
                Phase::Command => RQM | BUSY,
                Phase::Executing { .. } | Phase::Stopped { .. } => BUSY,
                Phase::Draining { .. } => 0,
                Phase::DataIn => RQM | DIO | NON_DMA | BUSY,
                Phase::DataOut => RQM | NON_DMA | BUSY,
                Phase::Result => RQM | DIO | BUSY,
            }
    }
    /// The change line of the selected drive.
    fn input(&self) -> u8 {
        let drive = self.state.output & 3;
        match self.unit(drive) {
            Some(unit) => {
                let head = &self.state.heads[usize::from(drive)];
                u8::from(head.changed || unit.drive.medium().is_none()) << 7
            }
            None => 0,
        }
    }
    fn write_output(&mut self, value: u8, now: GuestTime) {
        let before = std::mem::replace(&mut self.state.output, value);
        if value & NOT_RESET == 0 {
            self.soft_reset();
        } else if before & NOT_RESET == 0 {
            self.state.reset_ns = Some((now + RESET_NS).ns());
        }
    }
    /// A reset by software: what LOCK keeps stays.
    fn soft_reset(&mut self) {
        let old = std::mem::replace(&mut self.state, FloppyStateV1::new());
        let s = &mut self.state;
        if let Phase::Executing { token, due_ns } | Phase::Draining { token, due_ns } = old.phase {
            // Until then no command is taken, so that the next one finds the disk as this one leaves it.
            s.phase = Phase::Draining { token, due_ns };
        }
        (s.output, s.tape, s.rate, s.specify) = (old.output, old.tape, old.rate, old.specify);
        (s.heads, s.lock, s.next_request) = (old.heads, old.lock, old.next_request);
        s.perpendicular = old.perpendicular & !3;
        if old.lock {
            (s.configure, s.precompensation) = (old.configure, old.precompensation);
        } else {
            s.configure = FIFO_OFF;
        }
        for head in &mut s.heads {
            (head.seek, head.interrupt) = (None, None);
        }
    }
    /// The head comes to a track.
    pub(super) fn arrive(&mut self, drive: u8, track: u8) {
        let disk = self.unit(drive).is_some_and(|unit| unit.drive.medium().is_some());
        let head = self.head(drive);
        let track = track.min(LAST_TRACK);
        if head.track != track && disk {
            head.changed = false;
        }
        (head.track, head.cylinder) = (track, track);
    }
    /// Begins a seek.
    pub(super) fn seek(&mut self, drive: u8, cylinder: u8, now: GuestTime) {
        let head = self.head(drive);
        let steps = u64::from(head.track.abs_diff(cylinder));
        head.seek = Some((cylinder, (now + SEEK_NS + steps * STEP_NS).ns()));
    }
    fn end_seek(&mut self, drive: u8, cylinder: u8) {
        const SEEK_END: u8 = 0x20;
        // No drive says that its head is at track 0: status 0 tells of a failed recalibration.
        let failed = if self.unit(drive).is_none() && cylinder == 0 { 0x50 } else { 0 };
        self.arrive(drive, cylinder);
        let head = self.head(drive);
        head.cylinder = cylinder;
        (head.seek, head.interrupt) = (None, Some(SEEK_END | failed | drive));
    }

    fn read(&mut self, port: Port, now: GuestTime) -> u8 {
        match port.0.wrapping_sub(FLOPPY_PORTS.0) {
            0 => self.state.output,
            1 => 0xFC | self.state.tape,
            2 => self.main_status(),
            3 => self.read_fifo(now),
            _ if port == FLOPPY_INPUT => self.input(),
            _ => 0xFF,
        }
    }
    fn write(&mut self, port: Port, value: u8, now: GuestTime) {
        match port.0.wrapping_sub(FLOPPY_PORTS.0) {
            0 => self.write_output(value, now),
            1 => self.state.tape = value & 3,
            2 => {
                self.state.rate = value & 3;
                if value & RESET != 0 {
                    self.soft_reset();
                    self.state.reset_ns = Some((now + RESET_NS).ns());
                }
            }
            3 => self.write_fifo(value, now),
            _ if port == FLOPPY_INPUT => self.state.rate = value & 3,
            _ => {}
        }
    }
    fn read_fifo(&mut self, now: GuestTime) -> u8 {
        let s = &mut self.state;
        match s.phase {
            Phase::DataIn => {
                let byte = s.buffer.get(s.position as usize).copied().unwrap_or(0);
                s.position = s.position.saturating_add(1);
                if s.position as usize >= s.buffer.len() {
                    self.data_read();
                }
                byte
            }
            Phase::Result => {
                s.result_interrupt = false;
                let byte = s.result.get(usize::from(s.result_read)).copied().unwrap_or(0);
                s.result_read = s.result_read.saturating_add(1);
                if usize::from(s.result_read) >= s.result.len() {
                    self.idle();
                }
                _ = now;
                byte
            }
            _ => 0,
        }
    }
    /// Takes the next command.
    pub(super) fn idle(&mut self) {
        let s = &mut self.state;
        (s.phase, s.result_read, s.position, s.work) = (Phase::Command, 0, 0, Work::Nothing);
        (s.result_interrupt, s.terminal_count) = (false, false);
        s.command.clear();
        s.result.clear();
        s.buffer = Vec::new();
    }
    fn write_fifo(&mut self, value: u8, now: GuestTime) {
        let s = &mut self.state;
        if s.output & NOT_RESET == 0 {
            return;
        }
        match s.phase {
            Phase::Command => self.command_byte(value, now),
            Phase::DataOut => {
                let at = s.position as usize;
                if let Some(byte) = s.buffer.get_mut(at) {
                    *byte = value;
                }
                s.position = s.position.saturating_add(1);
                if s.position as usize >= s.buffer.len() {
                    self.data_written(now);
                }
            }
            _ => {}
        }
    }
}

impl PortDevice for FloppyController {
    fn port_read(&mut self, port: Port, width: Width, now: GuestTime) -> u32 {
        let value = isa_cycles::read_bytes(port, width, |port| self.read(port, now));
        self.drive_irq();
        value
    }
    fn port_write(&mut self, port: Port, width: Width, value: u32, now: GuestTime) {
        isa_cycles::write_bytes(port, width, value, |port, byte| self.write(port, byte, now));
        self.drive_irq();
    }
}

impl Timed for FloppyController {
    fn next_event(&self) -> Option<GuestTime> {
        let s = &self.state;
        let seeks = s.heads.iter().filter_map(|head| head.seek.map(|(_, at)| at));
        let retry = match s.phase {
            Phase::Stopped { retry_ns } => Some(retry_ns),
            _ => None,
        };
        seeks.chain(s.reset_ns).chain(retry).min().map(GuestTime)
    }
    fn advance(&mut self, now: GuestTime) {
        if self.state.reset_ns.is_some_and(|at| at <= now.ns()) {
            self.state.reset_ns = None;
            if self.state.configure & POLL_OFF == 0 {
                // Each drive has become ready.
                for (drive, head) in self.state.heads.iter_mut().enumerate() {
                    head.interrupt = Some(0xC0 | drive as u8);
                }
            }
        }
        for drive in 0..4 {
            if let Some((cylinder, at)) = self.head(drive).seek
                && at <= now.ns()
            {
                self.end_seek(drive, cylinder);
            }
        }
        if let Phase::Stopped { retry_ns } = self.state.phase
            && retry_ns <= now.ns()
        {
            self.begin(self.state.work, now);
        }
        self.drive_irq();
    }
}

impl Completion for FloppyController {
    fn complete(&mut self, token: u64, result: &[u8], now: GuestTime) {
        match self.state.phase {
            Phase::Executing { token: awaited, .. } if awaited == token => self.completed(result, now),
            Phase::Draining { token: awaited, .. } if awaited == token => self.state.phase = Phase::Command,
            _ => {}
        }
        self.drive_irq();
    }
}

impl RemovableDrives for FloppyController {
    fn change_medium(
        &mut self,
        id: &str,
        medium: Option<Medium>,
        _force: bool,
        _now: GuestTime,
    ) -> Result<(), MediumError> {
        let named = |unit: &Option<Unit>| unit.as_ref().is_some_and(|unit| unit.drive.config().id == id);
        let Some(drive) = self.units.iter().position(named) else {
            let known: Vec<_> =
                self.units.iter().flatten().map(|unit| unit.drive.config().id.clone()).collect();
            return Err(MediumError::NoDrive { id: id.to_owned(), known: known.join(", ") });
        };
        // No guest can hold a floppy disk.
        if let Some(unit) = &self.units[drive] {
            unit.drive.set_medium(medium);
        }
        self.state.heads[drive].changed = true;
        Ok(())
    }
}

impl Device for FloppyController {
    fn reset(&mut self, _now: GuestTime) {
        let heads = self.state.heads;
        let next_request = self.state.next_request;
        self.state = FloppyStateV1::new();
        self.state.next_request = next_request;
        // Heads stay where they are, and so do change lines.
        for (head, old) in self.state.heads.iter_mut().zip(heads) {
            (head.track, head.changed) = (old.track, old.changed);
        }
        self.drive_irq();
    }
    fn info(&self) -> String {
        let drives = self.units.iter().flatten().map(|unit| {
            let disk = if unit.drive.medium().is_some() { "disk" } else { "empty" };
            format!("{} {:?} {disk}", unit.drive.config().id, unit.kind)
        });
        let drives: Vec<_> = drives.collect();
        if drives.is_empty() { "no drives".to_owned() } else { drives.join(", ") }
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
    fn timed(&mut self) -> Option<&mut dyn Timed> {
        Some(self)
    }
    fn removable_drives(&mut self) -> Option<&mut dyn RemovableDrives> {
        Some(self)
    }
    fn completion(&mut self) -> Option<&mut dyn Completion> {
        Some(self)
    }
}

impl SaveState for FloppyController {
    type State = FloppyStateV1;
    fn save(&self) -> FloppyStateV1 {
        let Self { irq: _, dma: _, outside: _, requests: _, units: _, state } = self;
        state.clone()
    }
    fn restore(&mut self, state: FloppyStateV1) -> Result<(), RestoreError> {
        state.check()?;
        self.state = state;
        self.drive_irq();
        // Workers know nothing of a request that another machine began.
        if let Phase::Executing { token, due_ns } | Phase::Draining { token, due_ns } = self.state.phase {
            self.send(token, GuestTime(due_ns));
        }
        Ok(())
    }
}
