//! The VM generation ID: a GUID in guest memory that is another one when the machine is not the one that it was.
//!
//! A machine that goes back to a snapshot, or is one of several that go on from one file, has random numbers, keys and places in
//! distributed databases that others have too. Its guest sees that by the GUID, and is told to look by an event; Linux then
//! seeds its random numbers anew, Windows' domain controllers give up the numbers that they have in hand.
//!
//! | offset in the page | what |
//! |---|---|
//! | 0 to 39 | zero: UEFI firmware, which finds the page by a pointer from an ACPI table, would take it for a table otherwise |
//! | 40 to 55 | the GUID, its first three fields with the least byte first |
//!
//! The page is RAM that firmware has reserved. An ACPI device, which drivers know by the id "VM_Gen_Counter", tells the operating system where
//! the GUID is (`firmware/src/tables/vmgenid.rs`). Firmware tells this device, by writing the page's address, eight bytes with the
//! least first, to the file `etc/vmgenid_addr` of fw_cfg ([`AddressFile`]). Zero is no address. The device then writes the GUID, and again when it
//! changes; what else is in the page stays. The event is general-purpose event 5 of the power-management block
//! ([`board::GENERATION_GPE`]), which the machine raises.
//!
//! A reset keeps the GUID: it is still the same machine. The page is forgotten, until firmware tells of it again.
//!
//! Source: Microsoft, "Virtual Machine Generation ID"; QEMU, "Virtual Machine Generation ID Device".

use crate::device::Device;
use crate::fw_cfg::WritableFile;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trimotor_bus::{DmaBus, GuestTime, PhysAddr, RestoreError, SaveState, board};

/// The topic of a monitor's `info` on which the device has to say what its GUID is.
pub const TOPIC: &str = "vm-generation-id";

/// A globally unique identifier: its bytes in the order in which they are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// Bytes of the fields, as they are written with dashes between them.
    const FIELDS: [usize; 5] = [4, 2, 2, 2, 6];

    /// One made of these random bytes (version 4 of RFC 4122).
    pub fn of_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0F | 0x40;
        bytes[8] = bytes[8] & 0x3F | 0x80;
        Self(bytes)
    }
    /// As it is in memory: the first three fields are numbers, with the least byte first.
    pub fn in_memory(self) -> [u8; 16] {
        let mut bytes = self.0;
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = &self.0[..];
        for (number, bytes) in Self::FIELDS.into_iter().enumerate() {
            if number > 0 {
                f.write_str("-")?;
            }
            let (field, behind) = rest.split_at(bytes);
            field.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            rest = behind;
        }
        Ok(())
    }
}

impl FromStr for Guid {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?}: write a GUID, as in 324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87");
        let fields: Vec<&str> = text.split('-').collect();
        let fit = fields.len() == Self::FIELDS.len()
            && fields.iter().zip(Self::FIELDS).all(|(field, bytes)| field.len() == 2 * bytes);
        let digits = fields.concat();
        if !fit || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(refused());
        }
        let number = u128::from_str_radix(&digits, 16).map_err(|_| refused())?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// What the device and its file in fw_cfg share.
struct Generation {
    memory: Arc<dyn DmaBus>,
    id: Guid,
    /// The address of the page, as firmware told it; zero until it has.
    page: u64,
}

impl Generation {
    /// Writes the GUID where the guest looks for it.
    fn show(&self) {
        let at = self.page.checked_add(board::GENERATION_ID_AT.into());
        if let (1.., Some(at)) = (self.page, at) {
            self.memory.dma_write(PhysAddr(at), &self.id.in_memory());
        }
    }
}

fn lock(generation: &Mutex<Generation>) -> MutexGuard<'_, Generation> {
    generation.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The device.
pub struct VmGenId {
    generation: Arc<Mutex<Generation>>,
}

/// The saved state. The GUID in memory is saved with memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmGenIdStateV1 {
    id: Guid,
    page: u64,
}

impl VmGenId {
    /// The device with this GUID, which nobody has asked for yet.
    pub fn new(memory: Arc<dyn DmaBus>, id: Guid) -> Self {
        Self { generation: Arc::new(Mutex::new(Generation { memory, id, page: 0 })) }
    }
    /// The file to which firmware writes the page's address.
    pub fn address_file(&self) -> AddressFile {
        AddressFile(self.generation.clone())
    }
    /// The GUID.
    pub fn id(&self) -> Guid {
        lock(&self.generation).id
    }
    /// Has the guest find another GUID.
    pub fn set_id(&mut self, id: Guid) {
        let mut generation = lock(&self.generation);
        generation.id = id;
        generation.show();
    }
    /// The GUID is in this page: where a kernel is started without firmware, the machine tells it.
    pub fn set_page(&mut self, page: PhysAddr) {
        let mut generation = lock(&self.generation);
        generation.page = page.0;
        generation.show();
    }
}

/// The address of the page, as a file of fw_cfg.
pub struct AddressFile(Arc<Mutex<Generation>>);

impl WritableFile for AddressFile {
    fn bytes(&self) -> Vec<u8> {
        lock(&self.0).page.to_le_bytes().into()
    }
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let mut generation = lock(&self.0);
        let mut address = generation.page.to_le_bytes();
        for (byte, new) in address.iter_mut().skip(offset).zip(bytes) {
            *byte = *new;
        }
        generation.page = u64::from_le_bytes(address);
        generation.show();
    }
}

impl Device for VmGenId {
    fn reset(&mut self, _now: GuestTime) {
        lock(&self.generation).page = 0;
    }
    fn info(&self) -> String {
        let Generation { id, page, .. } = &*lock(&self.generation);
        match page {
            0 => format!("{id}, for which firmware has no page yet"),
            page => format!("{id}, in the page at {page:#x}"),
        }
    }
    fn describe(&self, topic: &str) -> Option<String> {
        (topic == TOPIC).then(|| self.id().to_string())
    }
}

impl SaveState for VmGenId {
    type State = VmGenIdStateV1;
    fn save(&self) -> VmGenIdStateV1 {
        let Generation { memory: _, id, page } = &*lock(&self.generation);
        VmGenIdStateV1 { id: *id, page: *page }
    }
    /// Any GUID may be, and any page: what is written to one that is none goes nowhere.
    fn restore(&mut self, state: VmGenIdStateV1) -> Result<(), RestoreError> {
        let VmGenIdStateV1 { id, page } = state;
        let mut generation = lock(&self.generation);
        (generation.id, generation.page) = (id, page);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_bus::GuestMemory;

    const TEXT: &str = "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87";
    const IN_MEMORY: [u8; 16] =
        [0xAF, 0x6E, 0x4E, 0x32, 0xD1, 0xD1, 0xF6, 0x4B, 0xBF, 0x41, 0xB9, 0xBB, 0x6C, 0x91, 0xFB, 0x87];

    fn device() -> (VmGenId, Arc<GuestMemory>) {
        let memory = GuestMemory::new(2 << 20, &[]).unwrap();
        (VmGenId::new(memory.clone(), TEXT.parse().unwrap()), memory)
    }
    /// The 56 bytes that begin at `at`: what is in front of the GUID, and the GUID.
    fn page(memory: &GuestMemory, at: u64) -> (Vec<u8>, Vec<u8>) {
        let mut bytes = vec![0; 56];
        memory.read(PhysAddr(at), &mut bytes);
        let id = bytes.split_off(40);
        (bytes, id)
    }

    #[test]
    fn guids_are_read_as_they_are_written() {
        let id: Guid = TEXT.parse().unwrap();
        assert_eq!((id.to_string().as_str(), id.in_memory()), (TEXT, IN_MEMORY));
        assert_eq!(TEXT.to_uppercase().parse(), Ok(id));
        for wrong in ["", "auto", "324e6eaf", &TEXT[1..], &format!("{TEXT}0"), &TEXT.replace('b', "g")] {
            assert!(wrong.parse::<Guid>().unwrap_err().contains("write a GUID"), "{wrong}");
        }
        let signed = TEXT.replace("324e", "+24e");
        assert!(signed.parse::<Guid>().is_err());
        assert_eq!(Guid::of_random([0xFF; 16]).to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn the_guid_is_where_firmware_says() {
        let (mut device, memory) = device();
        let mut file = device.address_file();
        assert_eq!(file.bytes(), [0; 8]);
        device.set_id(Guid([7; 16]));
        assert_eq!(page(&memory, 0), (vec![0; 40], vec![0; 16]), "nobody has asked for it");
        file.write(0, &0x1_3000u64.to_le_bytes());
        assert_eq!(page(&memory, 0x1_3000), (vec![0; 40], vec![7; 16]));
        assert_eq!(file.bytes(), 0x1_3000u64.to_le_bytes());
        device.set_id(TEXT.parse().unwrap());
        assert_eq!(page(&memory, 0x1_3000).1, IN_MEMORY);
        // One byte of the address.
        file.write(1, &[0x50]);
        assert_eq!(page(&memory, 0x1_5000).1, IN_MEMORY);
        device.reset(GuestTime::ZERO);
        device.set_id(Guid([9; 16]));
        assert_eq!(page(&memory, 0x1_5000).1, IN_MEMORY, "a page from before the reset is the guest's own");
        device.set_page(PhysAddr(0x1_6000));
        assert_eq!(page(&memory, 0x1_6000).1, [9; 16]);
        assert_eq!(device.describe(TOPIC), Some(Guid([9; 16]).to_string()));
    }

    #[test]
    fn hostile_addresses_harm_nobody() {
        let (mut device, memory) = device();
        let mut file = device.address_file();
        for address in [1, (2 << 20) - 48, 2 << 20, 0xFEE0_0000, u64::MAX, u64::MAX - 40, 1 << 52] {
            file.write(0, &u64::to_le_bytes(address));
            device.set_id(Guid([3; 16]));
            let state = device.save();
            device.restore(state.clone()).unwrap();
            assert_eq!(device.save(), state);
        }
        file.write(usize::MAX, &[1, 2]);
        file.write(8, &[1]);
        assert_eq!(file.bytes(), (1u64 << 52).to_le_bytes());
        assert_eq!(page(&memory, 1).1, [3; 16], "an odd page of RAM is RAM too");
    }
}
