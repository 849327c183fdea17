//! PCI BIOS 2.1: INT 1Ah with AH = B1h, the same for 32-bit protected mode, and the tables by which both are found.
//!
//! | AL | function |
//! |---|---|
//! | 01h | presence, version, last bus |
//! | 02h, 03h | find a device by its identity, or by its class |
//! | 06h | special cycle |
//! | 08h, 09h, 0Ah | read a byte, word or dword of configuration space |
//! | 0Bh, 0Ch, 0Dh | write one |
//! | 0Eh | interrupt routing options |
//! | 0Fh | route an interrupt pin |
//!
//! It is code for ports CF8h and CFCh (configuration mechanism 1) and keeps nothing. One generator writes it for 16 and for 32 bits:
//! it uses 32-bit registers and addresses in both, and no data but the stack and its own code, so that it runs wherever a
//! program has mapped it.
//!
//! A 32-bit program looks for the *BIOS32 service directory* ("_32_") from E0000h to FFFFFh, calls it with "$PCI" in EAX, and is told
//! where the entry point is. The *PCI interrupt routing table* ("$PIR") stands in the same range.
//!
//! Source: PCI BIOS Specification 2.1; Standard BIOS 32-bit Service Directory Proposal 0.4; Microsoft, PCI IRQ Routing Table
//! Specification 1.0.

use iced_x86::IcedError;
use iced_x86::code_asm::*;
use trimotor_bus::board::{ELCR, PCI_LINK_IRQS, pci_link};

/// Offsets of the caller's registers from EBP, as PUSHAD leaves them.
const BX: i32 = 16;
const DX: i32 = 20;
const CX: i32 = 24;
const AX: i32 = 28;
const AH: i32 = 29;
/// The flags of an interrupt's caller: behind the registers, ES, DS, IP and CS.
const FLAGS: i32 = 40;

const NOT_SUPPORTED: u32 = 0x81;
const BAD_VENDOR: u32 = 0x83;
const NOT_FOUND: u32 = 0x86;
const BAD_REGISTER: u32 = 0x87;
const SET_FAILED: u32 = 0x88;
const BUFFER_TOO_SMALL: u32 = 0x89;

/// The ISA bridge with the router: slot 1.
const ROUTER: u8 = 1 << 3;
/// The identity that router drivers look for.
const ROUTER_IDENTITY: u32 = 0x7000_8086;
/// Interrupts that a link can be routed to ("82371SB PIIX3", PIRQRC).
const ROUTABLE: u16 = 0xDEF8;
/// Slots of bus 0 that cards can be in.
const SLOTS: std::ops::Range<u8> = 1..32;
/// Bytes of the header of a routing table.
const HEADER_BYTES: usize = 32;

/// Interrupts that PCI alone uses.
fn exclusive() -> u16 {
    PCI_LINK_IRQS.iter().fold(0, |bits, irq| bits | 1 << irq)
}

/// How the pins of each slot are wired to the router.
fn routing_entries() -> Vec<u8> {
    let mut entries = Vec::new();
    for slot in SLOTS {
        entries.extend([0, slot << 3]);
        for pin in 1..=4 {
            let [low, high] = ROUTABLE.to_le_bytes();
            entries.extend([0x60 + pci_link(slot, pin), low, high]);
        }
        // Slot numbers are for what can be plugged in; the router's slot is on the board.
        entries.extend([if slot << 3 == ROUTER { 0 } else { slot }, 0]);
    }
    entries
}

/// Makes the bytes of a table add up to zero by the one at `at`.
fn sum_to_zero(table: &mut [u8], at: usize) {
    let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(byte) = table.get_mut(at) {
        *byte = byte.wrapping_sub(sum);
    }
}

/// The PCI interrupt routing table, for an address that is a multiple of 16.
pub fn routing_table() -> Vec<u8> {
    let entries = routing_entries();
    let mut table = Vec::from(*b"$PIR\0\x01");
    table.extend(((HEADER_BYTES + entries.len()) as u16).to_le_bytes());
    table.extend([0, ROUTER]);
    table.extend(exclusive().to_le_bytes());
    table.extend(ROUTER_IDENTITY.to_le_bytes());
    table.resize(HEADER_BYTES, 0);
    table.extend(entries);
    sum_to_zero(&mut table, HEADER_BYTES - 1);
    table
}

/// The BIOS32 service directory's header, for an address that is a multiple of 16. `entry` is the physical address of
/// what [`directory_32`] wrote.
pub fn directory_header(entry: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[..4].copy_from_slice(b"_32_");
    header[4..8].copy_from_slice(&entry.to_le_bytes());
    header[9] = 1;
    sum_to_zero(&mut header, 10);
    header
}

/// The BIOS32 service directory: tells where [`entry_32`] is, by its offset in the segment at F0000h.
///
/// # Errors
/// What the assembler refuses.
pub fn directory_32(entry: u16) -> Result<Vec<u8>, IcedError> {
    const PCI_SERVICE: u32 = u32::from_le_bytes(*b"$PCI");
    let mut a = CodeAssembler::new(32)?;
    let (mut known, mut function, mut end) = (a.create_label(), a.create_label(), a.create_label());
    a.pushfd()?;
    a.test(bl, bl)?;
    a.jnz(function)?;
    a.cmp(eax, PCI_SERVICE as i32)?;
    a.je(known)?;
    a.mov(al, 0x80u32)?;
    a.jmp(end)?;
    a.set_label(&mut known)?;
    a.mov(ebx, 0xF_0000u32)?;
    a.mov(ecx, 0x1_0000u32)?;
    a.mov(edx, u32::from(entry))?;
    a.xor(al, al)?;
    a.jmp(end)?;
    a.set_label(&mut function)?;
    a.mov(al, 0x81u32)?;
    a.set_label(&mut end)?;
    a.popfd()?;
    a.retf()?;
    a.assemble(0)
}

/// Writes what INT 1Ah jumps to where AH is B1h, with nothing on the stack but what the interrupt left. It ends with IRET.
///
/// # Errors
/// What the assembler refuses.
pub fn interrupt_16(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut succeeded, mut failed, mut end) = (a.create_label(), a.create_label(), a.create_label());
    a.push(ds)?;
    a.push(es)?;
    a.pushad()?;
    a.cld()?;
    a.movzx(ebp, sp)?;
    functions(a, succeeded, failed)?;
    a.set_label(&mut succeeded)?;
    a.mov(byte_ptr(ebp + AH), 0)?;
    a.and(byte_ptr(ebp + FLAGS), 0xFEu32)?;
    a.jmp(end)?;
    a.set_label(&mut failed)?;
    a.mov(byte_ptr(ebp + AH), al)?;
    a.or(byte_ptr(ebp + FLAGS), 1)?;
    a.set_label(&mut end)?;
    a.popad()?;
    a.pop(es)?;
    a.pop(ds)?;
    a.iret()
}

/// The entry point for 32-bit programs, which call it far.
///
/// # Errors
/// What the assembler refuses.
pub fn entry_32() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    let (mut succeeded, mut failed) = (a.create_label(), a.create_label());
    a.push(es)?;
    a.pushad()?;
    a.cld()?;
    a.mov(ebp, esp)?;
    functions(&mut a, succeeded, failed)?;
    a.set_label(&mut succeeded)?;
    a.mov(byte_ptr(ebp + AH), 0)?;
    a.popad()?;
    a.pop(es)?;
    a.clc()?;
    a.retf()?;
    a.set_label(&mut failed)?;
    a.mov(byte_ptr(ebp + AH), al)?;
    a.popad()?;
    a.pop(es)?;
    a.stc()?;
    a.retf()?;
    a.assemble(0)
}

/// The functions. EBP leads to the caller's registers, which all but EBP and ESP still are. They end at `succeeded`, or at `failed`
/// with an error in AL.
fn functions(a: &mut CodeAssembler, succeeded: CodeLabel, failed: CodeLabel) -> Result<(), IcedError> {
    let (mut present, mut device, mut class, mut special, mut select, mut not_pci) = (
        a.create_label(),
        a.create_label(),
        a.create_label(),
        a.create_label(),
        a.create_label(),
        a.create_label(),
    );
    let (mut options, mut route) = (a.create_label(), a.create_label());
    let mut accesses: [CodeLabel; 6] = std::array::from_fn(|_| a.create_label());
    a.cmp(ah, 0xB1u32)?;
    a.jne(not_pci)?;
    a.and(al, 0x7F)?;
    let mut leads =
        vec![(1u32, present), (2, device), (3, class), (6, special), (0xE, options), (0xF, route)];
    leads.extend((8..).zip(accesses));
    for (function, label) in leads {
        a.cmp(al, function)?;
        a.je(label)?;
    }
    a.set_label(&mut not_pci)?;
    fail(a, NOT_SUPPORTED, failed)?;

    a.set_label(&mut present)?;
    a.mov(dword_ptr(ebp + DX), u32::from_le_bytes(*b"PCI "))?;
    // Version 2.1; the last bus is bus 0; configuration and special cycles by mechanism 1.
    a.mov(word_ptr(ebp + BX), 0x0210u32)?;
    a.mov(byte_ptr(ebp + CX), 0)?;
    a.mov(byte_ptr(ebp + AX), 0x11)?;
    a.jmp(succeeded)?;

    // Selects function BX and register EDI: DX is the data port. EAX is lost.
    a.set_label(&mut select)?;
    a.movzx(eax, bx)?;
    a.shl(eax, 8u32)?;
    a.or(eax, 0x8000_0000u32 as i32)?;
    a.mov(edx, edi)?;
    a.and(edx, 0xFC)?;
    a.or(eax, edx)?;
    a.mov(edx, 0xCF8u32)?;
    a.out(dx, eax)?;
    a.mov(edx, edi)?;
    a.and(edx, 3)?;
    a.add(edx, 0xCFC)?;
    a.ret()?;

    find_device(a, &mut device, select, succeeded, failed)?;
    find_class(a, &mut class, select, succeeded, failed)?;

    a.set_label(&mut special)?;
    a.movzx(eax, bh)?;
    a.shl(eax, 16u32)?;
    // Device 31, function 7, register 0 of the bus.
    a.or(eax, 0x8000_FF00u32 as i32)?;
    a.mov(edx, 0xCF8u32)?;
    a.out(dx, eax)?;
    a.mov(edx, 0xCFCu32)?;
    a.mov(eax, dword_ptr(ebp + DX))?;
    a.out(dx, eax)?;
    a.jmp(succeeded)?;

    for (index, label) in accesses.iter_mut().enumerate() {
        access(a, label, 1 << (index % 3), index >= 3, select, succeeded, failed)?;
    }
    routing_options(a, &mut options, succeeded, failed)?;
    route_interrupt(a, &mut route, select, succeeded, failed)
}

fn fail(a: &mut CodeAssembler, error: u32, failed: CodeLabel) -> Result<(), IcedError> {
    a.mov(al, error)?;
    a.jmp(failed)
}

/// Goes on with the next function of bus 0 at `next`, or ends where there is none.
fn next_function(
    a: &mut CodeAssembler,
    again: CodeLabel,
    next: &mut CodeLabel,
    found: &mut CodeLabel,
    succeeded: CodeLabel,
    failed: CodeLabel,
) -> Result<(), IcedError> {
    // It is one of them; ESI says how many of them come before the one that is wanted.
    a.test(esi, esi)?;
    a.jz(*found)?;
    a.dec(esi)?;
    a.set_label(next)?;
    a.inc(ebx)?;
    a.cmp(ebx, 0x100)?;
    a.jb(again)?;
    fail(a, NOT_FOUND, failed)?;
    a.set_label(found)?;
    a.mov(word_ptr(ebp + BX), bx)?;
    a.jmp(succeeded)
}

/// Function 02h: CX is the device, DX the vendor, SI how many of them come before.
fn find_device(
    a: &mut CodeAssembler,
    entry: &mut CodeLabel,
    select: CodeLabel,
    succeeded: CodeLabel,
    failed: CodeLabel,
) -> Result<(), IcedError> {
    let (mut again, mut next, mut found, mut possible) =
        (a.create_label(), a.create_label(), a.create_label(), a.create_label());
    a.set_label(entry)?;
    a.cmp(dx, 0xFFFFu32)?;
    a.jne(possible)?;
    fail(a, BAD_VENDOR, failed)?;
    a.set_label(&mut possible)?;
    a.shl(ecx, 16u32)?;
    a.mov(cx, dx)?;
    a.movzx(esi, si)?;
    a.xor(edi, edi)?;
    a.xor(ebx, ebx)?;
    a.set_label(&mut again)?;
    a.call(select)?;
    a.in_(eax, dx)?;
    a.cmp(eax, ecx)?;
    a.jne(next)?;
    next_function(a, again, &mut next, &mut found, succeeded, failed)
}

/// Function 03h: ECX is the class code, SI how many of them come before.
fn find_class(
    a: &mut CodeAssembler,
    entry: &mut CodeLabel,
    select: CodeLabel,
    succeeded: CodeLabel,
    failed: CodeLabel,
) -> Result<(), IcedError> {
    let (mut again, mut next, mut found) = (a.create_label(), a.create_label(), a.create_label());
    a.set_label(entry)?;
    a.and(ecx, 0xFF_FFFF)?;
    a.movzx(esi, si)?;
    a.xor(ebx, ebx)?;
    a.set_label(&mut again)?;
    a.xor(edi, edi)?;
    a.call(select)?;
    a.in_(eax, dx)?;
    a.cmp(ax, 0xFFFFu32)?;
    a.je(next)?;
    a.mov(edi, 8u32)?;
    a.call(select)?;
    a.in_(eax, dx)?;
    a.shr(eax, 8u32)?;
    a.cmp(eax, ecx)?;
    a.jne(next)?;
    next_function(a, again, &mut next, &mut found, succeeded, failed)
}

/// Functions 08h to 0Dh: BX is the function, DI the register, ECX the value.
fn access(
    a: &mut CodeAssembler,
    entry: &mut CodeLabel,
    bytes: u32,
    write: bool,
    select: CodeLabel,
    succeeded: CodeLabel,
    failed: CodeLabel,
) -> Result<(), IcedError> {
    let (mut bad, mut good) = (a.create_label(), a.create_label());
    a.set_label(entry)?;
    a.movzx(edi, di)?;
    a.test(edi, (0xFF00 | (bytes - 1)) as i32)?;
    a.jz(good)?;
    a.set_label(&mut bad)?;
    fail(a, BAD_REGISTER, failed)?;
    a.set_label(&mut good)?;
    a.call(select)?;
    match (bytes, write) {
        (1, false) => {
            a.in_(al, dx)?;
            a.mov(byte_ptr(ebp + CX), al)?;
        }
        (2, false) => {
            a.in_(ax, dx)?;
            a.mov(word_ptr(ebp + CX), ax)?;
        }
        (_, false) => {
            a.in_(eax, dx)?;
            a.mov(dword_ptr(ebp + CX), eax)?;
        }
        (1, true) => {
            a.mov(al, cl)?;
            a.out(dx, al)?;
        }
        (2, true) => {
            a.mov(ax, cx)?;
            a.out(dx, ax)?;
        }
        (_, true) => {
            a.mov(eax, ecx)?;
            a.out(dx, eax)?;
        }
    }
    a.jmp(succeeded)
}

/// Function 0Eh: ES:DI (ES:EDI) leads to the size of a buffer, a word, and a far pointer to it.
fn routing_options(
    a: &mut CodeAssembler,
    entry: &mut CodeLabel,
    succeeded: CodeLabel,
    failed: CodeLabel,
) -> Result<(), IcedError> {
    let entries = routing_entries();
    let size = entries.len() as u32;
    let (mut fits, mut behind, mut copy) = (a.create_label(), a.create_label(), a.create_label());
    a.set_label(entry)?;
    if a.bitness() == 16 {
        a.movzx(edi, di)?;
    }
    a.movzx(ecx, word_ptr(edi).es())?;
    a.mov(word_ptr(edi).es(), size)?;
    a.cmp(ecx, size as i32)?;
    a.jae(fits)?;
    fail(a, BUFFER_TOO_SMALL, failed)?;
    a.set_label(&mut fits)?;
    a.mov(word_ptr(ebp + BX), u32::from(exclusive()))?;
    if a.bitness() == 16 {
        a.les(di, dword_ptr(edi + 2).es())?;
        a.movzx(edi, di)?;
    } else {
        a.les(edi, fword_ptr(edi + 2).es())?;
    }
    // The return address is that of the entries.
    a.call(behind)?;
    a.db(&entries)?;
    a.set_label(&mut behind)?;
    if a.bitness() == 16 {
        a.pop(si)?;
        a.movzx(esi, si)?;
    } else {
        a.pop(esi)?;
    }
    a.mov(ecx, size)?;
    a.set_label(&mut copy)?;
    a.mov(al, byte_ptr(esi).cs())?;
    a.mov(byte_ptr(edi).es(), al)?;
    a.inc(esi)?;
    a.inc(edi)?;
    a.dec(ecx)?;
    a.jnz(copy)?;
    a.jmp(succeeded)
}

/// Function 0Fh: CL is the pin (0Ah is INTA#), CH the interrupt, BX the function.
fn route_interrupt(
    a: &mut CodeAssembler,
    entry: &mut CodeLabel,
    select: CodeLabel,
    succeeded: CodeLabel,
    failed: CodeLabel,
) -> Result<(), IcedError> {
    let (mut bad, mut routed) = (a.create_label(), a.create_label());
    a.set_label(entry)?;
    a.mov(al, cl)?;
    a.sub(al, 0x0A)?;
    a.cmp(al, 3)?;
    a.ja(bad)?;
    a.test(bh, bh)?;
    a.jnz(bad)?;
    a.movzx(esi, ch)?;
    a.cmp(esi, 15)?;
    a.ja(bad)?;
    a.mov(eax, u32::from(ROUTABLE))?;
    a.bt(eax, esi)?;
    a.jc(routed)?;
    a.set_label(&mut bad)?;
    fail(a, SET_FAILED, failed)?;
    a.set_label(&mut routed)?;
    // The link: the slot's number and the pin's, less one, so that slot 1 begins with link A.
    a.movzx(edi, bl)?;
    a.shr(edi, 3u32)?;
    a.movzx(eax, al)?;
    a.lea(edi, dword_ptr(edi + eax + 3))?;
    a.and(edi, 3)?;
    a.add(edi, 0x60)?;
    a.mov(ebx, u32::from(ROUTER))?;
    a.call(select)?;
    a.mov(eax, esi)?;
    a.out(dx, al)?;
    // PCI interrupts are level triggered.
    a.mov(edx, esi)?;
    a.shr(edx, 3u32)?;
    a.add(edx, i32::from(ELCR.0))?;
    a.in_(al, dx)?;
    a.movzx(eax, al)?;
    a.mov(ecx, esi)?;
    a.and(ecx, 7)?;
    a.bts(eax, ecx)?;
    a.out(dx, al)?;
    a.jmp(succeeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_add_up_to_zero() {
        let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        let table = routing_table();
        assert_eq!((sum(&table), table.len()), (0, 32 + 31 * 16));
        assert_eq!(table[6..8], (table.len() as u16).to_le_bytes());
        // Slot 1: INTA# is link A.
        assert_eq!(table[32..40], [0, 8, 0x60, 0xF8, 0xDE, 0x61, 0xF8, 0xDE]);
        let header = directory_header(0xF_1234);
        assert_eq!((sum(&header), &header[4..8]), (0, &[0x34, 0x12, 0x0F, 0][..]));
    }
}
