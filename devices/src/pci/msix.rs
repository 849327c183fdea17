//! MSI-X (PCI Local Bus Specification 3.0, section 6.8.2): interrupts as messages, each vector with an address,
//! data and a mask of its own.
//!
//! The capability in configuration space has the number of vectors, an enable bit and a mask for all. The table (16
//! bytes a vector: address, upper address, data, mask) and the array of pending bits are in memory behind a BAR,
//! here the table at offset 0 and the pending bits at [`PBA_OFFSET`]. A vector that is raised while it is masked waits as a
//! pending bit, and is sent when the mask goes. While MSI-X is off the function uses its interrupt pin.

use super::ConfigSpace;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use trimotor_bus::msi::MsiSink;
use trimotor_bus::{RestoreError, Width};

/// The capability's ID.
pub const CAPABILITY: u8 = 0x11;
/// The most vectors that fit in front of the pending bits.
pub const MAX_VECTORS: usize = 64;
/// Where the pending bits are in the BAR.
pub const PBA_OFFSET: u64 = 0x800;
/// Bytes of the BAR: table and pending bits.
pub const BAR_BYTES: u32 = 0x1000;
/// Bytes of a table entry.
const ENTRY_BYTES: u64 = 16;
/// Message control: MSI-X is on.
const ENABLE: u16 = 1 << 15;
/// Message control: all vectors are masked.
const MASK_ALL: u16 = 1 << 14;
/// Vector control: the vector is masked.
const MASKED: u32 = 1 << 0;

/// A table entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Vector {
    address: u64,
    data: u32,
    masked: bool,
}

/// The vectors of a function.
#[derive(Clone)]
pub struct Msix {
    sink: Arc<dyn MsiSink>,
    capability: u8,
    vectors: Vec<Vector>,
    /// A bit a vector.
    pending: u64,
    /// Message control as it was seen last.
    control: u16,
}

/// The saved state. Message control is in the function's configuration space.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MsixStateV1 {
    vectors: Vec<(u64, u32, bool)>,
    pending: u64,
}

const UNSET: Vector = Vector { address: 0, data: 0, masked: true };

impl Msix {
    /// Adds the capability for `vectors` vectors, whose table is behind `bar`, to a function's configuration space.
    ///
    /// # Panics
    /// With no vector, or more than [`MAX_VECTORS`]: the card's own mistake.
    pub fn new(config: &mut ConfigSpace, bar: u8, vectors: usize, sink: Arc<dyn MsiSink>) -> Self {
        assert!((1..=MAX_VECTORS).contains(&vectors), "{vectors} MSI-X vectors");
        let mut body = [0; 10];
        body[..2].copy_from_slice(&(vectors as u16 - 1).to_le_bytes());
        body[2..6].copy_from_slice(&u32::from(bar).to_le_bytes());
        body[6..].copy_from_slice(&(PBA_OFFSET as u32 | u32::from(bar)).to_le_bytes());
        let mut writable = [0; 10];
        writable[1] = ((ENABLE | MASK_ALL) >> 8) as u8;
        let capability = config.add_capability(CAPABILITY, &body, &writable);
        Self { sink, capability, vectors: vec![UNSET; vectors], pending: 0, control: 0 }
    }

    /// Bus reset; configuration space is reset by its owner.
    pub fn reset(&mut self) {
        self.vectors.fill(UNSET);
        self.pending = 0;
        self.control = 0;
    }
    /// Whether the guest has turned MSI-X on. If not, the function uses its interrupt pin.
    pub fn enabled(&self) -> bool {
        self.control & ENABLE != 0
    }
    /// Looks at message control after a write of configuration space.
    pub fn config_written(&mut self, config: &ConfigSpace) {
        self.control = config.u16(self.capability + 2);
        self.send_unmasked();
    }
    /// Raises a vector: sends its message, or notes it as pending while it is masked. Without MSI-X nothing happens.
    pub fn raise(&mut self, vector: usize) {
        if !self.enabled() || vector >= self.vectors.len() {
            return;
        }
        self.pending |= 1 << vector;
        self.send_unmasked();
    }
    fn send_unmasked(&mut self) {
        if !self.enabled() || self.control & MASK_ALL != 0 {
            return;
        }
        for (index, vector) in self.vectors.iter().enumerate() {
            if self.pending >> index & 1 != 0 && !vector.masked {
                self.pending &= !(1 << index);
                self.sink.send(vector.address, vector.data);
            }
        }
    }

    /// Reads the BAR. Accesses are aligned dwords and quadwords; others read the part of the dword that they touch.
    pub fn read(&self, offset: u64, width: Width) -> u64 {
        let low = u64::from(self.dword(offset & !3));
        let high = u64::from(self.dword((offset & !3) + 4));
        ((high << 32 | low) >> (8 * (offset & 3))) & width.mask()
    }
    fn dword(&self, offset: u64) -> u32 {
        if let Some(vector) = self.vectors.get((offset / ENTRY_BYTES) as usize) {
            return match offset % ENTRY_BYTES {
                0 => vector.address as u32,
                4 => (vector.address >> 32) as u32,
                8 => vector.data,
                _ => u32::from(vector.masked),
            };
        }
        match offset.checked_sub(PBA_OFFSET) {
            Some(0) => self.pending as u32,
            Some(4) => (self.pending >> 32) as u32,
            _ => 0,
        }
    }
    /// Writes the BAR: aligned dwords and quadwords; the specification leaves others undefined, and they are dropped.
    pub fn write(&mut self, offset: u64, width: Width, value: u64) {
        match width {
            Width::Dword if offset.is_multiple_of(4) => self.write_dword(offset, value as u32),
            Width::Qword if offset.is_multiple_of(8) => {
                self.write_dword(offset, value as u32);
                self.write_dword(offset + 4, (value >> 32) as u32);
            }
            _ => {}
        }
    }
    fn write_dword(&mut self, offset: u64, value: u32) {
        let Some(vector) = self.vectors.get_mut((offset / ENTRY_BYTES) as usize) else { return };
        match offset % ENTRY_BYTES {
            0 => vector.address = vector.address & !0xFFFF_FFFF | u64::from(value & !3),
            4 => vector.address = vector.address & 0xFFFF_FFFF | u64::from(value) << 32,
            8 => vector.data = value,
            _ => vector.masked = value & MASKED != 0,
        }
        self.send_unmasked();
    }

    /// The state now.
    pub fn save(&self) -> MsixStateV1 {
        let Self { sink: _, capability: _, vectors, pending, control: _ } = self;
        MsixStateV1 {
            vectors: vectors.iter().map(|v| (v.address, v.data, v.masked)).collect(),
            pending: *pending,
        }
    }
    /// Checks a saved state.
    ///
    /// # Errors
    /// Another number of vectors, or pending bits or an address that no vector has.
    pub fn check(&self, state: &MsixStateV1) -> Result<(), RestoreError> {
        let refuse = |field, value| Err(RestoreError { part: "MSI-X", field, value });
        let MsixStateV1 { vectors, pending } = state;
        if vectors.len() != self.vectors.len() {
            return refuse("vectors", vectors.len().to_string());
        }
        if let Some((address, ..)) = vectors.iter().find(|(address, ..)| address & 3 != 0) {
            return refuse("address", format!("{address:#x}"));
        }
        if pending.checked_shr(vectors.len() as u32).unwrap_or(0) != 0 {
            return refuse("pending", format!("{pending:#x}"));
        }
        Ok(())
    }
    /// Takes a saved state; `config` has been restored already. No message is sent.
    ///
    /// # Errors
    /// See [`check`](Self::check).
    pub fn restore(&mut self, state: MsixStateV1, config: &ConfigSpace) -> Result<(), RestoreError> {
        self.check(&state)?;
        let MsixStateV1 { vectors, pending } = state;
        self.vectors =
            vectors.into_iter().map(|(address, data, masked)| Vector { address, data, masked }).collect();
        self.pending = pending;
        self.control = config.u16(self.capability + 2);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::Identity;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Log(Mutex<Vec<(u64, u32)>>);
    impl MsiSink for Log {
        fn send(&self, address: u64, data: u32) {
            self.0.lock().unwrap().push((address, data));
        }
    }

    fn function() -> (ConfigSpace, Msix, Arc<Log>) {
        let mut config = ConfigSpace::new(Identity {
            vendor: 1,
            device: 1,
            revision: 0,
            class: 0,
            subsystem: (0, 0),
            multifunction: false,
            interrupt_pin: 1,
        });
        let log = Arc::new(Log::default());
        let msix = Msix::new(&mut config, 4, 3, log.clone());
        (config, msix, log)
    }
    fn set_control(config: &mut ConfigSpace, msix: &mut Msix, control: u16) {
        config.write(0x42, Width::Word, control.into());
        msix.config_written(config);
    }

    #[test]
    fn the_capability_says_where_the_table_is() {
        let (config, ..) = function();
        assert_eq!(config.read(0x34, Width::Byte), 0x40);
        assert_eq!(config.u32(0x40), 0x0002_0011);
        assert_eq!((config.u32(0x44), config.u32(0x48)), (4, 0x804));
    }

    #[test]
    fn masked_vectors_wait() {
        let (mut config, mut msix, log) = function();
        msix.raise(1);
        assert_eq!(msix.read(PBA_OFFSET, Width::Dword), 0, "MSI-X is off");
        msix.write(16, Width::Qword, 0xFEE0_1000);
        msix.write(24, Width::Dword, 0x41);
        set_control(&mut config, &mut msix, ENABLE);
        msix.raise(1);
        msix.raise(7);
        assert_eq!(msix.read(PBA_OFFSET, Width::Qword), 2);
        msix.write(28, Width::Dword, 0);
        assert_eq!(*log.0.lock().unwrap(), [(0xFEE0_1000, 0x41)]);
        set_control(&mut config, &mut msix, ENABLE | MASK_ALL);
        msix.raise(1);
        assert_eq!((log.0.lock().unwrap().len(), msix.read(PBA_OFFSET, Width::Dword)), (1, 2));
        set_control(&mut config, &mut msix, ENABLE);
        assert_eq!((log.0.lock().unwrap().len(), msix.read(PBA_OFFSET, Width::Dword)), (2, 0));
    }

    #[test]
    fn the_table_reads_what_was_written() {
        let (_, mut msix, _) = function();
        msix.write(0, Width::Dword, 0xFEE0_0003);
        msix.write(4, Width::Dword, 5);
        msix.write(9, Width::Dword, 1);
        msix.write(8, Width::Word, 1);
        assert_eq!(msix.read(0, Width::Qword), 0x5_FEE0_0000);
        assert_eq!(msix.read(8, Width::Qword), 1 << 32, "no data, masked");
        assert_eq!(msix.read(2, Width::Word), 0xFEE0);
        assert_eq!(msix.read(48, Width::Qword), 0, "behind the last vector");
        msix.write(BAR_BYTES.into(), Width::Qword, u64::MAX);
        msix.write(PBA_OFFSET, Width::Qword, u64::MAX);
        assert_eq!(msix.read(PBA_OFFSET, Width::Qword), 0, "pending bits are read-only");
    }

    #[test]
    fn hostile_states_are_refused() {
        let (mut config, mut msix, log) = function();
        set_control(&mut config, &mut msix, ENABLE);
        msix.raise(2);
        let saved = msix.save();
        let vectors = saved.vectors.clone();
        for state in [
            MsixStateV1 { vectors: vectors[1..].to_vec(), pending: 0 },
            MsixStateV1 { vectors: vectors.clone(), pending: 8 },
            MsixStateV1 { vectors: vec![(1, 0, true); 3], pending: 0 },
        ] {
            assert!(msix.restore(state, &config).is_err());
        }
        assert_eq!(msix.save(), saved);
        msix.restore(saved.clone(), &config).unwrap();
        assert_eq!((msix.save(), log.0.lock().unwrap().len()), (saved, 0));
    }
}
