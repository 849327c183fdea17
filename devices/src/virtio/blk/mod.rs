//! The virtio disk (virtio 1.2, 5.2).
//!
//! A request is a header (type, sector), data, and a byte for the status, in one buffer:
//!
//! | type | what | data |
//! |---|---|---|
//! | 0, 1 | read, write | whole sectors of 512 bytes |
//! | 4 | flush: what was written survives a crash of the host | |
//! | 8 | the serial number | 20 bytes |
//! | 11, 13 | discard, write zeroes | up to [`MOST_RANGES`] ranges of 16 bytes |
//!
//! All queues are alike: one a vCPU lets vCPUs not wait for each other. Requests complete in any order. Each is
//! checked when it is taken ([`request`]), and carried out by worker threads in parts of [`MOST_PART`] bytes (`work.rs`). What the
//! requests under way hold in memory is bounded by [`MOST_UNDER_WAY`]: others wait in their queues.
//!
//! The configuration has the capacity in sectors, the geometry that old software asks for, the sizes in which the host reads
//! and writes best, the limits of discards, and a byte by which the driver switches the write cache.
//!
//! A reset forgets requests. Those that workers are at still are waited for before the next one begins, which so finds the
//! disk as they leave it.
//!
//! Left out: barriers and SCSI commands of old drivers, lifetime, secure erase, zones.

mod config;
pub mod request;
mod work;

use super::device::{Kind, VirtioDevice};
use super::io::Io;
use super::queue::{Chain, RingError};
use crate::device::OutsideRef;
use crate::disk_work::{Outcome, Work, wide_ranges};
use crate::drive::Drive;
use crate::requests::MachineRequests;
use request::{Op, Phase, Request, RequestStateV1, Shared};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trimotor_bus::{GuestTime, RestoreError};

/// Ranges of a discard or a write of zeroes.
pub const MOST_RANGES: u32 = 16;
/// Sectors of such a range: 2 GiB.
pub const MOST_RANGE_SECTORS: u32 = 4 << 20;
/// Bytes that a worker is given at a time.
pub const MOST_PART: u64 = 1 << 20;
/// Bytes that requests under way hold; no new one is begun while they hold more.
pub const MOST_UNDER_WAY: u64 = 32 << 20;
/// Requests under way at most.
const MOST_REQUESTS: usize = 1024;
/// Numbers of requests begin anew behind this one.
const MOST_TOKEN: u64 = u64::MAX >> 1;
/// Bytes of the serial number.
const SERIAL_BYTES: usize = 20;
/// Bytes of a request's header.
const HEADER_BYTES: u64 = 16;
/// Bytes of a sector.
const SECTOR: u64 = 512;

/// Features.
pub mod feature {
    /// The configuration says how many segments a request has.
    pub const SEG_MAX: u64 = 1 << 2;
    /// It has a geometry.
    pub const GEOMETRY: u64 = 1 << 4;
    /// The disk is read-only.
    pub const RO: u64 = 1 << 5;
    /// It has a block size.
    pub const BLK_SIZE: u64 = 1 << 6;
    /// Flushes.
    pub const FLUSH: u64 = 1 << 9;
    /// It has sizes in which the host reads and writes best.
    pub const TOPOLOGY: u64 = 1 << 10;
    /// The write cache can be switched.
    pub const CONFIG_WCE: u64 = 1 << 11;
    /// Several queues.
    pub const MQ: u64 = 1 << 12;
    /// Discards.
    pub const DISCARD: u64 = 1 << 13;
    /// Writes of zeroes.
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// What the last byte of a request says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Ok = 0,
    Failed = 1,
    Unsupported = 2,
}

/// A virtio disk.
pub struct Blk {
    drive: Drive,
    outside: OutsideRef,
    requests: MachineRequests,

    queues: u16,
    queue_size: u16,
    /// In sectors.
    capacity: u64,

    /// The driver's choice, where it may choose: writes may lie in the host's memory.
    write_back: bool,
    /// By token.
    under_way: BTreeMap<u64, Request>,
    /// Requests of before a reset, which workers are at still, and when each is due.
    draining: BTreeMap<u64, u64>,
    next_token: u64,
    /// Queues with requests that wait for others.
    waiting: u64,
    /// Whether a failure of the host has been told since the last success.
    told: bool,
}

/// The saved state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkStateV1 {
    write_back: bool,
    under_way: BTreeMap<u64, RequestStateV1>,
    draining: BTreeMap<u64, u64>,
    next_token: u64,
    waiting: u64,
}

impl Blk {
    /// A disk with the content of `drive`, and so many queues.
    pub fn new(
        drive: Drive,
        outside: OutsideRef,
        requests: MachineRequests,
        queues: u16,
        queue_size: u16,
    ) -> Self {
        let capacity = drive.medium().map_or(0, |medium| medium.size() / SECTOR);
        Self {
            write_back: !drive.config().write_through,
            drive,
            outside,
            requests,
            queues,
            queue_size,
            capacity,
            under_way: BTreeMap::new(),
            draining: BTreeMap::new(),
            next_token: 0,
            waiting: 0,
            told: false,
        }
    }
    fn has_room(&self) -> bool {
        let held: u64 = self.under_way.values().map(Request::held).sum();
        held < MOST_UNDER_WAY && self.under_way.len() < MOST_REQUESTS && self.draining.is_empty()
    }
    /// Whether a write need not wait for the host to have it for good (5.2.6.2).
    fn may_keep_back(&self, features: u64) -> bool {
        if features & feature::CONFIG_WCE != 0 {
            self.write_back
        } else {
            features & feature::FLUSH != 0 && !self.drive.config().write_through
        }
    }

    /// Takes a request: carries it out, begins it, or refuses it.
    fn take(&mut self, queue: usize, chain: Chain, io: &mut Io<'_>, now: GuestTime) -> Option<()> {
        if chain.writable() == 0 {
            io.fail(RingError::Short);
            return None;
        }
        let mut header = [0; HEADER_BYTES as usize];
        io.read(chain.readable_segments(), 0, &mut header)?;
        let kind = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let sector = u64::from_le_bytes(std::array::from_fn(|i| header[8 + i]));
        let (to_read, to_write) = (chain.readable() - HEADER_BYTES, chain.writable() - 1);
        let features = io.features();
        let begun = match kind {
            0 => self.sectors(sector, to_write).map(|()| (Op::Read, to_write)),
            1 if self.is_read_only() => Err(Status::Failed),
            1 => self.sectors(sector, to_read).map(|()| (Op::Write, to_read)),
            4 => Ok((Op::Flush, 0)),
            8 => {
                let serial = self.serial();
                let bytes = to_write.min(SERIAL_BYTES as u64);
                io.write(chain.writable_segments(), 0, &serial[..bytes as usize])?;
                return self.end(queue, chain, Status::Ok, bytes, io);
            }
            11 if features & feature::DISCARD != 0 => Ok((Op::Discard, to_read)),
            13 if features & feature::WRITE_ZEROES != 0 => Ok((Op::Zero, to_read)),
            _ => Err(Status::Unsupported),
        };
        let (op, bytes) = match begun {
            Ok((Op::Read | Op::Write, 0)) => return self.end(queue, chain, Status::Ok, 0, io),
            Ok(begun) => begun,
            Err(status) => return self.end(queue, chain, status, 0, io),
        };
        let offset = if matches!(op, Op::Read | Op::Write) { sector * SECTOR } else { 0 };
        let mut request = Request::new(queue as u16, chain, op, offset, bytes);
        if matches!(op, Op::Discard | Op::Zero)
            && let Err(status) = self.read_ranges(&mut request, io)?
        {
            return self.end(queue, request.chain, status, 0, io);
        }
        let token = self.token();
        self.begin_part(token, &mut request, io, now)?;
        self.under_way.insert(token, request);
        Some(())
    }
    fn is_read_only(&self) -> bool {
        self.drive.medium().is_none_or(|medium| medium.limits().read_only)
    }
    fn serial(&self) -> [u8; SERIAL_BYTES] {
        let mut serial = [0; SERIAL_BYTES];
        let text = self.drive.config().serial.as_deref().unwrap_or(&self.drive.config().id);
        for (place, byte) in serial.iter_mut().zip(text.bytes()) {
            *place = byte;
        }
        serial
    }
    /// Whether so many bytes are whole sectors of the disk.
    fn sectors(&self, sector: u64, bytes: u64) -> Result<(), Status> {
        let end = sector.checked_add(bytes / SECTOR);
        let good = bytes.is_multiple_of(SECTOR) && end.is_some_and(|end| end <= self.capacity);
        if good { Ok(()) } else { Err(Status::Failed) }
    }
    /// Reads the ranges of a discard or a write of zeroes, and checks them (5.2.6.2).
    fn read_ranges(&self, request: &mut Request, io: &mut Io<'_>) -> Option<Result<(), Status>> {
        if request.bytes == 0
            || !request.bytes.is_multiple_of(16)
            || request.bytes > u64::from(MOST_RANGES) * 16
            || self.is_read_only()
        {
            return Some(Err(Status::Failed));
        }
        let mut list = vec![0; request.bytes as usize];
        io.read(request.chain.readable_segments(), HEADER_BYTES, &mut list)?;
        for (entry, (_, count, unmap)) in list.chunks_exact(16).zip(wide_ranges(&list)) {
            let sector = u64::from_le_bytes(std::array::from_fn(|i| entry[i]));
            let flags = u32::from_le_bytes(std::array::from_fn(|i| entry[12 + i]));
            if flags & !1 != 0 || unmap && request.op == Op::Discard {
                return Some(Err(Status::Unsupported));
            }
            let fits = self.sectors(sector, u64::from(count) * SECTOR);
            if count > MOST_RANGE_SECTORS || fits.is_err() {
                return Some(Err(Status::Failed));
            }
        }
        request.set_data(list);
        Some(Ok(()))
    }
}

impl VirtioDevice for Blk {
    type State = BlkStateV1;

    fn kind(&self) -> Kind {
        Kind { name: "virtio disk", device_type: 2, transitional: Some(0x1001), class: 0x01_00_00 }
    }
    fn features(&self) -> u64 {
        self.offered()
    }
    fn queue_sizes(&self) -> Vec<u16> {
        vec![self.queue_size; self.queues.into()]
    }
    fn config(&self, features: u64) -> Vec<u8> {
        self.config_bytes(features)
    }
    fn config_write(&mut self, offset: usize, byte: u8, io: &mut Io<'_>, _now: GuestTime) {
        if offset == config::WRITE_BACK && io.has(feature::CONFIG_WCE) {
            self.write_back = byte & 1 != 0;
        }
    }

    fn look(&mut self, queue: usize, io: &mut Io<'_>, now: GuestTime) {
        loop {
            while self.has_room() {
                let Some(chain) = io.pop(queue) else { break };
                if self.take(queue, chain, io, now).is_none() {
                    return;
                }
            }
            if !self.has_room() {
                self.waiting |= 1 << queue;
                return;
            }
            if !io.arm(queue) {
                return;
            }
        }
    }
    fn queue_reset(&mut self, queue: usize) {
        self.forget(|request| usize::from(request.queue) == queue);
        self.waiting &= !(1 << queue);
    }
    fn reset(&mut self) {
        self.forget(|_| true);
        self.waiting = 0;
        self.write_back = !self.drive.config().write_through;
    }
    fn power_on(&mut self) {
        self.reset();
        self.draining.clear();
    }
    fn complete(&mut self, token: u64, result: &[u8], io: &mut Io<'_>, now: GuestTime) {
        if self.draining.remove(&token).is_some() {
            return self.go_on(io, now);
        }
        let waits = |request: &Request| matches!(request.phase, Phase::Working { .. });
        if !self.under_way.get(&token).is_some_and(waits) {
            return;
        }
        let Some(request) = self.under_way.remove(&token) else { return };
        let outcome = Outcome::of(result);
        _ = match &outcome {
            Outcome::Done(read) => self.part_done(token, request, read, io, now),
            failure => self.failed(token, request, failure, io, now),
        };
        self.go_on(io, now);
    }
    fn next_event(&self) -> Option<GuestTime> {
        self.under_way.values().filter_map(Request::retry_at).min()
    }
    fn advance(&mut self, _io: &mut Io<'_>, now: GuestTime) {
        let due = |request: &Request| request.retry_at().is_some_and(|at| at <= now);
        let tokens: Vec<u64> =
            self.under_way.iter().filter(|(_, request)| due(request)).map(|(token, _)| *token).collect();
        for token in tokens {
            if let Some(mut request) = self.under_way.remove(&token) {
                self.send(token, &mut request, now);
                self.under_way.insert(token, request);
            }
        }
    }

    fn info(&self) -> String {
        let (id, mib) = (&self.drive.config().id, self.capacity >> 11);
        format!("drive {id}, {mib} MiB, {} requests under way", self.under_way.len())
    }
    fn save(&self) -> BlkStateV1 {
        let Self {
            drive: _,
            outside: _,
            requests: _,
            queues: _,
            queue_size: _,
            capacity: _,
            write_back,
            under_way,
            draining,
            next_token,
            waiting,
            told: _,
        } = self;
        BlkStateV1 {
            write_back: *write_back,
            under_way: under_way.iter().map(|(token, request)| (*token, request.save())).collect(),
            draining: draining.clone(),
            next_token: *next_token,
            waiting: *waiting,
        }
    }
    fn check(&self, state: &BlkStateV1) -> Result<(), RestoreError> {
        let refuse = |field, value: String| Err(RestoreError { part: "virtio disk", field, value });
        let BlkStateV1 { write_back: _, under_way, draining, next_token, waiting } = state;
        if waiting.checked_shr(self.queues.into()).unwrap_or(0) != 0 {
            return refuse("queues", format!("{waiting:#x}"));
        }
        if under_way.len().max(draining.len()) > MOST_REQUESTS
            || under_way.keys().chain(draining.keys()).chain([next_token]).any(|token| *token > MOST_TOKEN)
            || under_way.keys().any(|token| draining.contains_key(token))
        {
            return refuse("requests", format!("{} up to {next_token}", under_way.len()));
        }
        let bytes = self.capacity.saturating_mul(SECTOR);
        let bad = under_way.values().find(|request| !request.fits(self.queues, bytes));
        bad.map_or(Ok(()), |request| refuse("request", format!("{request:?}")))
    }
    fn restore(&mut self, state: BlkStateV1) {
        let BlkStateV1 { write_back, under_way, draining, next_token, waiting } = state;
        (self.write_back, self.next_token, self.waiting) = (write_back, next_token, waiting);
        for (token, due_ns) in &draining {
            // The other machine's workers did it.
            self.give(*token, GuestTime(*due_ns), Work::Nothing, Shared::default());
        }
        self.draining = draining;
        self.under_way.clear();
        for (token, state) in under_way {
            let Some(request) = Request::restored(state) else { continue };
            // Workers know nothing of a request that another machine began.
            if let Phase::Working { due_ns } = request.phase {
                self.give(token, GuestTime(due_ns), self.work(&request), request.share());
            }
            self.under_way.insert(token, request);
        }
    }
}
