//! What the transmitter does to a packet before it is a frame: checksums, segmentation (8254x manual, "Packet Transmission",
//! "IP/TCP/UDP Transmit Checksum Offloading" and "TCP Segmentation").
//!
//! A context descriptor says where the headers of the packets are that follow. The card believes it. Where the network takes
//! long TCP packets whole, or packets without a checksum, they are handed over so, if the headers are where the context says;
//! the network gets what the pieces would say together. Otherwise this file does the work.

use super::checksum;
use super::transmit::LONGEST;
use trimotor_net::{Checksum, Frame, Offloads, Segmentation, SegmentationKind};

/// Bytes of an Ethernet header, and of a VLAN tag.
const ETHERNET: usize = 14;
pub(super) const TAG: usize = 4;
/// Flags of TCP.
const FIN: u8 = 1 << 0;
const PSH: u8 = 1 << 3;
const CWR: u8 = 1 << 7;
/// The protocol number of TCP.
const TCP: u8 = 6;

/// What a context descriptor says. Offsets are in bytes from the packet's begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Where the IP header begins, where its checksum belongs, and its last byte.
    pub(super) ip_start: u8,
    pub(super) ip_offset: u8,
    pub(super) ip_end: u16,
    /// The same of TCP or UDP; a last byte of 0 is the packet's.
    pub(super) tcp_start: u8,
    pub(super) tcp_offset: u8,
    pub(super) tcp_end: u16,
    /// For segmentation: bytes of payload in all, bytes of headers, bytes of payload in a piece.
    pub(super) payload: u32,
    pub(super) header: u8,
    pub(super) piece: u16,
    /// TCP, not UDP.
    pub(super) tcp: bool,
    /// IPv4, not IPv6.
    pub(super) ipv4: bool,
}

impl Context {
    /// That of a context descriptor.
    pub fn new([low, high]: [u64; 2]) -> Self {
        use super::registers::tx;
        let command = high as u32;
        Self {
            ip_start: low as u8,
            ip_offset: (low >> 8) as u8,
            ip_end: (low >> 16) as u16,
            tcp_start: (low >> 32) as u8,
            tcp_offset: (low >> 40) as u8,
            tcp_end: (low >> 48) as u16,
            payload: command & 0xF_FFFF,
            header: (high >> 40) as u8,
            piece: (high >> 48) as u16,
            tcp: command & tx::TCP != 0,
            ipv4: command & tx::IPV4 != 0,
        }
    }
}

/// A packet whose data is all there.
pub struct Packet<'a> {
    /// From the destination address on.
    pub bytes: Vec<u8>,
    /// So many bytes of VLAN tag are in it that the driver does not know of.
    pub inserted: usize,
    /// The context.
    pub context: &'a Context,
    /// IP's checksum is to be filled in.
    pub ip_checksum: bool,
    /// TCP's or UDP's checksum is to be filled in.
    pub tcp_checksum: bool,
}

/// What became of a packet: its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// How many frames are on the wire.
    pub frames: u32,
    /// Bytes of each but the last.
    pub bytes: usize,
    /// Bytes of the last.
    pub last_bytes: usize,
}

impl Packet<'_> {
    fn ip(&self) -> usize {
        usize::from(self.context.ip_start) + self.inserted
    }
    fn tcp(&self) -> usize {
        usize::from(self.context.tcp_start) + self.inserted
    }
    fn tcp_field(&self) -> usize {
        usize::from(self.context.tcp_offset) + self.inserted
    }
    fn header(&self) -> usize {
        usize::from(self.context.header) + self.inserted
    }
    fn fill_ip(&self, bytes: &mut [u8]) {
        let end = usize::from(self.context.ip_end) + self.inserted + 1;
        checksum::fill(bytes, self.ip(), end, usize::from(self.context.ip_offset) + self.inserted);
    }
    fn fill_tcp(&self, bytes: &mut [u8]) {
        let end = match usize::from(self.context.tcp_end) {
            0 => bytes.len(),
            last => last + self.inserted + 1,
        };
        checksum::fill(bytes, self.tcp(), end, self.tcp_field());
    }

    /// As one frame. A short one is padded where `pads`.
    pub fn finish(mut self, accepts: Offloads, pads: bool, shortest: usize) -> Frame {
        let mut bytes = std::mem::take(&mut self.bytes);
        if self.ip_checksum {
            self.fill_ip(&mut bytes);
        }
        let mut open = None;
        if self.tcp_checksum {
            open = self.open_checksum(&bytes).filter(|_| accepts.checksum);
            if open.is_none() {
                self.fill_tcp(&mut bytes);
            }
        }
        if pads && bytes.len() < shortest {
            // Padding is no part of what is summed, but for an open sum it would be: it goes on to the end. Zeros change none.
            bytes.resize(shortest, 0);
        }
        Frame { bytes, checksum: open, ..Frame::default() }
    }
    /// TCP's or UDP's checksum as one that the network fills in: where it goes on to the packet's end.
    fn open_checksum(&self, bytes: &[u8]) -> Option<Checksum> {
        let offset = self.tcp_field().checked_sub(self.tcp())?;
        let fits = self.context.tcp_end == 0 && self.tcp() >= ETHERNET && self.tcp_field() + 2 <= bytes.len();
        fits.then_some(Checksum { start: self.tcp() as u16, offset: offset as u16 })
    }

    /// As pieces of one size, or whole where the network cuts it. `None`: the context cannot be followed.
    pub fn segment(mut self, accepts: Offloads, send: &mut dyn FnMut(Frame)) -> Option<Sent> {
        let (header, piece) = (self.header(), usize::from(self.context.piece));
        let most = header + self.context.payload as usize;
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.truncate(most);
        let payload = bytes.len().checked_sub(header).filter(|payload| *payload > 0)?;
        if piece == 0 || header < ETHERNET || header + piece.min(payload) > LONGEST {
            return None;
        }
        let frames = payload.div_ceil(piece);
        let last_bytes = header + payload - (frames - 1) * piece;
        let sent = Sent { frames: frames as u32, bytes: header + piece, last_bytes };
        match self.whole(&bytes, accepts) {
            Some(kind) if frames > 1 => send(self.hand_over(bytes, kind)),
            _ => self.cut(&bytes, send),
        }
        Some(sent)
    }
    /// Whether the network may cut the packet: it can, and the headers are where the context says.
    fn whole(&self, bytes: &[u8], accepts: Offloads) -> Option<SegmentationKind> {
        let (ip, tcp, header) = (self.ip(), self.tcp(), self.header());
        if !self.context.tcp
            || !self.tcp_checksum
            || self.context.tcp_end != 0
            || self.tcp_field() != tcp + 16
        {
            return None;
        }
        let (kind, ethertype, accepted) = match self.context.ipv4 {
            true => (SegmentationKind::Tcp4, 0x0800u16, accepts.tcp4 && self.ip_checksum),
            false => (SegmentationKind::Tcp6, 0x86DD, accepts.tcp6),
        };
        if !accepted || ip < ETHERNET || tcp < ip || header < tcp + 20 || bytes.len() - ip > 0xFFFF {
            return None;
        }
        let is_ip = bytes[ip - 2..ip] == ethertype.to_be_bytes();
        let ip_fits = match self.context.ipv4 {
            true => {
                let length = usize::from(bytes[ip] & 0xF) * 4;
                length >= 20 && bytes[ip] >> 4 == 4 && tcp == ip + length && bytes[ip + 9] == TCP
            }
            false => tcp == ip + 40 && bytes[ip] >> 4 == 6 && bytes[ip + 6] == TCP,
        };
        let tcp_fits = header == tcp + usize::from(bytes[tcp + 12] >> 4) * 4;
        let ecn = bytes[tcp + 13] & CWR == 0 || accepts.ecn;
        (is_ip && ip_fits && tcp_fits && ecn).then_some(kind)
    }
    /// The packet whole, with the lengths that it has so.
    fn hand_over(&self, mut bytes: Vec<u8>, kind: SegmentationKind) -> Frame {
        let (tcp, field) = (self.tcp(), self.tcp_field());
        self.set_ip_length(&mut bytes);
        if self.ip_checksum {
            self.fill_ip(&mut bytes);
        }
        self.add_length(&mut bytes);
        let ecn = bytes[tcp + 13] & CWR != 0;
        Frame {
            checksum: Some(Checksum { start: tcp as u16, offset: (field - tcp) as u16 }),
            segmentation: Some(Segmentation { kind, payload: self.context.piece, ecn }),
            bytes,
            ..Frame::default()
        }
    }
    /// Cuts the packet.
    fn cut(&self, bytes: &[u8], send: &mut dyn FnMut(Frame)) {
        let (header, payload) = bytes.split_at(self.header());
        let piece = usize::from(self.context.piece);
        let last = payload.len().div_ceil(piece) - 1;
        for (number, part) in payload.chunks(piece).enumerate() {
            let mut bytes = Vec::with_capacity(header.len() + part.len());
            bytes.extend_from_slice(header);
            bytes.extend_from_slice(part);
            self.set_ip_length(&mut bytes);
            if self.context.ipv4 {
                // The identification goes up by one.
                add_to(&mut bytes, self.ip() + 4, number as u32, 2);
            }
            if self.context.tcp {
                add_to(&mut bytes, self.tcp() + 4, (number * piece) as u32, 4);
                if let Some(flags) = bytes.get_mut(self.tcp() + 13).filter(|_| number != last) {
                    *flags &= !(FIN | PSH);
                }
            } else {
                let length = bytes.len().saturating_sub(self.tcp());
                set(&mut bytes, self.tcp() + 4, length as u16);
            }
            if self.ip_checksum {
                self.fill_ip(&mut bytes);
            }
            if self.tcp_checksum {
                self.add_length(&mut bytes);
                self.fill_tcp(&mut bytes);
            }
            send(bytes.into());
        }
    }
    /// The length in the IP header.
    fn set_ip_length(&self, bytes: &mut [u8]) {
        let length = bytes.len().saturating_sub(self.ip());
        match self.context.ipv4 {
            true => set(bytes, self.ip() + 2, length as u16),
            false => set(bytes, self.ip() + 4, length.saturating_sub(40) as u16),
        }
    }
    /// The driver's sum of the pseudo header lacks the length, as that is another one in each piece.
    fn add_length(&self, bytes: &mut [u8]) {
        let length = bytes.len().saturating_sub(self.tcp());
        if let Some(field) = bytes.get(self.tcp_field()..self.tcp_field() + 2) {
            let sum = checksum::add(u16::from_be_bytes([field[0], field[1]]), length as u16);
            set(bytes, self.tcp_field(), sum);
        }
    }
}

fn set(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
/// Adds to a number of `width` bytes, up to four.
fn add_to(bytes: &mut [u8], at: usize, n: u32, width: usize) {
    let Some(field) = bytes.get_mut(at..at + width) else { return };
    let value = field.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte)).wrapping_add(n);
    field.copy_from_slice(&value.to_be_bytes()[4 - width..]);
}
