//! The transmitter: takes descriptors from its ring, gathers packets, sends frames (8254x manual, "Packet Transmission").
//!
//! | descriptor | what |
//! |---|---|
//! | legacy | a piece of a packet, perhaps with one checksum to insert |
//! | context | where the headers of packets are that follow: kept, one for segmentation and one for the rest |
//! | data | a piece of a packet that the context describes |
//!
//! A run over the ring is bounded; what it leaves is done a moment later, so that no driver can hold up the machine.

use super::offload::{Context, Packet, Sent, TAG};
use super::registers::{cause, tctl, tx};
use super::ring::Ring;
use super::statistics::{Counter, Octets, Statistics};
use trimotor_bus::{BusMaster, DmaBus, PhysAddr};
use trimotor_net::{Frame, Offloads};

/// Descriptors of one run at most.
const DESCRIPTORS_PER_RUN: u32 = 1024;
/// Bytes of one run at most.
const BYTES_PER_RUN: usize = 2 << 20;
/// The longest packet that is not to be cut (8254x manual: 16288 bytes), and a tag.
pub(super) const LONGEST: usize = 16_288 + TAG;
/// What most packets have room in.
const USUAL: usize = 1600;
/// The longest that is to be cut: 20 bits count its payload, 8 its headers.
pub(super) const LONGEST_SEGMENTED: usize = (1 << 20) + 256;
/// The shortest frame without its check sequence, and the check sequence.
pub(super) const SHORTEST: usize = 60;
pub(super) const FCS: usize = 4;
/// Descriptors in the unit of TXDCTL.LWTHRESH.
const LOW_UNIT: u32 = 8;

/// A packet of which not all pieces have come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gathered {
    pub(super) bytes: Vec<u8>,
    /// What its first descriptor says: options of a data descriptor, and that it is to be cut.
    pub(super) begun: bool,
    pub(super) options: u8,
    pub(super) segment: bool,
    /// It is longer than a packet may be.
    pub(super) too_long: bool,
}

/// The transmitter.
#[derive(Debug, Default)]
pub struct Transmitter {
    pub(super) ring: Ring,
    /// TCTL.
    pub(super) control: u32,
    pub(super) context: Context,
    pub(super) segmentation: Context,
    pub(super) gathered: Gathered,
}

/// What a run needs to know.
pub struct Surroundings<'a> {
    /// The way to memory.
    pub memory: &'a BusMaster,
    /// What may be left open in frames.
    pub accepts: Offloads,
    /// Tags are inserted, with this Ethertype.
    pub vlan: Option<u16>,
    /// TXDCTL.
    pub txdctl: u32,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Causes of interrupts.
    pub causes: u32,
    /// A descriptor was written back whose interrupt may be delayed.
    pub delayed: bool,
    /// Descriptors are left.
    pub more: bool,
}

impl Transmitter {
    /// All registers after reset.
    pub fn reset(&mut self) {
        self.ring.reset();
        (self.control, self.context, self.segmentation) = (0, Context::default(), Context::default());
        self.gathered = Gathered::default();
    }
    /// Whether the transmitter is on.
    fn enabled(&self) -> bool {
        self.control & tctl::EN != 0
    }
    /// Takes the descriptors that the driver gave, and hands frames to `send`.
    pub fn run(
        &mut self,
        around: &Surroundings<'_>,
        statistics: &mut Statistics,
        send: &mut dyn FnMut(Frame),
    ) -> Ran {
        let mut ran = Ran::default();
        if !self.enabled() || !around.memory.enabled() || self.ring.ready() == 0 {
            return ran;
        }
        let low = (around.txdctl >> 25) * LOW_UNIT;
        let above = self.ring.ready() > low;
        let (mut descriptors, mut bytes) = (0, 0);
        while self.ring.ready() > 0 {
            if descriptors >= DESCRIPTORS_PER_RUN || bytes >= BYTES_PER_RUN {
                ran.more = true;
                return ran;
            }
            let descriptor = self.ring.read(around.memory);
            bytes += self.take(descriptor, around, statistics, send);
            self.write_back(descriptor, around.memory, &mut ran);
            self.ring.advance();
            descriptors += 1;
        }
        ran.causes |= cause::TXQE;
        if low > 0 && above {
            ran.causes |= cause::TXD_LOW;
        }
        ran
    }
    /// Reports a descriptor as done, where the driver wants to know.
    fn write_back(&self, [_, high]: [u64; 2], memory: &BusMaster, ran: &mut Ran) {
        let command = high as u32;
        if command & tx::RS == 0 {
            return;
        }
        let status = (high >> 32) as u32 | tx::DD;
        memory.dma_write(PhysAddr(self.ring.at_head().0.wrapping_add(12)), &status.to_le_bytes());
        let is_context = command & (tx::DEXT | tx::TYPE) == tx::DEXT;
        if command & tx::IDE != 0 && !is_context {
            ran.delayed = true;
        } else {
            ran.causes |= cause::TXDW;
        }
    }
    /// Takes a descriptor; returns how many bytes it brought.
    fn take(
        &mut self,
        descriptor: [u64; 2],
        around: &Surroundings<'_>,
        statistics: &mut Statistics,
        send: &mut dyn FnMut(Frame),
    ) -> usize {
        let [address, high] = descriptor;
        let command = high as u32;
        let extended = command & tx::DEXT != 0;
        if extended && command & tx::TYPE == 0 {
            let context = Context::new(descriptor);
            match command & tx::TSE != 0 {
                true => self.segmentation = context,
                false => self.context = context,
            }
            return 0;
        }
        if extended && command & tx::TYPE != tx::DATA {
            // No such type.
            return 0;
        }
        let length = if extended { command & 0xF_FFFF } else { command & 0xFFFF } as usize;
        if !self.gathered.begun {
            self.gathered.begun = true;
            self.gathered.segment = extended && command & tx::TSE != 0;
            self.gathered.options = if extended { (high >> 40) as u8 } else { 0 };
            // One piece of memory for all that comes, as far as that is known.
            let context = &self.segmentation;
            let expected = context.payload as usize + usize::from(context.header) + TAG;
            self.gathered.bytes.reserve(if self.gathered.segment { expected } else { USUAL });
        }
        self.gather(PhysAddr(address), length, around.memory);
        if command & tx::EOP != 0 {
            self.packet_is_complete(descriptor, around, statistics, send);
        }
        length
    }
    fn gather(&mut self, address: PhysAddr, length: usize, memory: &BusMaster) {
        let Gathered { bytes, segment, too_long, .. } = &mut self.gathered;
        let most = if *segment { LONGEST_SEGMENTED } else { LONGEST };
        if *too_long || bytes.len() + length > most {
            *too_long = true;
            *bytes = Vec::new();
            return;
        }
        let before = bytes.len();
        bytes.resize(before + length, 0);
        memory.dma_read(address, &mut bytes[before..]);
    }
    /// The last piece of a packet has come.
    fn packet_is_complete(
        &mut self,
        [_, high]: [u64; 2],
        around: &Surroundings<'_>,
        statistics: &mut Statistics,
        send: &mut dyn FnMut(Frame),
    ) {
        let command = high as u32;
        let Gathered { mut bytes, options, segment, too_long, .. } = std::mem::take(&mut self.gathered);
        if too_long || bytes.len() < 14 {
            return;
        }
        if command & tx::DEXT == 0 && command & tx::IC != 0 {
            // A legacy descriptor's checksum: from CSS to the end, at CSO.
            let (start, at, end) = ((high >> 40) as u8, (high >> 16) as u8, bytes.len());
            super::checksum::fill(&mut bytes, start.into(), end, at.into());
        }
        if command & tx::IFCS == 0 && !segment {
            // The driver made the check sequence itself; it is none of a frame's bytes here.
            bytes.truncate(bytes.len() - FCS);
        }
        let mut inserted = 0;
        if let (Some(ethertype), true) = (around.vlan, command & tx::VLE != 0) {
            let [a, b] = ethertype.to_be_bytes();
            let [c, d] = ((high >> 48) as u16).to_be_bytes();
            let at = bytes.len().min(12);
            bytes.splice(at..at, [a, b, c, d]);
            inserted = TAG;
        }
        let to = bytes[0..6].first_chunk().copied().unwrap_or_default();
        let packet = Packet {
            bytes,
            inserted,
            context: if segment { &self.segmentation } else { &self.context },
            ip_checksum: options & tx::IXSM != 0,
            tcp_checksum: options & tx::TXSM != 0,
        };
        if segment {
            match packet.segment(around.accepts, send) {
                Some(sent) => {
                    statistics.count(Counter::Segmentations);
                    count(statistics, to, sent);
                }
                None => statistics.count(Counter::FailedSegmentations),
            }
            return;
        }
        let frame = packet.finish(around.accepts, self.control & tctl::PSP != 0, SHORTEST);
        let bytes = frame.bytes.len();
        send(frame);
        count(statistics, to, Sent { frames: 1, bytes, last_bytes: bytes });
    }
}

/// Counts frames that were sent.
fn count(statistics: &mut Statistics, to: [u8; 6], sent: Sent) {
    let Sent { frames, bytes, last_bytes } = sent;
    for counter in [Counter::GoodSent, Counter::TotalSent] {
        statistics.add(counter, frames);
    }
    let octets = (frames - 1) as u64 * (bytes + FCS) as u64 + (last_bytes + FCS) as u64;
    statistics.add_octets(Octets::GoodSent, octets);
    statistics.add_octets(Octets::TotalSent, octets);
    statistics.count_length(Counter::Sent64, bytes + FCS, frames - 1);
    statistics.count_length(Counter::Sent64, last_bytes + FCS, 1);
    if to == [0xFF; 6] {
        statistics.add(Counter::BroadcastsSent, frames);
    } else if to[0] & 1 != 0 {
        statistics.add(Counter::MulticastsSent, frames);
    }
}
