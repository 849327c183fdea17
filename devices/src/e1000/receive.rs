//! The receiver: puts frames into the buffers of its ring (8254x manual, "Packet Reception").
//!
//! A frame takes as many buffers as it needs; all are of the size that RCTL says. A descriptor is written back when its buffer is
//! full: length, checksum, status, errors and VLAN tag, in one store.

use super::checksum;
use super::filter::{Filter, Pass, Tag};
use super::registers::{cause, rctl, rx, rxcsum};
use super::ring::Ring;
use super::statistics::{Counter, Octets, Statistics};
use super::transmit::{FCS, SHORTEST};
use std::borrow::Cow;
use trimotor_bus::{BusMaster, DmaBus, PhysAddr};
use trimotor_net::Frame;

/// Bytes of the longest frames with their check sequence: without RCTL.LPE, and with it.
const LONGEST: usize = 1522;
const LONGEST_LONG: usize = 16_384;
/// Where the Ethertype is.
const ETHERTYPE: usize = 12;
/// MAC control frames: to this address, with this Ethertype; with operation 1 they are pause frames.
const CONTROL_ADDRESS: [u8; 6] = [0x01, 0x80, 0xC2, 0, 0, 1];
const CONTROL_TYPE: [u8; 2] = [0x88, 0x08];
const PAUSE: [u8; 2] = [0, 1];
/// Protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The receiver.
#[derive(Debug, Default)]
pub struct Receiver {
    pub(super) ring: Ring,
    /// RCTL.
    pub(super) control: u32,
}

/// What the receiver needs to know.
pub struct Surroundings<'a> {
    /// The way to memory.
    pub memory: &'a BusMaster,
    /// Which frames are taken.
    pub filter: &'a Filter,
    /// VET.
    pub vlan_type: u16,
    /// CTRL.VME.
    pub strips: bool,
    /// RXCSUM.
    pub rxcsum: u32,
    /// RSRPD.
    pub small: u32,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It is in memory; causes of interrupts beside the one for frames.
    Stored(u32),
    /// It was thrown away.
    Dropped,
    /// There are too few buffers now.
    NoRoom,
}

impl Receiver {
    /// Whether the receiver is on.
    pub fn enabled(&self) -> bool {
        self.control & rctl::EN != 0
    }
    /// Bytes of a buffer.
    fn buffer(&self) -> usize {
        let size = 2048 >> (self.control >> rctl::BSIZE_SHIFT & 3);
        // Times sixteen; 32 KiB is no size.
        if self.control & rctl::BSEX != 0 { (size * 16).min(16_384) } else { size }
    }
    /// Takes a frame that has all its checksums.
    pub fn receive(
        &mut self,
        frame: &Frame,
        around: &Surroundings<'_>,
        statistics: &mut Statistics,
    ) -> Received {
        let bytes = padded(&frame.bytes);
        let on_wire = bytes.len() + FCS;
        let tag = (bytes[ETHERTYPE..][..2] == around.vlan_type.to_be_bytes())
            .then(|| Tag(u16::from_be_bytes([bytes[14], bytes[15]])));
        let passed = self.passes(&bytes, tag, around.filter);
        let fits = on_wire <= LONGEST || self.control & rctl::LPE != 0 && on_wire <= LONGEST_LONG;
        let store = passed.filter(|_| fits || self.control & rctl::SBP != 0 && on_wire <= LONGEST_LONG);
        let Some(pass) = store else {
            count_all(statistics, on_wire);
            if passed.is_some() && !fits {
                statistics.count(Counter::Oversize);
            }
            return Received::Dropped;
        };
        let stripped = tag.filter(|_| around.strips);
        let fcs = if self.control & rctl::SECRC == 0 { Some(crc32fast::hash(&bytes)) } else { None };
        let length =
            bytes.len() - if stripped.is_some() { 4 } else { 0 } + if fcs.is_some() { FCS } else { 0 };
        let needed = length.div_ceil(self.buffer()) as u32;
        let ready = self.ring.ready();
        if needed > ready {
            if needed < self.ring.descriptors() {
                return Received::NoRoom;
            }
            // It would wait for ever.
            count_all(statistics, on_wire);
            statistics.count(Counter::Missed);
            statistics.count(Counter::NoBuffers);
            return Received::Dropped;
        }
        let mut last = self.describe(&bytes, frame.verified, around);
        if pass == Pass::Inexact {
            last.status |= rx::PIF;
        }
        if let Some(Tag(tag)) = stripped {
            last.status |= rx::VP;
            last.special = tag;
        }
        let crc = fcs.unwrap_or_default().to_le_bytes();
        let head = if stripped.is_some() { ETHERTYPE } else { 0 };
        let from = if stripped.is_some() { 16 } else { 0 };
        let parts = [&bytes[..head], &bytes[from..], &crc[..if fcs.is_some() { FCS } else { 0 }]];
        self.store(parts, length, last, around.memory);
        count_all(statistics, on_wire);
        count_good(statistics, &bytes, on_wire);
        let mut causes = 0;
        let threshold = self.ring.descriptors() >> (1 + (self.control >> rctl::RDMTS_SHIFT & 3));
        if ready > threshold && ready - needed <= threshold {
            causes |= cause::RXDMT0;
        }
        if on_wire <= around.small as usize {
            causes |= cause::SRPD;
        }
        Received::Stored(causes)
    }
    /// What lets a frame pass, if anything does.
    fn passes(&self, bytes: &[u8], tag: Option<Tag>, filter: &Filter) -> Option<Pass> {
        let address = |at: usize| bytes[at..].first_chunk().copied().unwrap_or_default();
        let (to, from): ([u8; 6], [u8; 6]) = (address(0), address(6));
        if to == CONTROL_ADDRESS && bytes[ETHERTYPE..][..2] == CONTROL_TYPE {
            let throws_away = match bytes[14..16] == PAUSE {
                true => self.control & rctl::DPF != 0,
                false => self.control & rctl::PMCF == 0,
            };
            if throws_away {
                return None;
            }
        }
        if !filter.vlan(tag, self.control) {
            return None;
        }
        filter.address(to, from, self.control)
    }
    /// Writes the parts of a frame into as many buffers as they need, then the descriptors.
    fn store(&mut self, parts: [&[u8]; 3], length: usize, last: Description, memory: &BusMaster) {
        let size = self.buffer();
        let mut parts = parts.into_iter();
        let mut part: &[u8] = &[];
        let mut left = length;
        while left > 0 {
            let buffer = self.ring.read(memory)[0];
            let room = size.min(left);
            let mut done = 0;
            while done < room {
                if part.is_empty() {
                    let Some(next) = parts.next() else { break };
                    part = next;
                    continue;
                }
                let (now, later) = part.split_at(part.len().min(room - done));
                memory.dma_write(PhysAddr(buffer.wrapping_add(done as u64)), now);
                done += now.len();
                part = later;
            }
            left -= room;
            let description =
                if left == 0 { last } else { Description { status: rx::DD, errors: 0, ..last } };
            let at = PhysAddr(self.ring.at_head().0.wrapping_add(8));
            memory.dma_write(at, &description.bytes(room as u16));
            self.ring.advance();
        }
    }
    /// What the last descriptor says of a frame's checksums.
    fn describe(&self, bytes: &[u8], verified: bool, around: &Surroundings<'_>) -> Description {
        let start = (around.rxcsum & rxcsum::PCSS) as usize;
        let mut description = Description {
            checksum: !checksum::sum(bytes.get(start..).unwrap_or_default()),
            status: rx::DD | rx::EOP,
            errors: 0,
            special: 0,
        };
        let checks = look_at_checksums(bytes, verified, around.vlan_type);
        let ip = checks.ip.filter(|_| around.rxcsum & rxcsum::IPOFL != 0);
        let tcp = checks.tcp.filter(|_| around.rxcsum & rxcsum::TUOFL != 0);
        for (check, looked, wrong) in [(ip, rx::IPCS, rx::IPE), (tcp, rx::TCPCS, rx::TCPE)] {
            match check {
                Some(true) => description.status |= looked,
                Some(false) => {
                    description.status |= looked;
                    description.errors |= wrong;
                }
                None => {}
            }
        }
        if ip.is_none() && tcp.is_none() {
            description.status |= rx::IXSM;
        }
        description
    }
}

/// What the receiver says in a descriptor beside the length.
#[derive(Clone, Copy)]
struct Description {
    checksum: u16,
    status: u8,
    errors: u8,
    special: u16,
}
impl Description {
    fn bytes(self, length: u16) -> [u8; 8] {
        let [a, b] = length.to_le_bytes();
        let [c, d] = self.checksum.to_le_bytes();
        let [e, f] = self.special.to_le_bytes();
        [a, b, c, d, self.status, self.errors, e, f]
    }
}

/// A frame as a cable would bring it: none is shorter than 60 bytes.
fn padded(bytes: &[u8]) -> Cow<'_, [u8]> {
    if bytes.len() >= SHORTEST {
        return Cow::Borrowed(bytes);
    }
    let mut longer = bytes.to_vec();
    longer.resize(SHORTEST, 0);
    Cow::Owned(longer)
}

/// Whether the checksums of a packet are right, as far as it has any that the card looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Checks {
    ip: Option<bool>,
    tcp: Option<bool>,
}
/// `verified`: they are known to be.
fn look_at_checksums(bytes: &[u8], verified: bool, vlan_type: u16) -> Checks {
    let tagged = bytes[ETHERTYPE..][..2] == vlan_type.to_be_bytes();
    let ip_at = if tagged { 18 } else { 14 };
    let ethertype = u16::from_be_bytes([bytes[ip_at - 2], bytes[ip_at - 1]]);
    let ip = &bytes[ip_at..];
    match ethertype {
        0x0800 => look_at_ipv4(ip, verified),
        0x86DD => look_at_ipv6(ip, verified),
        _ => Checks::default(),
    }
}
fn look_at_ipv4(ip: &[u8], verified: bool) -> Checks {
    let header = usize::from(ip[0] & 0xF) * 4;
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    if ip[0] >> 4 != 4 || header < 20 || total < header || total > ip.len() {
        return Checks::default();
    }
    let right = verified || checksum::sum(&ip[..header]) == 0xFFFF;
    // A fragment has no whole segment.
    let fragment = u16::from_be_bytes([ip[6], ip[7]]) & 0x3FFF != 0;
    let tcp = if fragment { None } else { look_at_segment(&ip[12..20], ip[9], &ip[header..total], verified) };
    Checks { ip: Some(right), tcp }
}
fn look_at_ipv6(ip: &[u8], verified: bool) -> Checks {
    let total = 40 + usize::from(u16::from_be_bytes([ip[4], ip[5]]));
    if ip[0] >> 4 != 6 || total > ip.len() {
        return Checks::default();
    }
    Checks { ip: None, tcp: look_at_segment(&ip[8..40], ip[6], &ip[40..total], verified) }
}
fn look_at_segment(addresses: &[u8], protocol: u8, segment: &[u8], verified: bool) -> Option<bool> {
    let field = match protocol {
        TCP if segment.len() >= 20 => 16,
        UDP if segment.len() >= 8 => 6,
        _ => return None,
    };
    if protocol == UDP && segment[field..field + 2] == [0, 0] {
        return None;
    }
    let pseudo = checksum::pseudo_header(addresses, protocol, segment.len());
    Some(verified || checksum::add(checksum::sum(segment), pseudo) == 0xFFFF)
}

fn count_all(statistics: &mut Statistics, on_wire: usize) {
    statistics.count(Counter::TotalReceived);
    statistics.add_octets(Octets::TotalReceived, on_wire as u64);
}
fn count_good(statistics: &mut Statistics, bytes: &[u8], on_wire: usize) {
    statistics.count(Counter::GoodReceived);
    statistics.add_octets(Octets::GoodReceived, on_wire as u64);
    statistics.count_length(Counter::Received64, on_wire, 1);
    if bytes[..6] == [0xFF; 6] {
        statistics.count(Counter::Broadcasts);
    } else if bytes[0] & 1 != 0 {
        statistics.count(Counter::Multicasts);
    }
}
