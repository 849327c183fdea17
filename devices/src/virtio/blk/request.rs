//! A request of a disk that is under way.

use super::{HEADER_BYTES, MOST_PART, MOST_RANGES, SECTOR};
use crate::disk_work::wide_ranges;
use crate::virtio::queue::{Chain, ChainStateV1};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use trimotor_bus::GuestTime;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Reads sectors.
    Read,
    /// Writes sectors.
    Write,
    /// Has the host keep what was written.
    Flush,
    /// Gives up ranges.
    Discard,
    /// Makes ranges zero.
    Zero,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// A worker has it. With counted time it completes then.
    Working {
        /// Guest time in nanoseconds.
        due_ns: u64,
    },
    /// The host failed, and the machine pauses: it is done again then.
    Stopped {
        /// Guest time in nanoseconds.
        retry_ns: u64,
    },
}

/// Bytes that a request and its worker share.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Vec<u8>>);
impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A request.
pub(super) struct Request {
    pub(super) queue: u16,
    pub(super) chain: Chain,
    pub(super) op: Op,
    /// Where it begins on the disk, in bytes.
    pub(super) offset: u64,
    /// Bytes that it moves, or of its list of ranges.
    pub(super) bytes: u64,
    /// Bytes that were moved.
    pub(super) done: u64,
    /// A write waits until the host has it for good.
    pub(super) through: bool,
    pub(super) phase: Phase,
    data: Shared,
}

/// The saved state of a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestStateV1 {
    queue: u16,
    chain: ChainStateV1,
    op: Op,
    offset: u64,
    bytes: u64,
    done: u64,
    through: bool,
    phase: Phase,
    data: Vec<u8>,
}

impl Request {
    pub(super) fn new(queue: u16, chain: Chain, op: Op, offset: u64, bytes: u64) -> Self {
        let phase = Phase::Working { due_ns: 0 };
        Self { queue, chain, op, offset, bytes, done: 0, through: false, phase, data: Shared::default() }
    }
    /// Bytes of the next part, or of the one under way.
    pub(super) fn part(&self) -> u64 {
        match self.op {
            Op::Read | Op::Write => (self.bytes - self.done).min(MOST_PART),
            Op::Flush | Op::Discard | Op::Zero => 0,
        }
    }
    /// Bytes that it holds here, or at its worker.
    pub(super) fn held(&self) -> u64 {
        self.part().max(self.data.0.len() as u64)
    }
    pub(super) fn data(&self) -> &[u8] {
        &self.data.0
    }
    pub(super) fn set_data(&mut self, data: Vec<u8>) {
        self.data = Shared(Arc::new(data));
    }
    pub(super) fn share(&self) -> Shared {
        self.data.clone()
    }
    pub(super) fn retry_at(&self) -> Option<GuestTime> {
        match self.phase {
            Phase::Stopped { retry_ns } => Some(GuestTime(retry_ns)),
            Phase::Working { .. } => None,
        }
    }
    pub(super) fn save(&self) -> RequestStateV1 {
        let Self { queue, chain, op, offset, bytes, done, through, phase, data } = self;
        RequestStateV1 {
            queue: *queue,
            chain: chain.save(),
            op: *op,
            offset: *offset,
            bytes: *bytes,
            done: *done,
            through: *through,
            phase: *phase,
            data: data.0.to_vec(),
        }
    }
    pub(super) fn restored(state: RequestStateV1) -> Option<Self> {
        let RequestStateV1 { queue, chain, op, offset, bytes, done, through, phase, data } = state;
        let chain = Chain::restored(chain)?;
        let data = Shared(Arc::new(data));
        Some(Self { queue, chain, op, offset, bytes, done, through, phase, data })
    }
}

impl RequestStateV1 {
    /// Whether a disk of so many bytes with so many queues can have it.
    pub(super) fn fits(&self, queues: u16, disk: u64) -> bool {
        let Some(request) = Request::restored(self.clone()) else { return false };
        let Request { queue, chain, op, offset, bytes, done, data, .. } = &request;
        let whole = |bytes: u64| bytes.is_multiple_of(SECTOR);
        let moves = *done < *bytes
            && [*offset, *bytes, *done].into_iter().all(whole)
            && offset.checked_add(*bytes).is_some_and(|end| end <= disk);
        let length = data.0.len() as u64;
        let content = match op {
            Op::Read => moves && length == 0 && chain.writable() > *bytes,
            Op::Write => {
                let there = chain.readable().checked_sub(HEADER_BYTES);
                moves && there.is_some_and(|there| there >= *bytes) && length == request.part()
            }
            Op::Flush => *bytes == 0 && *done == 0 && length == 0,
            Op::Discard | Op::Zero => {
                let inside = |(sector, count, _): (u64, u32, bool)| {
                    sector.checked_add(count.into()).is_some_and(|end| end <= disk / SECTOR)
                };
                *done == 0
                    && length == *bytes
                    && (16..=u64::from(MOST_RANGES) * 16).contains(&length)
                    && length.is_multiple_of(16)
                    && wide_ranges(&data.0).all(inside)
            }
        };
        *queue < queues && chain.writable() > 0 && content
    }
}
