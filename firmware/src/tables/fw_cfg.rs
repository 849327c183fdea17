//! The tables as files of fw_cfg, by which a virtual PC's firmware (SeaBIOS, OVMF, U-Boot) gets them.
//!
//! | file | what |
//! |---|---|
//! | `etc/e820` | the memory map, entries of 20 bytes |
//! | `etc/acpi/rsdp` | ACPI's root pointer |
//! | `etc/acpi/tables` | all other ACPI tables, one after the other |
//! | `etc/table-loader` | what firmware does with the two: commands of 128 bytes |
//! | `etc/vmgenid_guid` | the page of the VM generation ID, empty: the device writes it once it knows where the page is |
//! | `etc/smbios/smbios-anchor` | SMBIOS 2.8 entry point |
//! | `etc/smbios/smbios-tables` | SMBIOS structures |
//!
//! Where the tables end up is known to firmware only. So pointers in them are offsets into the file that they point to; the
//! commands ask for memory for each file, for the file's address to be added to each pointer, and for checksums. The address of the VM
//! generation ID's page is written to the device's file `etc/vmgenid_addr`.
//!
//! Source: QEMU documentation, "QEMU Firmware Configuration (fw_cfg) Device"; hw/acpi/bios-linker-loader.c, comments on the
//! commands' layout.

use super::acpi::{self, PlacedTable};
use super::{Platform, smbios, vmgenid};
use crate::boot::bytes::Record;
use trimotor_bus::address::PAGE_SIZE;
use trimotor_bus::{PhysAddr, board};

const RSDP_FILE: &str = "etc/acpi/rsdp";
const TABLES_FILE: &str = "etc/acpi/tables";
const GENERATION_FILE: &str = "etc/vmgenid_guid";
/// Bytes of a command, and of a file's name in it.
const COMMAND_BYTES: usize = 128;
const NAME_BYTES: usize = 56;
/// Commands.
const ALLOCATE: u32 = 1;
const ADD_POINTER: u32 = 2;
const ADD_CHECKSUM: u32 = 3;
const WRITE_POINTER: u32 = 4;
/// Offset of the checksum in a table, and in the root pointer's two parts, with the bytes that they have.
const CHECKSUM: usize = 9;
const RSDP_CHECKSUMS: [(usize, usize); 2] = [(8, 20), (32, 36)];
/// Where memory is wanted.
const ANYWHERE: u8 = 1;
const F_SEGMENT: u8 = 2;
/// The FACS lies on a border of so many bytes.
const TABLES_ALIGNMENT: u32 = 64;
const RSDP_ALIGNMENT: u32 = 16;

/// All files for `platform`, by name.
pub fn files(platform: &Platform) -> Vec<(String, Vec<u8>)> {
    let map = platform.memory.entries().iter().flat_map(|entry| entry.to_bytes()).collect();
    // From 0 on, an address is an offset into the file.
    let mut tables = acpi::build(platform, PhysAddr(0), PhysAddr(0));
    let mut rsdp = acpi::rsdp(&tables);
    let commands = commands(&tables);
    // Some firmware (OVMF) sums with the old checksum in its place, so it has to be zero.
    for table in tables.iter_mut().filter(|table| !pointers(table).is_empty()) {
        table.bytes[CHECKSUM] = 0;
    }
    for (at, _) in RSDP_CHECKSUMS {
        rsdp[at] = 0;
    }
    let smbios = smbios::structures(platform);
    let anchor = smbios::entry_point_21(&smbios, PhysAddr(0));
    let generation = platform.vmgenid.then(|| (GENERATION_FILE, vec![0; PAGE_SIZE as usize]));
    let files = [
        ("etc/e820", map),
        (RSDP_FILE, rsdp),
        (TABLES_FILE, concatenated(&tables)),
        ("etc/table-loader", commands),
        ("etc/smbios/smbios-anchor", anchor),
        ("etc/smbios/smbios-tables", smbios.bytes),
    ];
    files.into_iter().chain(generation).map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

fn concatenated(tables: &[PlacedTable]) -> Vec<u8> {
    let mut file = Vec::new();
    for table in tables {
        file.resize(table.addr.0 as usize, 0);
        file.extend_from_slice(&table.bytes);
    }
    file
}

/// A command and its operands, which start behind its number.
fn command(number: u32, operands: impl FnOnce(&mut Record)) -> Vec<u8> {
    let mut record = Record::new(COMMAND_BYTES);
    record.u32(0, number);
    operands(&mut record);
    record.0
}

fn allocate(file: &str, alignment: u32, zone: u8) -> Vec<u8> {
    command(ALLOCATE, |r| {
        r.put(4, file.as_bytes());
        r.u32(4 + NAME_BYTES, alignment);
        r.u8(8 + NAME_BYTES, zone);
    })
}
/// A pointer in a file, into another one.
struct Pointer {
    at: usize,
    bytes: u8,
    to: &'static str,
}
/// `pointer` in `file` becomes an address.
fn add_pointer(file: &str, pointer: &Pointer) -> Vec<u8> {
    command(ADD_POINTER, |r| {
        r.put(4, file.as_bytes());
        r.put(4 + NAME_BYTES, pointer.to.as_bytes());
        r.u32(4 + 2 * NAME_BYTES, pointer.at as u32);
        r.u8(8 + 2 * NAME_BYTES, pointer.bytes);
    })
}
/// The address of the file `of` is written to the file `to`, in eight bytes.
fn write_pointer(to: &str, of: &str) -> Vec<u8> {
    command(WRITE_POINTER, |r| {
        r.put(4, to.as_bytes());
        r.put(4 + NAME_BYTES, of.as_bytes());
        // From the first byte of the one, to the first byte of the other.
        r.u32(4 + 2 * NAME_BYTES, 0);
        r.u32(8 + 2 * NAME_BYTES, 0);
        r.u8(12 + 2 * NAME_BYTES, 8);
    })
}
fn sum(file: &str, at: usize, start: usize, bytes: usize) -> Vec<u8> {
    command(ADD_CHECKSUM, |r| {
        r.put(4, file.as_bytes());
        for (n, value) in [at, start, bytes].into_iter().enumerate() {
            r.u32(4 + NAME_BYTES + 4 * n, value as u32);
        }
    })
}

/// The pointers in a table.
fn pointers(table: &PlacedTable) -> Vec<Pointer> {
    let to_table = |at, bytes| Pointer { at, bytes, to: TABLES_FILE };
    let entries = |bytes: u8| {
        let all = (acpi::HEADER_BYTES..table.bytes.len()).step_by(bytes.into());
        all.map(|at| to_table(at, bytes)).collect()
    };
    match &table.signature {
        b"FACP" => vec![to_table(36, 4), to_table(40, 4), to_table(140, 8)],
        b"SSDT" => vec![Pointer { at: vmgenid::PAGE_AT, bytes: 4, to: GENERATION_FILE }],
        b"RSDT" => entries(4),
        b"XSDT" => entries(8),
        _ => Vec::new(),
    }
}

fn commands(tables: &[PlacedTable]) -> Vec<u8> {
    let has_generation = tables.iter().any(|table| &table.signature == b"SSDT");
    let mut all = vec![
        allocate(RSDP_FILE, RSDP_ALIGNMENT, F_SEGMENT),
        allocate(TABLES_FILE, TABLES_ALIGNMENT, ANYWHERE),
    ];
    if has_generation {
        all.push(allocate(GENERATION_FILE, PAGE_SIZE as u32, ANYWHERE));
        all.push(write_pointer(board::GENERATION_ADDRESS_FILE, GENERATION_FILE));
    }
    for (at, bytes) in [(16, 4), (24, 8)] {
        all.push(add_pointer(RSDP_FILE, &Pointer { at, bytes, to: TABLES_FILE }));
    }
    for table in tables {
        let start = table.addr.0 as usize;
        let pointers = pointers(table);
        if pointers.is_empty() {
            // Nothing changes in it: its checksum is right.
            continue;
        }
        let in_file = pointers.into_iter().map(|pointer| Pointer { at: start + pointer.at, ..pointer });
        all.extend(in_file.map(|pointer| add_pointer(TABLES_FILE, &pointer)));
        all.push(sum(TABLES_FILE, start + CHECKSUM, start, table.bytes.len()));
    }
    all.extend(RSDP_CHECKSUMS.map(|(at, bytes)| sum(RSDP_FILE, at, 0, bytes)));
    all.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{FirmwareTables, MemoryMap, checksum};
    use std::collections::BTreeMap;

    /// Does what firmware does with the commands; the tables then are those of a direct boot at that address.
    #[test]
    fn the_commands_make_the_tables_of_a_direct_boot() {
        let platform = Platform {
            memory: MemoryMap::new(512 << 20, 0),
            vcpus: 2,
            hpet: true,
            serial_ports: 1,
            pvpanic: true,
            vmgenid: true,
            pm_base: trimotor_bus::board::PM_BASE,
        };
        let direct = FirmwareTables::build(&platform);
        let bases = BTreeMap::from([
            (RSDP_FILE, direct.rsdp.0),
            (TABLES_FILE, direct.acpi[0].addr.0),
            (GENERATION_FILE, board::GENERATION_PAGE.0),
        ]);
        let mut told = None;
        let mut files: BTreeMap<_, _> = files(&platform).into_iter().collect();
        let commands = files["etc/table-loader"].clone();
        for c in commands.chunks(COMMAND_BYTES) {
            let word = |at: usize| u32::from_le_bytes(c[at..at + 4].try_into().unwrap());
            let name = |at: usize| {
                let bytes: Vec<u8> = c[at..at + NAME_BYTES].iter().copied().take_while(|b| *b != 0).collect();
                String::from_utf8(bytes).unwrap()
            };
            if word(0) == WRITE_POINTER {
                assert_eq!(
                    (name(4).as_str(), word(116), word(120), c[124]),
                    (board::GENERATION_ADDRESS_FILE, 0, 0, 8)
                );
                told = bases.get(&*name(60));
                continue;
            }
            let file = files.get_mut(&name(4)).unwrap();
            match word(0) {
                ALLOCATE => assert!(bases[&*name(4)].is_multiple_of(word(60).into())),
                ADD_POINTER => {
                    let (at, bytes) = (word(116) as usize, usize::from(c[120]));
                    let mut value = [0; 8];
                    value[..bytes].copy_from_slice(&file[at..at + bytes]);
                    let value = u64::from_le_bytes(value) + bases[&*name(60)];
                    file[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
                }
                ADD_CHECKSUM => {
                    let [at, start, bytes] = [60, 64, 68].map(|at| word(at) as usize);
                    file[at] = checksum(&file[start..start + bytes]);
                }
                other => panic!("command {other}"),
            }
        }
        assert_eq!(told, Some(&board::GENERATION_PAGE.0));
        assert_eq!(files[RSDP_FILE], direct.rsdp_bytes);
        let base = bases[TABLES_FILE];
        for table in &direct.acpi {
            let at = (table.addr.0 - base) as usize;
            assert_eq!(files[TABLES_FILE][at..][..table.bytes.len()], table.bytes, "{:?}", table.signature);
        }
    }
}
