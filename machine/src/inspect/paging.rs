//! What page tables map, as text.
//!
//! The tables are read from guest memory as they are now, whatever a vCPU has cached of them. Kernels use a table for many
//! addresses (Linux has small stacks that are mapped a million times), and a guest may have tables that lead to themselves: each is
//! shown once, and of the others is said that they are the same. Tables and lines are counted all the same.

use std::collections::HashMap;
use std::fmt::Write;
use trimotor_bus::{GuestMemory, PhysAddr};
use trimotor_cpu::ArchState;
use trimotor_cpu::registers::{Cr0, Cr4, Efer};

/// Tables that are read at most: enough for 128 GiB in pages of 4 KiB, and a fraction of a second.
const MOST_TABLES: usize = 1 << 16;
/// Lines at most.
const MOST_LINES: usize = 1 << 16;

const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
/// Letters of an entry's bits, as QEMU shows them.
const LETTERS: [(u64, char); 9] = [
    (NO_EXECUTE, 'X'),
    (1 << 8, 'G'),
    (LARGE, 'P'),
    (1 << 6, 'D'),
    (1 << 5, 'A'),
    (1 << 4, 'C'),
    (1 << 3, 'T'),
    (USER, 'U'),
    (WRITE, 'W'),
];
/// Physical addresses in entries of 8 bytes.
const FRAME: u64 = 0x000F_FFFF_FFFF_F000;

/// A page that is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Page {
    linear: u64,
    /// Bytes.
    size: u64,
    physical: u64,
    /// The last entry.
    entry: u64,
    /// What all levels allow: write, user; and execution, where [`NO_EXECUTE`] is clear.
    rights: u64,
}

/// What a walk comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    Page(Page),
    /// A table that maps other addresses too, and was seen there: this one's first address, how many bytes it maps, and the first
    /// address where it was seen.
    Again {
        linear: u64,
        size: u64,
        first: u64,
    },
}

/// A level of the tables.
#[derive(Clone, Copy)]
struct Level {
    /// The bit of the linear address where its index begins.
    shift: u32,
    /// Whether an entry may be a page.
    pages: bool,
}

/// The walk.
struct Walk<'a> {
    memory: &'a GuestMemory,
    levels: &'static [Level],
    /// Bytes of an entry.
    entry_bytes: usize,
    /// Entries may forbid execution.
    has_no_execute: bool,
    /// Large pages of the form with 4-byte entries.
    has_large: bool,
    /// A linear address has bits above this one that repeat it.
    sign_bit: u32,
    /// Tables that were seen, with their depth and what the levels above allow: the first address that each maps.
    seen: HashMap<(usize, u64, u64), u64>,
    tables_left: usize,
}

/// Why a list is not complete.
struct TooMany;

const TWO: &[Level] = &[Level { shift: 22, pages: true }, Level { shift: 12, pages: true }];
const PAE: &[Level] = &[Level { shift: 21, pages: true }, Level { shift: 12, pages: true }];
const FIVE: &[Level] = &[
    Level { shift: 48, pages: false },
    Level { shift: 39, pages: false },
    Level { shift: 30, pages: true },
    Level { shift: 21, pages: true },
    Level { shift: 12, pages: true },
];

impl Walk<'_> {
    /// Visits the pages below the table at `table`, which maps the addresses from `linear` on.
    fn table(
        &mut self,
        depth: usize,
        table: u64,
        linear: u64,
        rights: u64,
        visit: &mut dyn FnMut(Seen) -> bool,
    ) -> Result<(), TooMany> {
        self.tables_left = self.tables_left.checked_sub(1).ok_or(TooMany)?;
        let mut bytes = [0; 4096];
        // Where no memory is, there are ones: entries that nobody wrote.
        if self.memory.read(PhysAddr(table), &mut bytes) < bytes.len() {
            return Ok(());
        }
        let level = self.levels[depth];
        let is_last = depth + 1 == self.levels.len();
        for (index, entry) in bytes.chunks(self.entry_bytes).enumerate() {
            let entry = entry.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
            if entry & PRESENT == 0 {
                continue;
            }
            let at = linear | (index as u64) << level.shift;
            let mut allowed = rights & (entry | !(WRITE | USER));
            if self.has_no_execute {
                allowed |= entry & NO_EXECUTE;
            }
            let is_large = entry & LARGE != 0 && level.pages && (self.entry_bytes == 8 || self.has_large);
            let size = 1u64 << level.shift;
            if !is_last && !is_large {
                let next = entry & self.frame();
                let first = *self.seen.entry((depth + 1, next, allowed)).or_insert(at);
                if first == at {
                    self.table(depth + 1, next, at, allowed, visit)?;
                } else if !visit(Seen::Again { linear: self.extended(at), size, first: self.extended(first) })
                {
                    return Err(TooMany);
                }
                continue;
            }
            let physical = match (is_last, self.entry_bytes) {
                // Bits 39 to 32 stand in bits 20 to 13 (SDM Vol. 3A, 32-Bit Paging).
                (false, 4) => entry & 0xFFC0_0000 | (entry >> 13 & 0xFF) << 32,
                _ => entry & self.frame() & !(size - 1),
            };
            let page = Page { linear: self.extended(at), size, physical, entry, rights: allowed };
            if !visit(Seen::Page(page)) {
                return Err(TooMany);
            }
        }
        Ok(())
    }
    fn frame(&self) -> u64 {
        if self.entry_bytes == 4 { 0xFFFF_F000 } else { FRAME }
    }
    /// The address with its upper bits as long mode wants them.
    fn extended(&self, linear: u64) -> u64 {
        let above = 63 - self.sign_bit;
        ((linear << above).cast_signed() >> above).cast_unsigned()
    }
}

/// Visits all pages that are mapped, in the order of their addresses, until `visit` returns false. Nothing where paging is off.
fn pages(
    memory: &GuestMemory,
    state: &ArchState,
    visit: &mut dyn FnMut(Seen) -> bool,
) -> Option<Result<(), TooMany>> {
    let cr4 = Cr4::from_bits_retain(state.cr4);
    if state.cr0 & Cr0::PG.bits() == 0 {
        return None;
    }
    let long = state.efer & Efer::LMA.bits() != 0;
    let pae = long || cr4.contains(Cr4::PAE);
    let mut walk = Walk {
        memory,
        levels: if pae { PAE } else { TWO },
        entry_bytes: if pae { 8 } else { 4 },
        has_no_execute: state.efer & Efer::NXE.bits() != 0 && pae,
        has_large: cr4.contains(Cr4::PSE),
        sign_bit: 63,
        seen: HashMap::new(),
        tables_left: MOST_TABLES,
    };
    let all = WRITE | USER;
    Some(if long && cr4.contains(Cr4::LA57) {
        (walk.levels, walk.sign_bit) = (FIVE, 56);
        walk.table(0, state.cr3 & FRAME, 0, all, visit)
    } else if long {
        (walk.levels, walk.sign_bit) = (&FIVE[1..], 47);
        walk.table(0, state.cr3 & FRAME, 0, all, visit)
    } else if pae {
        let tables = state.pdpte.iter().enumerate().filter(|(_, entry)| *entry & PRESENT != 0);
        let mut tables = tables.map(|(at, entry)| (entry & FRAME, (at as u64) << 30));
        tables.try_for_each(|(table, linear)| walk.table(0, table, linear, all, visit))
    } else {
        walk.table(0, state.cr3 & 0xFFFF_F000, 0, all, visit)
    })
}

const OFF: &str = "paging is off: linear addresses are physical ones";
const MORE: &str = "... there is more, which is left out";

/// A line for each page: the linear address, the physical one, the entry's bits.
pub(super) fn translations(memory: &GuestMemory, state: &ArchState) -> String {
    let (mut out, mut lines, mut repeats) = (String::new(), 0, Repeats::default());
    let mut visit = |seen: Seen| {
        lines += 1;
        if lines > MOST_LINES {
            return false;
        }
        let page = match seen {
            Seen::Page(page) => page,
            Seen::Again { linear, size, first } => {
                repeats.add(&mut out, linear, size, first);
                return true;
            }
        };
        repeats.end(&mut out);
        let letter = |(bit, letter): (u64, char)| if page.entry & bit != 0 { letter } else { '-' };
        let letters: String = LETTERS.into_iter().map(letter).collect();
        _ = writeln!(out, "{:016x}: {:016x} {letters}", page.linear, page.physical);
        true
    };
    let walked = pages(memory, state, &mut visit);
    repeats.end(&mut out);
    ended(out, walked.as_ref())
}

/// Ranges that follow each other and are mapped by one table, as others are.
#[derive(Default)]
struct Repeats {
    /// Where it begins, its last byte, how much a table maps, and where else it is.
    range: Option<(u64, u64, u64, u64)>,
}

impl Repeats {
    fn add(&mut self, out: &mut String, linear: u64, size: u64, first: u64) {
        let last = linear.wrapping_add(size - 1);
        match &mut self.range {
            Some((_, end, each, other))
                if end.wrapping_add(1) == linear && (*each, *other) == (size, first) =>
            {
                *end = last;
            }
            _ => {
                self.end(out);
                self.range = Some((linear, last, size, first));
            }
        }
    }
    /// Tells of the range, if there is one.
    fn end(&mut self, out: &mut String) {
        if let Some((start, last, _, first)) = self.range.take() {
            let (end, size) = (last.wrapping_add(1), last.wrapping_sub(start).wrapping_add(1));
            _ = writeln!(out, "{start:016x}-{end:016x} {size:016x} the same table as at {first:016x}");
        }
    }
}

/// A line for each range of pages that follow each other with the same rights.
pub(super) fn mappings(memory: &GuestMemory, state: &ArchState) -> String {
    let (mut out, mut lines, mut repeats) = (String::new(), 0, Repeats::default());
    // Its first and last byte, as what is behind that may be no address, and its rights.
    let mut range: Option<(u64, u64, u64)> = None;
    let mut visit = |seen: Seen| {
        match seen {
            Seen::Page(page) => {
                let end = page.linear.wrapping_add(page.size - 1);
                if let Some((_, last, rights)) = &mut range
                    && last.wrapping_add(1) == page.linear
                    && *rights == page.rights
                {
                    *last = end;
                    return true;
                }
                repeats.end(&mut out);
                write_range(&mut out, range.take());
                range = Some((page.linear, end, page.rights));
            }
            Seen::Again { linear, size, first } => {
                write_range(&mut out, range.take());
                repeats.add(&mut out, linear, size, first);
            }
        }
        lines += 1;
        lines <= MOST_LINES
    };
    let walked = pages(memory, state, &mut visit);
    write_range(&mut out, range);
    repeats.end(&mut out);
    ended(out, walked.as_ref())
}

fn write_range(out: &mut String, range: Option<(u64, u64, u64)>) {
    if let Some((first, last, rights)) = range {
        let letter = |bit: u64, letter: char| if rights & bit != 0 { letter } else { '-' };
        let execute = if rights & NO_EXECUTE == 0 { 'x' } else { '-' };
        _ = writeln!(
            out,
            "{first:016x}-{:016x} {:016x} {}r{}{execute}",
            last.wrapping_add(1),
            last.wrapping_sub(first).wrapping_add(1),
            letter(USER, 'u'),
            letter(WRITE, 'w')
        );
    }
}

fn ended(out: String, walked: Option<&Result<(), TooMany>>) -> String {
    match walked {
        None => OFF.to_owned(),
        Some(Ok(())) if out.is_empty() => "nothing is mapped".to_owned(),
        Some(Ok(())) => out.trim_end().to_owned(),
        Some(Err(TooMany)) => out + MORE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_cpu::CpuState;

    fn state(cr4: Cr4, efer: Efer) -> ArchState {
        let mut state = CpuState::at_reset(0).to_arch();
        state.cr0 |= (Cr0::PG | Cr0::PE).bits();
        (state.cr3, state.cr4, state.efer) = (0x1000, cr4.bits(), efer.bits());
        state
    }
    fn put(memory: &GuestMemory, at: u64, entry: u64) {
        memory.write(PhysAddr(at), &entry.to_le_bytes());
    }

    #[test]
    fn long_mode_is_walked_with_pages_of_each_size() {
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        for (at, entry) in [
            (0x1000, 0x2007),
            // The upper half, by one page of 1 GiB.
            (0x1000 + 511 * 8, 0x6003),
            (0x6000 + 510 * 8, NO_EXECUTE | 0x4000_0083),
            (0x2000, 0x3007),
            (0x3000, 0x4007),
            (0x3008, 0x20_0087),
            (0x4000, 0x5003),
            (0x4008, 0x7005),
            (0x4010, 0x9005),
        ] {
            put(&memory, at, entry);
        }
        let state = state(Cr4::PAE, Efer::LMA | Efer::LME | Efer::NXE);
        let lines: Vec<String> = translations(&memory, &state).lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "0000000000000000: 0000000000005000 --------W",
                "0000000000001000: 0000000000007000 -------U-",
                "0000000000002000: 0000000000009000 -------U-",
                "0000000000200000: 0000000000200000 --P----UW",
                "ffffffff80000000: 0000000040000000 X-P-----W",
            ]
        );
        let lines: Vec<String> = mappings(&memory, &state).lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "0000000000000000-0000000000001000 0000000000001000 -rwx",
                "0000000000001000-0000000000003000 0000000000002000 ur-x",
                "0000000000200000-0000000000400000 0000000000200000 urwx",
                "ffffffff80000000-ffffffffc0000000 0000000040000000 -rw-",
            ]
        );
    }

    #[test]
    fn tables_of_four_byte_entries_and_of_pae_are_walked() {
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        memory.write(PhysAddr(0x1000), &0x2007u32.to_le_bytes());
        memory.write(PhysAddr(0x1FFC), &0x00C0_2083u32.to_le_bytes());
        memory.write(PhysAddr(0x2004), &0x7003u32.to_le_bytes());
        let lines = translations(&memory, &state(Cr4::PSE, Efer::empty()));
        assert_eq!(
            lines,
            "0000000000001000: 0000000000007000 --------W\n00000000ffc00000: 0000000100c00000 --P-----W"
        );
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        put(&memory, 0x3008, 0xE3);
        let mut state = state(Cr4::PAE, Efer::empty());
        state.pdpte = [0, 0, 0, 0x3001];
        assert_eq!(translations(&memory, &state), "00000000c0200000: 0000000000000000 --PDA---W");
        state.cr0 = 0;
        assert_eq!(translations(&memory, &state), OFF);
        assert_eq!(mappings(&memory, &state), OFF);
    }

    #[test]
    fn tables_that_map_themselves_end() {
        let memory = GuestMemory::new(1 << 20, &[]).unwrap();
        for index in 0..512 {
            put(&memory, 0x1000 + 8 * index, 0x1007);
        }
        let state = state(Cr4::PAE, Efer::LMA | Efer::LME);
        let text = translations(&memory, &state);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 512 + 4);
        assert_eq!(lines[511], "00000000001ff000: 0000000000001000 -------UW");
        assert_eq!(
            lines[512..],
            [
                "0000000000200000-0000000040000000 000000003fe00000 the same table as at 0000000000000000",
                "0000000040000000-0000008000000000 0000007fc0000000 the same table as at 0000000000000000",
                "0000008000000000-0000800000000000 00007f8000000000 the same table as at 0000000000000000",
                "ffff800000000000-0000000000000000 0000800000000000 the same table as at 0000000000000000",
            ]
        );
        let mapped = mappings(&memory, &state);
        assert!(mapped.starts_with("0000000000000000-0000000000200000 0000000000200000 urwx\n"), "{mapped}");
        assert!(mapped.ends_with(lines[515]), "{mapped}");
        // Each page has other rights than the one before it.
        for index in 0..512 {
            put(&memory, 0x1000 + 8 * index, 0x2007);
            put(&memory, 0x2000 + 8 * index, (0x3000 + 0x1000 * (index % 128)) | 7);
        }
        for at in (0x3000..0x83000).step_by(8) {
            put(&memory, at, 5 | (at >> 3 & 1) << 1);
        }
        let mapped = mappings(&memory, &state);
        assert!((MOST_LINES..MOST_LINES + 3).contains(&mapped.lines().count()) && mapped.ends_with(MORE));
        let mut empty = state.clone();
        empty.cr3 = 0x9_0000;
        assert_eq!(mappings(&memory, &empty), "nothing is mapped");
        empty.cr3 = 0x7000_0000;
        assert_eq!(mappings(&memory, &empty), "nothing is mapped");
    }
}
