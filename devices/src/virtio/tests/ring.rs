//! The driver's side of a ring.

use super::Format;
use trimotor_bus::{GuestMemory, PhysAddr};

/// Where indirect tables are in a ring's 64 KiB.
const TABLES: u64 = 0xC000;
const TABLE_BYTES: u64 = 0x100;
/// Descriptor flags.
pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// A piece of a buffer: address, bytes, whether the device writes.
pub(crate) type Piece = (u64, u32, bool);

/// A ring.
pub(crate) struct Ring {
    pub(crate) desc: u64,
    pub(crate) driver: u64,
    pub(crate) device: u64,
    pub(crate) size: u16,
    format: Format,
    /// The next free descriptor, and in a packed ring the wrap counter there.
    next: u16,
    wrap: bool,
    available: u16,
    used: u16,
    used_wrap: bool,
    /// Packed: places of each buffer.
    places: Vec<u16>,
}

impl Ring {
    pub(crate) fn new(base: u64, size: u16, format: Format) -> Self {
        Self {
            desc: base,
            driver: base + 0x4000,
            device: base + 0x8000,
            size,
            format,
            next: 0,
            wrap: true,
            available: 0,
            used: 0,
            used_wrap: true,
            places: vec![0; size.into()],
        }
    }
    /// Offers a buffer; returns what it is called.
    pub(crate) fn offer(&mut self, memory: &GuestMemory, pieces: &[Piece]) -> u16 {
        let flags = |write: bool| if write { WRITE } else { 0 };
        if self.format.indirect {
            let table = self.desc + TABLES + TABLE_BYTES * u64::from(self.next % 64);
            for (index, (addr, len, write)) in pieces.iter().enumerate() {
                let last = index + 1 == pieces.len();
                let more = if last { 0 } else { NEXT };
                let tail = if self.format.packed {
                    (0, flags(*write))
                } else {
                    (flags(*write) | more, index as u16 + 1)
                };
                put(memory, table + 16 * index as u64, *addr, *len, tail);
            }
            return self.offer_direct(memory, &[(table, 16 * pieces.len() as u32, INDIRECT)]);
        }
        let pieces: Vec<_> = pieces.iter().map(|(addr, len, write)| (*addr, *len, flags(*write))).collect();
        self.offer_direct(memory, &pieces)
    }
    /// Offers a chain of these descriptors: address, bytes, flags.
    pub(crate) fn offer_direct(&mut self, memory: &GuestMemory, pieces: &[(u64, u32, u16)]) -> u16 {
        if self.format.packed { self.offer_packed(memory, pieces) } else { self.offer_split(memory, pieces) }
    }
    fn offer_split(&mut self, memory: &GuestMemory, pieces: &[(u64, u32, u16)]) -> u16 {
        let head = self.next;
        for (index, (addr, len, flags)) in pieces.iter().enumerate() {
            let at = self.next;
            self.next = (self.next + 1) % self.size;
            let more = if index + 1 < pieces.len() { NEXT } else { 0 };
            put(memory, self.desc + 16 * u64::from(at), *addr, *len, (flags | more, self.next));
        }
        self.make_available(memory, head);
        head
    }
    /// Puts a head into the split ring.
    pub(crate) fn make_available(&mut self, memory: &GuestMemory, head: u16) {
        let slot = u64::from(self.available % self.size);
        memory.write(PhysAddr(self.driver + 4 + 2 * slot), &head.to_le_bytes());
        self.available = self.available.wrapping_add(1);
        memory.write(PhysAddr(self.driver + 2), &self.available.to_le_bytes());
    }
    fn offer_packed(&mut self, memory: &GuestMemory, pieces: &[(u64, u32, u16)]) -> u16 {
        let id = self.next;
        self.places[usize::from(id)] = pieces.len() as u16;
        let mut first = (0, 0);
        for (index, (addr, len, flags)) in pieces.iter().enumerate() {
            let more = if index + 1 < pieces.len() { NEXT } else { 0 };
            let flags = flags | more | if self.wrap { 1 << 7 } else { 1 << 15 };
            let at = self.desc + 16 * u64::from(self.next);
            if index == 0 {
                first = (at + 14, flags);
                let old = read_u16(memory, at + 14);
                put(memory, at, *addr, *len, (id, old));
            } else {
                put(memory, at, *addr, *len, (id, flags));
            }
            self.next += 1;
            if self.next == self.size {
                (self.next, self.wrap) = (0, !self.wrap);
            }
        }
        memory.write(PhysAddr(first.0), &first.1.to_le_bytes());
        id
    }
    /// The next buffer that the device gave back, and how many bytes it wrote.
    pub(crate) fn take_used(&mut self, memory: &GuestMemory) -> Option<(u16, u32)> {
        if self.format.packed {
            let at = self.desc + 16 * u64::from(self.used);
            let flags = read_u16(memory, at + 14);
            let (avail, used) = (flags & 1 << 7 != 0, flags & 1 << 15 != 0);
            if avail != used || used != self.used_wrap {
                return None;
            }
            let id = read_u16(memory, at + 12);
            self.used += self.places[usize::from(id)];
            if self.used >= self.size {
                (self.used, self.used_wrap) = (self.used - self.size, !self.used_wrap);
            }
            return Some((id, read_u32(memory, at + 8)));
        }
        if read_u16(memory, self.device + 2) == self.used {
            return None;
        }
        let at = self.device + 4 + 8 * u64::from(self.used % self.size);
        self.used = self.used.wrapping_add(1);
        Some((read_u32(memory, at) as u16, read_u32(memory, at + 4)))
    }
    /// Whether the device wants to hear of the buffer that was offered last: by its event index, or place in a packed ring.
    pub(crate) fn wants_notification(&self, memory: &GuestMemory) -> bool {
        if self.format.packed {
            let event = read_u16(memory, self.device);
            let (at, wrap) =
                if self.next == 0 { (self.size - 1, !self.wrap) } else { (self.next - 1, self.wrap) };
            return event == at | u16::from(wrap) << 15;
        }
        let event = read_u16(memory, self.device + 4 + 8 * u64::from(self.size));
        event == self.available.wrapping_sub(1)
    }
    /// Asks for an interrupt when `buffers` more were given back (split), or are (packed, places); event indices.
    pub(crate) fn want_interrupt_after(&self, memory: &GuestMemory, more: u16) {
        if self.format.packed {
            let at = self.used + more;
            let (at, wrap) =
                if at >= self.size { (at - self.size, !self.used_wrap) } else { (at, self.used_wrap) };
            let event = at | u16::from(wrap) << 15;
            memory.write(PhysAddr(self.driver), &event.to_le_bytes());
            memory.write(PhysAddr(self.driver + 2), &2u16.to_le_bytes());
        } else {
            let at = self.driver + 4 + 2 * u64::from(self.size);
            memory.write(PhysAddr(at), &self.used.wrapping_add(more).to_le_bytes());
        }
    }
}

/// A descriptor; the last two fields as the format has them.
pub(crate) fn put(memory: &GuestMemory, at: u64, addr: u64, len: u32, (third, fourth): (u16, u16)) {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&addr.to_le_bytes());
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    bytes[12..14].copy_from_slice(&third.to_le_bytes());
    bytes[14..].copy_from_slice(&fourth.to_le_bytes());
    memory.write(PhysAddr(at), &bytes);
}
pub(crate) fn read_u16(memory: &GuestMemory, at: u64) -> u16 {
    let mut bytes = [0; 2];
    memory.read(PhysAddr(at), &mut bytes);
    u16::from_le_bytes(bytes)
}
fn read_u32(memory: &GuestMemory, at: u64) -> u32 {
    memory.read_u32(PhysAddr(at))
}
