//! The windows of the first megabyte, and SMRAM behind one of them.
//!
//! The first megabyte is divided into 64 windows of 16 KiB. The PAM and SMRAM registers of the chipset decide what each
//! does with reads and writes, each apart from the other: RAM, firmware ROM, or whatever else is at that address (device
//! memory, an option ROM, a device's registers).

use super::GuestMemory;
use crate::PhysAddr;
use std::sync::atomic::{AtomicU8, Ordering};

/// The size of one window of the first megabyte.
pub const WINDOW_SIZE: u64 = 16 << 10;
const WINDOWS: usize = 64;
/// Where system-management mode may have memory of its own, behind the VGA window.
pub const SMRAM: std::ops::Range<u64> = 0xA_0000..0xC_0000;

/// Whose view of memory is meant: SMRAM is there for some only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum View {
    /// Of a processor in system-management mode, for data.
    Smm,
    /// Of a processor in system-management mode, for instruction fetches.
    SmmCode,
    /// Of all others, and of bus masters.
    Plain,
}

impl View {
    /// The view that a processor which is in system-management mode, or is not, has of data.
    pub fn of(in_smm: bool) -> Self {
        if in_smm { View::Smm } else { View::Plain }
    }
    /// The view that it has of code.
    pub fn of_code(in_smm: bool) -> Self {
        if in_smm { View::SmmCode } else { View::Plain }
    }
}

/// What processors in system-management mode see at [`SMRAM`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Smram {
    /// The VGA window, as all others do.
    Hidden = 0,
    /// They fetch code from RAM; data is that of the VGA window.
    Code = 1,
    /// RAM.
    Open = 2,
}

/// What a window of the first megabyte does with reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum WindowRead {
    /// RAM answers.
    Ram = 0,
    /// Firmware ROM answers.
    Rom = 1,
    /// A device answers, by its memory or its registers, or nobody does.
    Device = 2,
}

/// What a window of the first megabyte does with writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum WindowWrite {
    /// RAM takes them.
    Ram = 0,
    /// They are dropped.
    Nowhere = 1,
    /// A device takes them.
    Device = 2,
}

/// What the windows do now.
pub(super) struct Windows {
    each: [AtomicU8; WINDOWS],
    /// What vCPUs in system-management mode see at [`SMRAM`], whatever the windows say: a [`Smram`].
    smram: AtomicU8,
}

impl Windows {
    /// All of it RAM.
    pub(super) fn new() -> Windows {
        Windows { each: std::array::from_fn(|_| AtomicU8::new(0)), smram: AtomicU8::new(Smram::Hidden as u8) }
    }
    /// What `view` finds at an address below 1 MiB.
    #[inline]
    pub(super) fn at(&self, addr: PhysAddr, view: View) -> (WindowRead, WindowWrite) {
        if SMRAM.contains(&addr.0) && self.sees_smram(view) {
            return (WindowRead::Ram, WindowWrite::Ram);
        }
        let w = self.each[(addr.0 / WINDOW_SIZE) as usize].load(Ordering::Acquire);
        let read = [WindowRead::Ram, WindowRead::Rom, WindowRead::Device][(w & 3) as usize];
        let write = [WindowWrite::Ram, WindowWrite::Nowhere, WindowWrite::Device][(w >> 4 & 3) as usize];
        (read, write)
    }
    /// Whether `view` sees RAM at [`SMRAM`], whatever the windows say.
    fn sees_smram(&self, view: View) -> bool {
        let least = match view {
            View::Plain => return false,
            View::SmmCode => Smram::Code,
            View::Smm => Smram::Open,
        };
        self.smram.load(Ordering::Acquire) >= least as u8
    }
}

impl GuestMemory {
    /// Decides what the windows of the first megabyte that `range` covers do. Both ends are
    /// multiples of 16 KiB, below 1 MiB. Changes [`map_generation`](Self::map_generation).
    pub fn set_window(&self, range: std::ops::Range<u64>, read: WindowRead, write: WindowWrite) {
        assert!(
            range.end <= 1 << 20
                && range.start.is_multiple_of(WINDOW_SIZE)
                && range.end.is_multiple_of(WINDOW_SIZE)
        );
        for at in range.step_by(WINDOW_SIZE as usize) {
            self.windows.each[(at / WINDOW_SIZE) as usize]
                .store(read as u8 | (write as u8) << 4, Ordering::Release);
        }
        self.map_changed();
    }
    /// What a window of the first megabyte does now, outside system-management mode.
    pub fn window(&self, addr: PhysAddr) -> (WindowRead, WindowWrite) {
        self.windows.at(addr, View::Plain)
    }
    /// Decides what vCPUs in system-management mode see at [`SMRAM`]. Changes
    /// [`map_generation`](Self::map_generation) where it does anything.
    pub fn set_smram(&self, shown: Smram) {
        if self.windows.smram.swap(shown as u8, Ordering::AcqRel) != shown as u8 {
            self.map_changed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smram_is_there_for_system_management_mode_only() {
        let m = GuestMemory::new(1 << 20, &[]).unwrap();
        let at = PhysAddr(0xA_8000);
        assert_eq!(m.write_for(at, &[1], View::Smm), 0);
        let generation = m.map_generation();
        m.set_smram(Smram::Open);
        assert_ne!(m.map_generation(), generation);
        assert_eq!(m.write_for(at, &[7], View::Smm), 1);
        assert_eq!(m.write(at, &[9]), 0, "bus masters see the VGA window");
        let mut byte = [0];
        assert_eq!((m.read(at, &mut byte), byte), (0, [0xFF]));
        assert_eq!((m.read_for(at, &mut byte, View::Smm), byte), (1, [7]));
        m.set_smram(Smram::Code);
        assert_eq!(m.read_for(at, &mut byte, View::Smm), 0);
        assert_eq!((m.read_for(at, &mut byte, View::SmmCode), byte), (1, [7]));
        m.set_smram(Smram::Hidden);
        assert_eq!(m.read_for(at, &mut byte, View::SmmCode), 0);
    }
}
