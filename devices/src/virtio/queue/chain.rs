//! Buffers that a driver has made available: chains of descriptors, read once and checked.

use super::RingError;
use crate::saved_state::saved_state;
use trimotor_bus::{BusMaster, PhysAddr};

/// Descriptors of a chain at most, with those of its indirect table: as many as other implementations take.
pub const MOST_DESCRIPTORS: usize = 1024;
/// Bytes of a descriptor in both formats.
pub(super) const DESCRIPTOR_BYTES: u64 = 16;

/// Descriptor flag: the chain goes on.
pub(super) const NEXT: u16 = 1;
/// Descriptor flag: the device writes.
pub(super) const WRITE: u16 = 2;
/// Descriptor flag: the bytes are a table of descriptors.
pub(super) const INDIRECT: u16 = 4;

/// A stretch of guest memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Guest-physical address.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
}

saved_state! {
    /// A saved stretch.
    pub struct SegmentStateV1 of Segment { addr: u64, len: u32 }
}

/// A buffer of a queue: what the device reads, and behind it what it writes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chain {
    /// What the driver calls it: a descriptor's index, or its buffer ID in a packed ring.
    pub(super) id: u16,
    /// Places that it takes in a packed ring.
    pub(super) places: u16,
    readable: Vec<Segment>,
    writable: Vec<Segment>,
}

/// A saved chain.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct ChainStateV1 {
    id: u16,
    places: u16,
    readable: Vec<SegmentStateV1>,
    writable: Vec<SegmentStateV1>,
}

impl Chain {
    /// Bytes that the device may read.
    pub fn readable(&self) -> u64 {
        total(&self.readable)
    }
    /// Bytes that the device may write.
    pub fn writable(&self) -> u64 {
        total(&self.writable)
    }
    /// Where they are in guest memory.
    pub fn readable_segments(&self) -> &[Segment] {
        &self.readable
    }
    /// Where they are in guest memory.
    pub fn writable_segments(&self) -> &[Segment] {
        &self.writable
    }

    /// One without a descriptor yet.
    pub(super) fn new(id: u16, places: u16) -> Self {
        Self { id, places, ..Self::default() }
    }
    /// Appends what a descriptor says.
    pub(super) fn add(&mut self, descriptor: &Descriptor) -> Result<(), RingError> {
        if descriptor.addr.checked_add(descriptor.len.into()).is_none() {
            return Err(RingError::Wraps);
        }
        if self.readable.len() + self.writable.len() >= MOST_DESCRIPTORS {
            return Err(RingError::TooLong);
        }
        let segment = Segment { addr: descriptor.addr, len: descriptor.len };
        if descriptor.flags & WRITE != 0 {
            self.writable.push(segment);
        } else if self.writable.is_empty() {
            self.readable.push(segment);
        } else {
            return Err(RingError::Order);
        }
        Ok(())
    }

    /// The state now.
    pub fn save(&self) -> ChainStateV1 {
        let Self { id, places, readable, writable } = self;
        let saved = |segments: &[Segment]| segments.iter().map(|segment| (*segment).into()).collect();
        ChainStateV1 { id: *id, places: *places, readable: saved(readable), writable: saved(writable) }
    }
    /// A chain that was saved, if it can be one of a queue.
    pub fn restored(state: ChainStateV1) -> Option<Self> {
        let ChainStateV1 { id, places, readable, writable } = state;
        let wraps = |segment: &SegmentStateV1| segment.addr.checked_add(segment.len.into()).is_none();
        let good = (1..=MOST_DESCRIPTORS as u16).contains(&places)
            && readable.len() + writable.len() <= MOST_DESCRIPTORS
            && !readable.iter().chain(&writable).any(wraps);
        let segments = |states: Vec<SegmentStateV1>| states.into_iter().map(Segment::from).collect();
        good.then(|| Self { id, places, readable: segments(readable), writable: segments(writable) })
    }
}

fn total(segments: &[Segment]) -> u64 {
    segments.iter().map(|segment| u64::from(segment.len)).sum()
}

/// A descriptor as it was read. `next` is the buffer ID in packed rings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor {
    pub(super) addr: u64,
    pub(super) len: u32,
    pub(super) flags: u16,
    pub(super) next: u16,
}

impl Descriptor {
    /// In a split ring: address, length, flags, next.
    pub(super) fn split(bytes: &[u8; 16]) -> Self {
        let [addr, len, flags, next] = fields(bytes);
        Self { addr, len: len as u32, flags: flags as u16, next: next as u16 }
    }
    /// In a packed ring: address, length, buffer ID, flags.
    pub(super) fn packed(bytes: &[u8; 16]) -> Self {
        let [addr, len, id, flags] = fields(bytes);
        Self { addr, len: len as u32, flags: flags as u16, next: id as u16 }
    }
}
fn fields(bytes: &[u8; 16]) -> [u64; 4] {
    let number = |range: std::ops::Range<usize>| {
        bytes[range].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    };
    [number(0..8), number(8..12), number(12..14), number(14..16)]
}

/// Reads an indirect table whole, so that it cannot change while it is followed.
pub(super) fn read_table(memory: &BusMaster, descriptor: &Descriptor) -> Result<Vec<[u8; 16]>, RingError> {
    let bytes = descriptor.len as usize;
    let one = DESCRIPTOR_BYTES as usize;
    if bytes == 0 || !bytes.is_multiple_of(one) {
        return Err(RingError::Table);
    }
    if bytes / one > MOST_DESCRIPTORS {
        return Err(RingError::TooLong);
    }
    let mut table = vec![0; bytes];
    memory.read_exact(PhysAddr(descriptor.addr), &mut table)?;
    Ok(table.chunks_exact(one).map(|entry| std::array::from_fn(|at| entry[at])).collect())
}

/// Reads a part of what `segments` name, from byte `offset` of it on.
///
/// # Errors
/// The part ends behind the segments, or no memory is there.
pub(crate) fn read(
    memory: &BusMaster,
    segments: &[Segment],
    offset: u64,
    into: &mut [u8],
) -> Result<(), RingError> {
    let length = into.len();
    pieces(segments, offset, length, |addr, piece| Ok(memory.read_exact(PhysAddr(addr), &mut into[piece])?))
}
/// Writes a part of what `segments` name, from byte `offset` of it on.
///
/// # Errors
/// The part ends behind the segments, or no memory is there.
pub(crate) fn write(
    memory: &BusMaster,
    segments: &[Segment],
    offset: u64,
    from: &[u8],
) -> Result<(), RingError> {
    pieces(segments, offset, from.len(), |addr, piece| Ok(memory.write_exact(PhysAddr(addr), &from[piece])?))
}
/// Calls `act` for the pieces of guest memory that a part of `segments` consists of.
fn pieces(
    segments: &[Segment],
    mut offset: u64,
    length: usize,
    mut act: impl FnMut(u64, std::ops::Range<usize>) -> Result<(), RingError>,
) -> Result<(), RingError> {
    let mut done = 0;
    for segment in segments {
        if done == length {
            break;
        }
        let len = u64::from(segment.len);
        if offset >= len {
            offset -= len;
            continue;
        }
        let piece = (len - offset).min((length - done) as u64) as usize;
        act(segment.addr + offset, done..done + piece)?;
        done += piece;
        offset = 0;
    }
    if done == length { Ok(()) } else { Err(RingError::Short) }
}
