//! The SSDT of the VM generation ID: where the GUID stands that changes when the machine is cloned or goes back.
//!
//! ```text
//! Name (VGIA, page)                           the page with the GUID; firmware from a file puts its own address here
//! Device (\_SB.VGEN)  _HID, _CID, _DDN        drivers look for _CID or _DDN "VM_Gen_Counter"
//!     _STA            0 while there is no page, else 0Fh
//!     ADDR            Package { low, high }   the GUID's address
//! Method (\_GPE._E05) Notify (\_SB.VGEN, 80h) the GUID is another one
//! ```
//!
//! It is a table of its own, so that the address is the only pointer that firmware fills in.
//!
//! Source: Microsoft, "Virtual Machine Generation ID", "How to implement virtual machine generation ID support in a
//! virtualization platform".

use super::acpi;
use super::aml::{Ready, device, method, name, package, ready, scope};
use acpi_tables::aml::{Add, Equal, If, Index, Local, Notify, Path, Return, Store, ZERO};
use trimotor_bus::{PhysAddr, board};

/// Where the table has the page's address, in four bytes: behind its header and `Name (VGIA,`.
pub(super) const PAGE_AT: usize = acpi::HEADER_BYTES + 6;
/// What drivers look for.
const COMPATIBLE: &str = "VM_Gen_Counter";
/// A device that is present, enabled, shown and working.
const PRESENT: u8 = 0x0F;
/// Notification: what it is about has changed.
const STATUS_CHANGE: u8 = 0x80;

/// The table for a GUID in `page`, which is below 4 GiB.
pub(super) fn ssdt(page: PhysAddr) -> Vec<u8> {
    let parts =
        [page_address(page), scope("\\_SB_", &[generation_device()]), scope("\\_GPE", &[event_handler()])];
    let body: Vec<u8> = parts.into_iter().flat_map(|part| part.0).collect();
    acpi::table(b"SSDT", 2, &body)
}

/// `Name (VGIA, page)`, in four bytes whatever the address is.
fn page_address(page: PhysAddr) -> Ready {
    const DWORD_PREFIX: u8 = 0x0C;
    let mut number = vec![DWORD_PREFIX];
    number.extend((page.0 as u32).to_le_bytes());
    name("VGIA", &Ready(number))
}

fn generation_device() -> Ready {
    let (page, local) = (Path::new("VGIA"), Local(0));
    let absent = Equal::new(&page, &ZERO);
    let status = [ready(&If::new(&absent, vec![&Return::new(&ZERO)])), ready(&Return::new(&PRESENT))];
    let low = Index::new(&ZERO, &local, &ZERO);
    let address = Add::new(&low, &page, &board::GENERATION_ID_AT);
    let place =
        [ready(&Store::new(&local, &package(&[&ZERO, &ZERO]))), ready(&address), ready(&Return::new(&local))];
    device(
        "VGEN",
        &[
            name("_HID", &"TRIM0001"),
            name("_CID", &COMPATIBLE),
            name("_DDN", &COMPATIBLE),
            method("_STA", 0, &status),
            method("ADDR", 0, &place),
        ],
    )
}

fn event_handler() -> Ready {
    let device = Path::new("\\_SB_.VGEN");
    let changed = Notify::new(&device, &STATUS_CHANGE);
    method(&format!("_E{:02X}", board::GENERATION_GPE), 0, &[ready(&changed)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_where_firmware_fills_it_in() {
        for page in [PhysAddr(0), PhysAddr(0xE_F000), PhysAddr(0xFFFF_F000)] {
            let table = ssdt(page);
            assert_eq!(&table[PAGE_AT - 6..PAGE_AT], b"\x08VGIA\x0C");
            assert_eq!(table[PAGE_AT..PAGE_AT + 4], (page.0 as u32).to_le_bytes());
        }
    }
}
