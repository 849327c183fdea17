//! Doorbells: registers whose writes only say that a queue in memory has something new.
//!
//! A driver writes them often, and nothing is read back. So where vCPUs have threads of their own, such a write takes no
//! device's lock: it sets a bit, and wakes the machine's thread, which tells the device. Where vCPUs run in turn, the write
//! goes to the device at once, as that of any register: no other thread could hold the lock, and runs stay reproducible.
//!
//! Where the value that is written is what is new, as with the tail of a ring of descriptors, it is kept in an [`AtomicU32`] that the
//! device has too: the last one counts, as it would in a register.

use crate::registry::DeviceId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// How a write says which bell rings.
#[derive(Clone, Debug)]
pub enum Bell {
    /// By its value, modulo 64.
    Value,
    /// By its offset: so many bytes belong to each bell.
    Offset {
        /// Bytes from one bell to the next: a power of two.
        stride: u64,
    },
    /// One bell of this number rings, and the value is that of a register.
    Register {
        /// Its number.
        bell: u8,
        /// Where the value is kept.
        register: Arc<AtomicU32>,
    },
}

/// Doorbell registers of a device.
#[derive(Debug)]
struct Place {
    device: DeviceId,
    bar: u8,
    first: u64,
    bytes: u64,
    bell: Bell,
    /// The bells of this place that rang.
    rung: AtomicU64,
}

/// All doorbells of a board.
#[derive(Default, Debug)]
pub(crate) struct Doorbells {
    places: Vec<Place>,
    any: AtomicBool,
}

impl Doorbells {
    /// Makes `bytes` bytes at offset `first` behind a base address register doorbells.
    pub(crate) fn place(&mut self, device: DeviceId, bar: u8, first: u64, bytes: u64, bell: Bell) {
        self.places.push(Place { device, bar, first, bytes, bell, rung: AtomicU64::new(0) });
    }
    /// Rings, where a write goes to a doorbell; returns whether it does.
    #[inline]
    pub(crate) fn ring(&self, device: DeviceId, bar: u8, offset: u64, value: u64) -> bool {
        let at = |place: &&Place| {
            place.device == device && place.bar == bar && offset.wrapping_sub(place.first) < place.bytes
        };
        let Some(place) = self.places.iter().find(at) else { return false };
        let bell = match &place.bell {
            Bell::Value => value,
            Bell::Offset { stride } => (offset - place.first) / stride,
            Bell::Register { bell, register } => {
                register.store(value as u32, Ordering::Release);
                u64::from(*bell)
            }
        };
        // What the driver wrote to its queue before is seen by whoever takes the bit.
        place.rung.fetch_or(1 << (bell % 64), Ordering::Release);
        self.any.store(true, Ordering::SeqCst);
        true
    }
    /// Tells `answer` of the bells that rang since the last call: the device, and a bit for each bell.
    pub(crate) fn take(&self, mut answer: impl FnMut(DeviceId, u64)) {
        if !self.any.swap(false, Ordering::SeqCst) {
            return;
        }
        for place in &self.places {
            match place.rung.swap(0, Ordering::Acquire) {
                0 => {}
                bells => answer(place.device, bells),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use trimotor_devices::post_port::PostPort;

    #[test]
    fn bells_ring_once_by_value_or_by_offset() {
        let device = Registry::default().add("device", PostPort::new()).id();
        let mut doorbells = Doorbells::default();
        doorbells.place(device, 2, 0x100, 8, Bell::Value);
        doorbells.place(device, 4, 0, 0x40, Bell::Offset { stride: 4 });
        assert!(!doorbells.ring(device, 2, 0xFF, 1) && !doorbells.ring(device, 2, 0x108, 1));
        assert!(!doorbells.ring(device, 3, 0x100, 1));
        let mut rang = Vec::new();
        doorbells.take(|_, bells| rang.push(bells));
        assert!(rang.is_empty());
        assert!(doorbells.ring(device, 2, 0x100, 3) && doorbells.ring(device, 2, 0x104, 64 + 5));
        assert!(doorbells.ring(device, 4, 0x1C, 99));
        doorbells.take(|_, bells| rang.push(bells));
        doorbells.take(|_, bells| rang.push(bells));
        assert_eq!(rang, [1 << 3 | 1 << 5, 1 << 7]);
    }

    #[test]
    fn a_register_keeps_the_last_value() {
        let device = Registry::default().add("device", PostPort::new()).id();
        let mut doorbells = Doorbells::default();
        let tail = Arc::new(AtomicU32::new(0));
        doorbells.place(device, 0, 0x3818, 4, Bell::Register { bell: 3, register: tail.clone() });
        assert!(doorbells.ring(device, 0, 0x3818, 7) && doorbells.ring(device, 0, 0x3818, 9));
        let mut rang = Vec::new();
        doorbells.take(|_, bells| rang.push(bells));
        assert_eq!((rang, tail.load(Ordering::Relaxed)), (vec![1 << 3], 9));
    }
}
