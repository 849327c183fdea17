//! How the parts and blocks of a transfer follow each other, and what follows a failure.

use super::bus_master::{Dma, DmaEnd};
use super::registers::*;
use super::state::{Phase, Purpose, Transfer};
use super::unit::{CD_SECTOR, MAX_PART, SECTOR, Unit};
use crate::disk_work::{Follows, Outcome, RETRY_NS, Work, follows};
use trimotor_bus::GuestTime;

impl Unit {
    pub(super) fn sector_bytes(&self) -> u64 {
        if self.atapi.is_some() { CD_SECTOR } else { SECTOR }
    }

    /// Begins a transfer of sectors.
    pub(super) fn start(&mut self, transfer: Transfer, dma: &mut Dma<'_>, now: GuestTime) {
        self.transfer = transfer;
        self.buffer = Vec::new();
        (self.position, self.block_end) = (0, 0);
        self.next_part(dma, now);
    }
    /// Gives the host what is in `reply`, in blocks of at most `block` bytes.
    pub(super) fn start_reply(
        &mut self,
        reply: Vec<u8>,
        block: u32,
        by_dma: bool,
        dma: &mut Dma<'_>,
        now: GuestTime,
    ) {
        self.transfer = Transfer { purpose: Purpose::Reply, dma: by_dma, block, ..Transfer::default() };
        self.buffer = reply;
        (self.position, self.block_end) = (0, 0);
        if self.buffer.is_empty() {
            self.finish(0);
        } else if by_dma {
            self.phase = Phase::Dma;
            self.bus_master(dma, now);
        } else {
            self.next_block();
        }
    }
    /// Takes `bytes` bytes from the host.
    pub(super) fn start_taking(
        &mut self,
        purpose: Purpose,
        bytes: usize,
        by_dma: bool,
        dma: &mut Dma<'_>,
        now: GuestTime,
    ) {
        self.transfer = Transfer { purpose, dma: by_dma, block: bytes as u32, ..Transfer::default() };
        self.buffer = vec![0; bytes];
        (self.position, self.block_end) = (0, 0);
        if by_dma {
            self.phase = Phase::Dma;
            self.bus_master(dma, now);
        } else {
            self.take_block(self.atapi.is_some());
        }
    }

    /// Begins the next part of the sectors that are left.
    fn next_part(&mut self, dma: &mut Dma<'_>, now: GuestTime) {
        let sector = self.sector_bytes();
        let t = &mut self.transfer;
        let most = match (t.single, t.purpose, t.dma) {
            (true, ..) => 1,
            (false, Purpose::Write, false) => u64::from(t.block) / SECTOR,
            (false, Purpose::Worker, _) => t.left.into(),
            _ => MAX_PART / sector,
        };
        t.part = u64::from(t.left).min(most.max(1)) as u32;
        let (offset, bytes) = (t.sector.saturating_mul(sector), u64::from(t.part) * sector);
        match (t.purpose, t.dma) {
            (Purpose::Read, _) => self.begin(Work::Read { offset, bytes: bytes as u32 }, now),
            (Purpose::Worker, _) => self.begin(Work::Verify { offset, bytes }, now),
            (Purpose::Write, true) => {
                self.phase = Phase::Dma;
                self.bus_master(dma, now);
            }
            (Purpose::Write, false) => {
                let first = self.buffer.is_empty();
                self.buffer = vec![0; bytes as usize];
                self.position = 0;
                self.take_block(!first);
            }
            _ => self.finish(0),
        }
    }
    /// The host may read the next block.
    fn next_block(&mut self) {
        let left = self.buffer.len().saturating_sub(self.position);
        let bytes = left.min(self.transfer.block as usize);
        self.block_end = self.position + bytes;
        if self.atapi.is_some() {
            self.task.count[0] = REASON_TO_HOST;
            [self.task.lba_mid[0], self.task.lba_high[0]] = (bytes as u16).to_le_bytes();
        }
        self.phase = Phase::DataIn;
        self.intrq = true;
    }
    /// The host must write a block. It is told of the first one of a disk's command by the status alone.
    fn take_block(&mut self, tell: bool) {
        self.block_end = self.buffer.len();
        if self.atapi.is_some() {
            self.task.count[0] = 0;
            [self.task.lba_mid[0], self.task.lba_high[0]] = (self.block_end as u16).to_le_bytes();
        }
        self.phase = Phase::DataOut;
        self.intrq |= tell;
    }
    /// Looks whether the host has moved a block.
    pub(super) fn after_data(&mut self, dma: &mut Dma<'_>, now: GuestTime) {
        if self.position < self.block_end {
            return;
        }
        match self.phase {
            Phase::DataIn if self.position < self.buffer.len() => self.next_block(),
            Phase::DataIn if self.transfer.purpose == Purpose::Read => self.part_done(dma, now),
            Phase::DataIn => {
                // The host has read the last byte: a disk says no more, a packet device how the command ended.
                let intrq = self.intrq || self.atapi.is_some();
                self.finish(0);
                self.intrq = intrq;
            }
            Phase::DataOut => self.taken(now),
            Phase::Packet => self.packet_command(dma, now),
            _ => {}
        }
    }
    /// All that the host writes at this time is in the buffer.
    fn taken(&mut self, now: GuestTime) {
        match self.transfer.purpose {
            Purpose::Write => {
                let offset = self.transfer.sector.saturating_mul(SECTOR);
                let through = self.transfer.through || !self.settings.write_cache;
                self.begin(Work::Write { offset, through }, now);
            }
            Purpose::TrimList => self.trim(now),
            Purpose::SectorBuffer => {
                self.settings.sector_buffer.clone_from(&self.buffer);
                self.settings.sector_buffer.resize(SECTOR as usize, 0);
                self.finish(0);
            }
            Purpose::Parameters => self.take_parameters(),
            _ => self.refuse(),
        }
    }
    /// The bus master moves what it can.
    pub(super) fn bus_master(&mut self, dma: &mut Dma<'_>, now: GuestTime) {
        if self.phase != Phase::Dma || !dma.channel.active() {
            return;
        }
        let to_host = matches!(self.transfer.purpose, Purpose::Read | Purpose::Reply);
        if self.transfer.purpose == Purpose::Write {
            let bytes = u64::from(self.transfer.part) * SECTOR;
            self.buffer = vec![0; bytes.min(MAX_PART) as usize];
        }
        let end = if to_host { dma.write_memory(&self.buffer) } else { dma.read_memory(&mut self.buffer) };
        match end {
            DmaEnd::TableEnded | DmaEnd::Failed => self.phase = Phase::DmaEnded,
            DmaEnd::Done if self.transfer.purpose == Purpose::Read => self.part_done(dma, now),
            DmaEnd::Done if to_host => self.finish(0),
            DmaEnd::Done => self.taken(now),
        }
    }

    /// A worker's answer.
    pub(super) fn complete(&mut self, token: u64, answer: &[u8], dma: &mut Dma<'_>, now: GuestTime) {
        match self.phase {
            Phase::Draining { token: awaited, .. } if awaited == token => self.phase = Phase::Idle,
            Phase::Working { token: awaited, .. } if awaited == token => match Outcome::of(answer) {
                Outcome::Done(data) => {
                    self.told = false;
                    self.worked(data, dma, now);
                }
                failure => self.failed(&failure, dma, now),
            },
            _ => {}
        }
    }
    /// The worker has done its part.
    fn worked(&mut self, data: &[u8], dma: &mut Dma<'_>, now: GuestTime) {
        match self.work {
            Work::Read { bytes, .. } => {
                self.buffer = data.to_vec();
                self.buffer.resize(bytes as usize, 0);
                (self.position, self.block_end) = (0, 0);
                if self.transfer.dma {
                    self.phase = Phase::Dma;
                    self.bus_master(dma, now);
                } else {
                    self.next_block();
                }
            }
            Work::Write { .. } | Work::Verify { .. } => self.part_done(dma, now),
            Work::Flush | Work::Trim | Work::Fill | Work::Nothing | Work::Discard | Work::Zero { .. } => {
                self.finish(0);
            }
        }
    }
    fn part_done(&mut self, dma: &mut Dma<'_>, now: GuestTime) {
        let t = &mut self.transfer;
        t.sector = t.sector.saturating_add(t.part.into());
        t.left = t.left.saturating_sub(t.part.max(1));
        if t.left > 0 {
            return self.next_part(dma, now);
        }
        // The host has read the last block: it needs no interrupt to know. Packet devices say how the command ended.
        let intrq = t.purpose != Purpose::Read || t.dma || self.atapi.is_some() || self.intrq;
        self.tell_address(self.transfer.sector.saturating_sub(1));
        self.finish(0);
        self.intrq = intrq;
    }

    /// The host could not do it.
    fn failed(&mut self, failure: &Outcome<'_>, dma: &mut Dma<'_>, now: GuestTime) {
        let (work, told) = (self.work, &mut self.told);
        let by_host = matches!(failure, Outcome::NoSpace | Outcome::Failed(_));
        match follows(self.wires.drive.config(), work, failure, told, &self.wires.requests) {
            Follows::Again => self.phase = Phase::Stopped { retry_ns: (now + RETRY_NS).ns() },
            Follows::Success => self.worked(&[], dma, now),
            Follows::Error if by_host && self.transfer.part > 1 && !work.writes() => {
                // What comes before the sector that fails is moved, and that sector is named.
                self.transfer.single = true;
                self.next_part(dma, now);
            }
            Follows::Error => self.fail(failure),
        }
    }
    /// The guest sees an error.
    fn fail(&mut self, failure: &Outcome<'_>) {
        let writes = self.work.writes();
        let count = if writes { &mut self.settings.write_errors } else { &mut self.settings.read_errors };
        *count = count.saturating_add(1);
        if self.atapi.is_some() {
            return self.medium_failed(*failure == Outcome::NoMedium);
        }
        let sector = self.transfer.sector;
        let error = match (writes, failure) {
            (true, Outcome::ReadOnly) => UNC | ABRT,
            (true, _) => ABRT,
            (false, _) => UNC,
        };
        self.tell_address(sector);
        self.finish(error);
    }
    /// Has the request that the pause held up done again.
    pub(super) fn advance(&mut self, now: GuestTime) {
        if self.next_event().is_some_and(|at| at <= now) {
            self.begin(self.work, now);
        }
    }
}
