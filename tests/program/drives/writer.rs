//! A small guest that writes sectors by the IDE controller's ports, flushes each, and says so.

use crate::support::small_guest::CODE;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Sectors of the disk: 32 MiB.
pub const SECTORS: u32 = 1 << 16;
/// Sector numbers of one write and the next differ by so much; odd, so that all have their turn.
pub const STRIDE: u32 = 5077;

fn wait(a: &mut CodeAssembler, mask: u32, set: bool) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.set_label(&mut again)?;
    a.mov(edx, 0x1F7u32)?;
    a.in_(al, dx)?;
    a.test(al, mask)?;
    if set { a.jz(again) } else { a.jnz(again) }
}
/// Writes sector `STRIDE * n`, full of the dword `run << 16 | n`, flushes, and says n as four digits; for each n from 0 on.
pub fn writer(run: u32) -> Result<Vec<u8>, IcedError> {
    const BUSY: u32 = 0x80;
    const DATA: u32 = 8;
    let mut a = CodeAssembler::new(32)?;
    let (mut next, mut fill, mut digits, mut letter) =
        (a.create_label(), a.create_label(), a.create_label(), a.create_label());
    // Eight data bits.
    a.mov(edx, 0x3FBu32)?;
    a.mov(al, 3u32)?;
    a.out(dx, al)?;
    a.xor(esi, esi)?;
    a.set_label(&mut next)?;
    a.imul_3(edi, esi, STRIDE as i32)?;
    a.and(edi, SECTORS as i32 - 1)?;
    wait(&mut a, BUSY, false)?;
    for (port, value) in [(0x1F6u32, 0xE0u32), (0x1F2, 1), (0x1F5, 0)] {
        a.mov(edx, port)?;
        a.mov(al, value)?;
        a.out(dx, al)?;
    }
    a.mov(eax, edi)?;
    a.mov(edx, 0x1F3u32)?;
    a.out(dx, al)?;
    a.mov(al, ah)?;
    a.inc(edx)?;
    a.out(dx, al)?;
    a.mov(edx, 0x1F7u32)?;
    a.mov(al, 0x30u32)?;
    a.out(dx, al)?;
    wait(&mut a, DATA, true)?;
    a.mov(edx, 0x1F0u32)?;
    a.mov(eax, esi)?;
    a.or(eax, (run << 16) as i32)?;
    a.mov(ecx, 128u32)?;
    a.set_label(&mut fill)?;
    a.out(dx, eax)?;
    a.loop_(fill)?;
    wait(&mut a, BUSY, false)?;
    a.mov(edx, 0x1F7u32)?;
    a.mov(al, 0xE7u32)?;
    a.out(dx, al)?;
    wait(&mut a, BUSY, false)?;
    a.mov(edx, 0x3F8u32)?;
    a.mov(ecx, 4u32)?;
    a.mov(ebx, esi)?;
    a.set_label(&mut digits)?;
    a.rol(bx, 4u32)?;
    a.mov(al, bl)?;
    a.and(al, 15)?;
    a.cmp(al, 10)?;
    a.jb(letter)?;
    a.add(al, 7)?;
    a.set_label(&mut letter)?;
    a.add(al, 0x30)?;
    a.out(dx, al)?;
    a.loop_(digits)?;
    a.mov(al, 10u32)?;
    a.out(dx, al)?;
    a.inc(esi)?;
    a.jmp(next)?;
    a.assemble(CODE.into())
}
