//! Memory: what INT 15h says of it (E820h, E801h, 88h, 8Ah), moving blocks beyond 1 MiB (87h), the A20 gate (24h).
//!
//! Source: ACPI Specification, "System Address Map Interfaces"; IBM PS/2 and PC BIOS Interface Technical Reference,
//! "Interrupt 15H - System Services".

use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::{bda, frame};
use crate::tables::Platform;
use iced_x86::code_asm::*;
use trimotor_bus::board::SYSTEM_CONTROL_A;

const SIGNATURE: u32 = u32::from_be_bytes(*b"SMAP");
/// Bytes of an entry of the map.
const ENTRY: u32 = 20;

pub(super) fn write(a: &mut Module, platform: &Platform) -> Build {
    map(a, platform)?;
    sizes(a, platform)?;
    block_move(a)?;
    a20(a)
}

/// Function E820h: entry EBX into ES:DI. The end of conventional memory is what the BDA says: option ROMs take some.
fn map(a: &mut Module, platform: &Platform) -> Build {
    let entries = platform.memory.entries();
    let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_bytes()).collect();
    let table = a.bytes(&bytes);
    let count = entries.len() as u32;
    let [bad, first, second, fixed, last, more] = a.labels();
    code!(a;
        routine("memory_map");
        cmp(edx, SIGNATURE);
        jne(bad);
        cmp(ecx, ENTRY);
        jb(bad);
        cmp(ebx, count);
        jae(bad);
        imul_3(si, bx, ENTRY);
        add(si, table);
        mov(es, word_ptr(bp + frame::ES));
        mov(cx, ENTRY);
    );
    let copy = a.here()?;
    code!(a;
        mov(al, byte_ptr(si).cs());
        mov(byte_ptr(di).es(), al);
        inc(si);
        inc(di);
        loop_(copy);
        sub(di, ENTRY);
        movzx(eax, word_ptr(bda::MEMORY_KIB));
        shl(eax, 10);
        test(ebx, ebx);
        jz(first);
        cmp(ebx, 1);
        je(second);
        jmp(fixed);
        bind(first);
        mov(dword_ptr(di + 8).es(), eax);
        jmp(fixed);
        bind(second);
        mov(dword_ptr(di).es(), eax);
        mov(ecx, 0xA_0000);
        sub(ecx, eax);
        mov(dword_ptr(di + 8).es(), ecx);
        bind(fixed);
        inc(ebx);
        cmp(ebx, count);
        jb(more);
        bind(last);
        xor(ebx, ebx);
        bind(more);
        mov(dword_ptr(bp + frame::BX), ebx);
        mov(dword_ptr(bp + frame::CX), ENTRY);
        mov(dword_ptr(bp + frame::AX), SIGNATURE);
        goto("leave_no_carry");
        bind(bad);
        goto("leave_unsupported")
    );
    Ok(())
}

/// Functions 88h, 8Ah and E801h: KiB from 1 MiB up, and 64 KiB blocks from 16 MiB up.
fn sizes(a: &mut Module, platform: &Platform) -> Build {
    const MIB: u64 = 1 << 20;
    let upper = platform.memory.upper_kib();
    let below_16 = upper.min(15 << 10) as u32;
    let above_16 = (platform.memory.low_ram_bytes().saturating_sub(16 * MIB) >> 16) as u32;
    code!(a;
        routine("memory_88");
        // 63 MiB at most: more was never asked for by this function.
        mov(word_ptr(bp + frame::AX), upper.min(63 << 10) as u32);
        goto("leave_no_carry");
        routine("memory_8a");
        mov(word_ptr(bp + frame::AX), upper as u32 & 0xFFFF);
        mov(word_ptr(bp + frame::DX), upper as u32 >> 16);
        goto("leave_no_carry");
        routine("memory_e801");
        mov(ax, below_16);
        mov(bx, above_16);
        mov(word_ptr(bp + frame::AX), ax);
        mov(word_ptr(bp + frame::CX), ax);
        mov(word_ptr(bp + frame::BX), bx);
        mov(word_ptr(bp + frame::DX), bx);
        goto("leave_no_carry")
    );
    Ok(())
}

/// Function 87h: CX words, by the descriptors at ES:SI. The caller's table has room for three of ours: itself (1), code (4)
/// and stack (5). Interrupts stay off while the processor is in protected mode, and A20 is open.
fn block_move(a: &mut Module) -> Build {
    let [too_many, protected, real] = a.labels();
    let protected_at = a.table(&["move_protected"]);
    let real_at = a.table(&["move_real"]);
    code!(a;
        routine("block_move");
        cmp(cx, 0x8000);
        ja(too_many);
        mov(es, word_ptr(bp + frame::ES));
        in_(al, u32::from(SYSTEM_CONTROL_A.0));
        push(ax);
        or(al, 2);
        and(al, 0xFE);
        out_al(u32::from(SYSTEM_CONTROL_A.0));
        // 1: the table itself.
        mov(ax, es);
        movzx(eax, ax);
        shl(eax, 4);
        movzx(edx, si);
        add(eax, edx);
        mov(word_ptr(si + 8).es(), 0x2F);
        mov(dword_ptr(si + 10).es(), eax);
        mov(byte_ptr(si + 13).es(), 0x93);
        // 4: the code here, 64 KiB. 5: the stack in use.
        mov(dword_ptr(si + 0x20).es(), 0xFFFF);
        mov(dword_ptr(si + 0x24).es(), 0x0000_9B0F);
        mov(ax, ss);
        movzx(eax, ax);
        shl(eax, 4);
        mov(word_ptr(si + 0x28).es(), 0xFFFF);
        mov(dword_ptr(si + 0x2A).es(), eax);
        mov(word_ptr(si + 0x2D).es(), 0x93);
        mov(byte_ptr(si + 0x2F).es(), 0);
        // The pointers of LGDT and LIDT on the stack.
        push(dword_ptr(si + 10).es());
        push(0x2F);
        mov(bx, sp);
        and(byte_ptr(bx + 5).ss(), 0);
        lgdt(fword_ptr(bx).ss());
        mov(bx, ss);
        cli;
        mov(eax, cr0);
        or(al, 1);
        mov(cr0, eax);
        push(0x20);
        push(word_ptr(protected_at).cs());
        retf;
        routine("move_protected");
        bind(protected);
        mov(ax, 0x10);
        mov(ds, ax);
        mov(ax, 0x18);
        mov(es, ax);
        mov(ax, 0x28);
        mov(ss, ax);
        xor(si, si);
        xor(di, di);
        rep_movsw();
        // Limits of 64 KiB again, for real mode.
        mov(ds, ax);
        mov(es, ax);
        mov(eax, cr0);
        and(al, 0xFE);
        mov(cr0, eax);
        push(0xF000u32 as i32 - 0x1_0000);
        push(word_ptr(real_at).cs());
        retf;
        routine("move_real");
        bind(real);
        mov(ss, bx);
        add(sp, 6);
        pop(ax);
        out_al(u32::from(SYSTEM_CONTROL_A.0));
        goto("leave_ok");
        bind(too_many);
        goto("leave_unsupported")
    );
    Ok(())
}

/// Function 24h: 00h closes A20, 01h opens it, 02h tells whether it is open, 03h how it can be switched.
fn a20(a: &mut Module) -> Build {
    let [no, get, ways] = a.labels();
    code!(a;
        routine("a20");
        cmp(al, 2);
        je(get);
        cmp(al, 3);
        je(ways);
        ja(no);
        mov(bl, al);
        add(bl, bl);
        in_(al, u32::from(SYSTEM_CONTROL_A.0));
        and(al, 0xFC);
        or(al, bl);
        out_al(u32::from(SYSTEM_CONTROL_A.0));
        goto("leave_ok");
        bind(get);
        in_(al, u32::from(SYSTEM_CONTROL_A.0));
        shr(al, 1);
        and(al, 1);
        mov(byte_ptr(bp + frame::AX), al);
        goto("leave_ok");
        // By the keyboard controller and by port 92h.
        bind(ways);
        mov(word_ptr(bp + frame::BX), 3);
        goto("leave_ok");
        bind(no);
        goto("leave_unsupported")
    );
    Ok(())
}
