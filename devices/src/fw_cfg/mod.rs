//! fw_cfg: how a virtual PC hands things to its firmware (the specification is in QEMU's
//! documentation, "QEMU Firmware Configuration (fw_cfg) Device").
//!
//! Items are byte strings with a 16-bit key. A word written to port 510h selects one; each
//! read of port 511h then gives its next byte. Key 0 is a signature, key 1 says what the
//! device can do, key 19h lists the items that have names, as files have. Port 514h takes, in
//! two big-endian dwords, the address of a request block in memory, by which whole items are
//! copied at once.
//!
//! Files may follow the machine: ACPI tables say where the firmware has put the power-management registers
//! ([`ChangingFiles`]).
//!
//! A file may be another device's, which firmware writes to by requests ([`WritableFile`]): so it tells where it has put
//! something. All other items are read-only, and a request to write them, or past a file's end, is answered with an error.
//! Beyond its end an item reads as zeroes. No interrupt.

use crate::device::Device;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use trimotor_bus::device::DmaBus;
use trimotor_bus::{GuestTime, PhysAddr, Port, PortDevice, RestoreError, SaveState, Width, board};

/// Key of the signature.
pub const KEY_SIGNATURE: u16 = 0x00;
/// Key of the feature bits.
pub const KEY_ID: u16 = 0x01;
/// Key of the RAM size in bytes (eight bytes).
pub const KEY_RAM_SIZE: u16 = 0x03;
/// Key of the number of processors at start (two bytes).
pub const KEY_CPU_COUNT: u16 = 0x05;
/// Key of the kernel's size (four bytes) for a direct boot.
pub const KEY_KERNEL_SIZE: u16 = 0x08;
/// Key of the initial RAM disk's size.
pub const KEY_INITRD_SIZE: u16 = 0x0B;
/// Key of the boot menu switch (two bytes).
pub const KEY_BOOT_MENU: u16 = 0x0E;
/// Key of the highest number of processors (two bytes).
pub const KEY_MAX_CPUS: u16 = 0x0F;
/// Key of the kernel.
pub const KEY_KERNEL_DATA: u16 = 0x11;
/// Key of the initial RAM disk.
pub const KEY_INITRD_DATA: u16 = 0x12;
/// Key of the list of files.
pub const KEY_FILE_DIRECTORY: u16 = 0x19;
/// Bit of the keys that belong to the processor architecture.
pub const KEY_ARCHITECTURE: u16 = 0x8000;
/// Key of the first file.
pub const FIRST_FILE: u16 = 0x20;
/// The most files.
pub const MAX_FILES: usize = 0x100;
/// The most bytes of a file's name, without the zero behind it.
pub const NAME_BYTES: usize = 55;

const ID_TRADITIONAL: u32 = 1;
const ID_DMA: u32 = 2;
/// "QEMU CFG": what the DMA register reads.
const DMA_SIGNATURE: u64 = 0x5145_4D55_2043_4647;
const CONTROL_ERROR: u32 = 1 << 0;
const CONTROL_READ: u32 = 1 << 1;
const CONTROL_SKIP: u32 = 1 << 2;
const CONTROL_SELECT: u32 = 1 << 3;
const CONTROL_WRITE: u32 = 1 << 4;
/// Bytes that are copied at once.
const CHUNK: usize = 64 << 10;
/// The most zeroes behind an item that one request gets: the length comes from the guest.
const MOST_PADDING: u32 = 16 << 20;

/// An item could not be added.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FwCfgError {
    /// The name does not fit the directory.
    #[error("fw_cfg file name {name:?}: must be 1 to 55 bytes without a zero")]
    Name {
        /// The name.
        name: String,
    },
    /// The name or key is there already.
    #[error("fw_cfg item {name}: there already")]
    Taken {
        /// The name or key.
        name: String,
    },
    /// The directory is full.
    #[error("fw_cfg file {name:?}: there are 256 files already")]
    Full {
        /// The name.
        name: String,
    },
    /// Sizes have 32 bits.
    #[error("fw_cfg item {name}: longer than 4 GiB")]
    Size {
        /// The name or key.
        name: String,
    },
}

/// Files that change with the machine.
pub trait ChangingFiles: Send {
    /// Files by name, each as long as before, where they have changed since they were last asked for.
    fn changed(&mut self) -> Option<Vec<(String, Vec<u8>)>>;
}

/// A file that firmware writes to. What is in it is another device's to keep.
pub trait WritableFile: Send {
    /// What is in it now: as many bytes at all times.
    fn bytes(&self) -> Vec<u8>;
    /// Firmware wrote `bytes` from `offset` on.
    fn write(&mut self, offset: usize, bytes: &[u8]);
}

/// The device.
pub struct FwCfg {
    memory: Arc<dyn DmaBus>,
    changing: Option<Box<dyn ChangingFiles>>,
    /// By their keys.
    writable: BTreeMap<u16, Box<dyn WritableFile>>,
    items: BTreeMap<u16, Vec<u8>>,
    /// Names in order of their keys.
    names: Vec<String>,
    directory: Vec<u8>,
    selected: u16,
    offset: u32,
    dma_address: u64,
}

/// The saved state. The items are configuration: they are handed in again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FwCfgStateV1 {
    selected: u16,
    offset: u32,
    dma_address: u64,
}

impl FwCfg {
    /// A device with its signature and an empty directory. `memory` is what requests copy to.
    pub fn new(memory: Arc<dyn DmaBus>) -> Self {
        let mut items = BTreeMap::new();
        items.insert(KEY_SIGNATURE, b"QEMU".to_vec());
        items.insert(KEY_ID, (ID_TRADITIONAL | ID_DMA).to_le_bytes().to_vec());
        let directory = 0u32.to_be_bytes().to_vec();
        Self {
            memory,
            changing: None,
            writable: BTreeMap::new(),
            items,
            names: Vec::new(),
            directory,
            selected: 0,
            offset: 0,
            dma_address: 0,
        }
    }

    /// Adds an item with a key of the specification.
    ///
    /// # Errors
    /// A key that is taken, or is the directory's or a file's; more than 4 GiB.
    pub fn add_item(&mut self, key: u16, bytes: Vec<u8>) -> Result<(), FwCfgError> {
        let name = format!("{key:#x}");
        if u32::try_from(bytes.len()).is_err() {
            return Err(FwCfgError::Size { name });
        }
        let fixed = key < KEY_FILE_DIRECTORY || key & KEY_ARCHITECTURE != 0;
        if !fixed || self.items.contains_key(&key) {
            return Err(FwCfgError::Taken { name });
        }
        self.items.insert(key, bytes);
        Ok(())
    }

    /// Adds a file; returns its key.
    ///
    /// # Errors
    /// See [`FwCfgError`].
    pub fn add_file(&mut self, name: &str, bytes: Vec<u8>) -> Result<u16, FwCfgError> {
        let owned = || name.to_string();
        if name.is_empty() || name.len() > NAME_BYTES || name.contains('\0') {
            return Err(FwCfgError::Name { name: owned() });
        }
        if self.names.iter().any(|taken| taken == name) {
            return Err(FwCfgError::Taken { name: owned() });
        }
        if self.names.len() == MAX_FILES {
            return Err(FwCfgError::Full { name: owned() });
        }
        let size = u32::try_from(bytes.len()).map_err(|_| FwCfgError::Size { name: owned() })?;
        let key = FIRST_FILE + self.names.len() as u16;
        self.names.push(owned());
        self.items.insert(key, bytes);
        // An entry: size, key, two bytes of nothing, the name with zeroes to 56 bytes.
        self.directory[..4].copy_from_slice(&(self.names.len() as u32).to_be_bytes());
        self.directory.extend(size.to_be_bytes());
        self.directory.extend(key.to_be_bytes());
        self.directory.extend([0; 2]);
        self.directory.extend(name.bytes().chain(std::iter::repeat(0)).take(NAME_BYTES + 1));
        Ok(key)
    }

    /// Adds a file that firmware writes to; returns its key.
    ///
    /// # Errors
    /// See [`FwCfgError`].
    pub fn add_writable_file(&mut self, name: &str, file: Box<dyn WritableFile>) -> Result<u16, FwCfgError> {
        let key = self.add_file(name, file.bytes())?;
        self.writable.insert(key, file);
        Ok(key)
    }
    /// Asks `files`, from now on, for the content of files that were added.
    pub fn set_changing(&mut self, files: Box<dyn ChangingFiles>) {
        self.changing = Some(files);
    }
    /// Takes the content of files that have changed.
    fn refresh(&mut self) {
        if let (Some(file), Some(item)) =
            (self.writable.get(&self.selected), self.items.get_mut(&self.selected))
        {
            *item = file.bytes();
        }
        let Some(changed) = self.changing.as_mut().and_then(|files| files.changed()) else { return };
        for (name, bytes) in changed {
            let Some(at) = self.names.iter().position(|other| *other == name) else { continue };
            // The directory, which firmware may have read, has the length.
            if let Some(item) = self.items.get_mut(&(FIRST_FILE + at as u16))
                && item.len() == bytes.len()
            {
                *item = bytes;
            }
        }
    }

    /// The bytes of a file, if it is there.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        let at = self.names.iter().position(|n| n == name)?;
        self.items.get(&(FIRST_FILE + at as u16)).map(Vec::as_slice)
    }

    /// Machine reset: nothing is selected. The items stay.
    pub fn reset(&mut self) {
        self.selected = 0;
        self.offset = 0;
        self.dma_address = 0;
    }

    fn item(&self) -> Option<&[u8]> {
        if self.selected == KEY_FILE_DIRECTORY {
            return Some(&self.directory);
        }
        self.items.get(&self.selected).map(Vec::as_slice)
    }

    fn select(&mut self, key: u16) {
        self.selected = key;
        self.offset = 0;
    }

    fn next_byte(&mut self) -> u8 {
        self.refresh();
        let byte = self.item().and_then(|item| item.get(self.offset as usize)).copied().unwrap_or(0);
        self.offset = self.offset.saturating_add(1);
        byte
    }

    fn write_dma_address(&mut self, byte_offset: u16, width: Width, value: u32) {
        match (byte_offset, width) {
            (0, Width::Dword) => self.dma_address = (value.swap_bytes() as u64) << 32,
            (4, Width::Dword) => {
                let at = PhysAddr(self.dma_address | value.swap_bytes() as u64);
                self.dma_address = 0;
                self.transfer(at);
            }
            _ => {}
        }
    }

    /// One request: control, length and address, big-endian, in memory.
    fn transfer(&mut self, request: PhysAddr) {
        let mut block = [0; 16];
        self.memory.dma_read(request, &mut block);
        let word = |at: usize| u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
        let (control, length) = (word(0), word(4));
        let address = PhysAddr((word(8) as u64) << 32 | word(12) as u64);
        if control & CONTROL_SELECT != 0 {
            self.select((control >> 16) as u16);
        }
        let mut answer = 0;
        if control & CONTROL_READ != 0 {
            if !self.copy_out(address, length) {
                answer = CONTROL_ERROR;
            }
        } else if control & CONTROL_WRITE != 0 {
            if !self.take_in(address, length) {
                answer = CONTROL_ERROR;
            }
        } else if control & CONTROL_SKIP != 0 {
            self.offset = self.offset.saturating_add(length);
        }
        self.memory.dma_write(request, &answer.to_be_bytes());
    }

    /// Writes `length` bytes from `from` to the selected item, where it can be written and has room for them.
    fn take_in(&mut self, from: PhysAddr, length: u32) -> bool {
        let Some(file) = self.writable.get_mut(&self.selected) else { return false };
        let Some(end) = self.offset.checked_add(length) else { return false };
        if end as usize > file.bytes().len() {
            return false;
        }
        let mut bytes = vec![0; length as usize];
        self.memory.dma_read(from, &mut bytes);
        file.write(self.offset as usize, &bytes);
        self.offset = end;
        true
    }
    /// Copies `length` bytes of the selected item to `to`; zeroes behind its end.
    fn copy_out(&mut self, to: PhysAddr, length: u32) -> bool {
        self.refresh();
        let (offset, memory) = (self.offset as usize, self.memory.clone());
        let item = self.item().unwrap_or(&[]);
        let rest = &item[offset.min(item.len())..];
        let bytes = &rest[..rest.len().min(length as usize)];
        let padding = length - bytes.len() as u32;
        if padding > MOST_PADDING {
            return false;
        }
        memory.dma_write(to, bytes);
        let zeroes = vec![0; CHUNK.min(padding as usize)];
        let mut at = to.offset(bytes.len() as u64);
        let mut left = padding as usize;
        while left > 0 {
            let now = left.min(CHUNK);
            memory.dma_write(at, &zeroes[..now]);
            at = at.offset(now as u64);
            left -= now;
        }
        self.offset = self.offset.saturating_add(length);
        true
    }
}

impl PortDevice for FwCfg {
    fn port_read(&mut self, port: Port, width: Width, _now: GuestTime) -> u32 {
        let nobody = width.mask() as u32;
        match port.0.wrapping_sub(board::FW_CFG.0) {
            1 => nobody & !0xFF | self.next_byte() as u32,
            at @ 4..=11 => {
                let bytes = DMA_SIGNATURE.to_be_bytes();
                let byte = |i: usize| bytes.get(at as usize - 4 + i).copied().unwrap_or(0xFF) as u32;
                (0..width.bytes().min(4)).fold(0, |value, i| value | byte(i) << (8 * i))
            }
            _ => nobody,
        }
    }

    fn port_write(&mut self, port: Port, width: Width, value: u32, _now: GuestTime) {
        match port.0.wrapping_sub(board::FW_CFG.0) {
            0 if width == Width::Word => self.select(value as u16),
            at @ 4..=11 => self.write_dma_address(at - 4, width, value),
            _ => {}
        }
    }
}

impl SaveState for FwCfg {
    type State = FwCfgStateV1;
    fn save(&self) -> FwCfgStateV1 {
        let Self {
            memory: _,
            changing: _,
            writable: _,
            items: _,
            names: _,
            directory: _,
            selected,
            offset,
            dma_address,
        } = self;
        FwCfgStateV1 { selected: *selected, offset: *offset, dma_address: *dma_address }
    }
    fn restore(&mut self, state: FwCfgStateV1) -> Result<(), RestoreError> {
        let FwCfgStateV1 { selected, offset, dma_address } = state;
        (self.selected, self.offset, self.dma_address) = (selected, offset, dma_address);
        Ok(())
    }
}

impl Device for FwCfg {
    fn reset(&mut self, _now: GuestTime) {
        FwCfg::reset(self);
    }
    fn info(&self) -> String {
        format!("{} items, {} files", self.items.len(), self.names.len())
    }
    fn ports(&mut self) -> Option<&mut dyn PortDevice> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_bus::GuestMemory;

    const NOW: GuestTime = GuestTime::ZERO;

    fn device() -> (FwCfg, Arc<GuestMemory>) {
        let memory = GuestMemory::new(2 << 20, &[]).unwrap();
        (FwCfg::new(memory.clone()), memory)
    }
    fn read(d: &mut FwCfg, key: u16, bytes: usize) -> Vec<u8> {
        d.port_write(Port(0x510), Width::Word, key as u32, NOW);
        (0..bytes).map(|_| d.port_read(Port(0x511), Width::Byte, NOW) as u8).collect()
    }
    fn request(d: &mut FwCfg, m: &GuestMemory, control: u32, length: u32, to: u64) -> u32 {
        let block = [control.to_be_bytes(), length.to_be_bytes()].concat();
        m.write(PhysAddr(0x1000), &block);
        m.write(PhysAddr(0x1008), &to.to_be_bytes());
        d.port_write(Port(0x514), Width::Dword, 0, NOW);
        d.port_write(Port(0x518), Width::Dword, 0x1000u32.swap_bytes(), NOW);
        m.read_u32(PhysAddr(0x1000)).swap_bytes()
    }

    #[test]
    fn signature_features_and_items() {
        let (mut d, _) = device();
        assert_eq!(read(&mut d, KEY_SIGNATURE, 6), b"QEMU\0\0");
        assert_eq!(read(&mut d, KEY_ID, 4), [3, 0, 0, 0]);
        d.add_item(KEY_CPU_COUNT, vec![4, 0]).unwrap();
        assert_eq!(read(&mut d, KEY_CPU_COUNT, 2), [4, 0]);
        assert!(d.add_item(KEY_CPU_COUNT, vec![]).is_err());
        assert!(d.add_item(FIRST_FILE, vec![]).is_err());
        assert_eq!(d.port_read(Port(0x514), Width::Dword, NOW).swap_bytes(), 0x5145_4D55);
        assert_eq!(d.port_read(Port(0x518), Width::Dword, NOW).swap_bytes(), 0x2043_4647);
        assert_eq!(read(&mut d, 0xFFFF, 3), [0; 3]);
    }

    #[test]
    fn the_directory_lists_files() {
        let (mut d, _) = device();
        let key = d.add_file("etc/e820", vec![1, 2, 3]).unwrap();
        assert_eq!(d.add_file("etc/e820", vec![]), Err(FwCfgError::Taken { name: "etc/e820".into() }));
        assert!(d.add_file(&"x".repeat(56), vec![]).is_err());
        assert!(d.add_file("", vec![]).is_err());
        let directory = read(&mut d, KEY_FILE_DIRECTORY, 68);
        assert_eq!(directory[..12], [0, 0, 0, 1, 0, 0, 0, 3, 0, key as u8, 0, 0]);
        assert_eq!(&directory[12..21], b"etc/e820\0");
        assert_eq!(read(&mut d, key, 4), [1, 2, 3, 0]);
        assert_eq!(d.file("etc/e820"), Some(&[1, 2, 3][..]));
        for n in 1..MAX_FILES {
            d.add_file(&n.to_string(), vec![]).unwrap();
        }
        assert_eq!(d.add_file("more", vec![]), Err(FwCfgError::Full { name: "more".into() }));
    }

    #[test]
    fn files_follow_the_machine_and_keep_their_length() {
        struct Next(Vec<Vec<u8>>);
        impl ChangingFiles for Next {
            fn changed(&mut self) -> Option<Vec<(String, Vec<u8>)>> {
                Some(vec![("f".to_owned(), self.0.pop()?), ("unknown".to_owned(), vec![])])
            }
        }
        let (mut d, m) = device();
        let key = d.add_file("f", vec![1, 2]).unwrap();
        d.set_changing(Box::new(Next(vec![vec![5], vec![3, 4]])));
        assert_eq!(read(&mut d, key, 2), [3, 4], "the last one has another length");
        d.set_changing(Box::new(Next(vec![vec![6, 7]])));
        assert_eq!(request(&mut d, &m, (key as u32) << 16 | CONTROL_SELECT | CONTROL_READ, 2, 0x2000), 0);
        let mut got = [0; 2];
        m.read(PhysAddr(0x2000), &mut got);
        assert_eq!(got, [6, 7]);
    }

    #[test]
    fn requests_copy_skip_and_refuse() {
        let (mut d, m) = device();
        let key = d.add_file("opt/data", (1..=100).collect()).unwrap() as u32;
        m.write(PhysAddr(0x2000), &[0xEE; 32]);
        assert_eq!(request(&mut d, &m, key << 16 | CONTROL_SELECT | CONTROL_READ, 4, 0x2000), 0);
        assert_eq!(request(&mut d, &m, CONTROL_SKIP, 90, 0), 0);
        assert_eq!(request(&mut d, &m, CONTROL_READ, 10, 0x2004), 0);
        let mut got = [0; 16];
        m.read(PhysAddr(0x2000), &mut got);
        assert_eq!(got, [1, 2, 3, 4, 95, 96, 97, 98, 99, 100, 0, 0, 0, 0, 0xEE, 0xEE]);
        assert_eq!(request(&mut d, &m, CONTROL_WRITE, 1, 0x2000), CONTROL_ERROR);
        assert_eq!(request(&mut d, &m, CONTROL_READ, u32::MAX, 0x2000), CONTROL_ERROR);
        // To nowhere: nothing happens to anyone.
        assert_eq!(request(&mut d, &m, key << 16 | CONTROL_SELECT | CONTROL_READ, 8, u64::MAX - 3), 0);
    }

    #[test]
    fn files_of_other_devices_are_written() {
        struct Kept(Arc<std::sync::Mutex<Vec<u8>>>);
        impl WritableFile for Kept {
            fn bytes(&self) -> Vec<u8> {
                self.0.lock().unwrap().clone()
            }
            fn write(&mut self, offset: usize, bytes: &[u8]) {
                self.0.lock().unwrap()[offset..][..bytes.len()].copy_from_slice(bytes);
            }
        }
        let (mut d, m) = device();
        let content = Arc::new(std::sync::Mutex::new(vec![1, 2, 3, 4]));
        d.add_file("other", vec![9]).unwrap();
        let key = d.add_writable_file("place", Box::new(Kept(content.clone()))).unwrap();
        assert!(d.add_writable_file("place", Box::new(Kept(content.clone()))).is_err());
        m.write(PhysAddr(0x2000), &[5, 6, 7, 8, 9]);
        let select = u32::from(key) << 16 | CONTROL_SELECT;
        assert_eq!(request(&mut d, &m, select | CONTROL_SKIP, 1, 0), 0);
        assert_eq!(request(&mut d, &m, CONTROL_WRITE, 2, 0x2000), 0);
        assert_eq!(*content.lock().unwrap(), [1, 5, 6, 4]);
        assert_eq!(request(&mut d, &m, CONTROL_WRITE, 2, 0x2000), CONTROL_ERROR, "past its end");
        assert_eq!(request(&mut d, &m, CONTROL_WRITE, u32::MAX, 0x2000), CONTROL_ERROR);
        assert_eq!(read(&mut d, key, 5), [1, 5, 6, 4, 0]);
        content.lock().unwrap()[0] = 0xAA;
        assert_eq!(read(&mut d, key, 1), [0xAA], "what the device has in it now");
        // By the data port nothing is written.
        d.port_write(Port(0x511), Width::Byte, 0x77, NOW);
        assert_eq!(*content.lock().unwrap(), [0xAA, 5, 6, 4]);
    }

    #[test]
    fn a_saved_state_reads_on() {
        let (mut d, _) = device();
        d.add_file("f", vec![5, 6, 7]).unwrap();
        read(&mut d, FIRST_FILE, 1);
        let state = d.save();
        d.reset();
        d.restore(state).unwrap();
        assert_eq!(d.port_read(Port(0x511), Width::Byte, NOW), 6);
    }
}
