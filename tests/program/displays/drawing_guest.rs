//! A guest of some instructions that draws a picture on the linear frame buffer, and tells what its mouse does.
//!
//! It obeys keys: `space` draws the picture in other colours, `c` changes a corner of it, `r` draws again and again,
//! `t` shows text and `g` the picture again. What the mouse sends goes to the debug port, byte by byte.

use crate::support::small_guest::{CODE, Scratch, small_guest};
use iced_x86::code_asm::*;

/// The size of its picture, in pixels.
pub const WIDTH: usize = 640;
pub const HEIGHT: usize = 480;
/// What it writes when it shows text.
pub const TEXT: &str = "back to text";
/// A corner that the key `c` changes, so many pixels wide and high.
pub const CORNER: usize = 20;
pub const CORNER_COLOUR: u32 = 0x00FF_FFFF;

/// The mouse that the guest uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mouse {
    /// The PS/2 mouse: packets of three bytes.
    Moves,
    /// The VMware mouse: packets of four words, lowest byte first.
    Positions,
}

/// The colour of a pixel; with `other`, after the space bar was struck an odd number of times.
pub fn colour(x: usize, y: usize, other: bool) -> u32 {
    // Blocks of 16 colours, in which every fourth line has no red, so that pictures made smaller have mixed ones.
    let red = if y & 3 == 0 { 0 } else { (x as u32 & 0xC0) << 16 };
    (red | (y as u32 & 0xC0) << 8 | 0x40) ^ if other { 0x0000_C080 } else { 0 }
}

/// Registers of DISPI (Bochs, "VBE display").
const DISPI_INDEX: u32 = 0x1CE;
const DISPI_DATA: u32 = 0x1CF;
/// Where the keyboard's and the mouse's bytes come from.
const I8042_DATA: u32 = 0x60;
const I8042_STATUS: u32 = 0x64;
const DEBUG_PORT: u32 = 0xE9;
/// The configuration of the display adapter, 00:02.0: its command register and its first base address register.
const COMMAND: u32 = 0x8000_1004;
const FRAME_BUFFER: u32 = 0x8000_1010;
/// The VMware mouse's backdoor.
const BACKDOOR: u32 = 0x5658;
const BACKDOOR_MAGIC: u32 = 0x564D_5868;
const BACKDOOR_DATA: u32 = 39;
const BACKDOOR_STATUS: u32 = 40;
const BACKDOOR_CONTROL: u32 = 41;

/// Make codes of set 1.
const SPACE: u32 = 0x39;
const C: u32 = 0x2E;
const R: u32 = 0x13;
const T: u32 = 0x14;
const G: u32 = 0x22;

/// The guest's image.
pub fn image(mouse: Mouse) -> Scratch {
    small_guest("drawing", &code(mouse).expect("the code assembles"))
}

/// To the keyboard controller, once it has taken what was sent before.
fn tell_controller(a: &mut CodeAssembler, port: u32, value: u32) -> Result<(), IcedError> {
    let mut busy = a.create_label();
    a.mov(edx, I8042_STATUS)?;
    a.set_label(&mut busy)?;
    a.in_(al, dx)?;
    a.test(al, 2)?;
    a.jnz(busy)?;
    a.mov(edx, port)?;
    a.mov(eax, value)?;
    a.out(dx, al)
}

/// A floppy whose boot sector draws in mode 13h: each of 256 colours, in stripes from the upper left on.
pub fn mode_13h() -> Scratch {
    let build = || -> Result<Vec<u8>, IcedError> {
        let mut a = CodeAssembler::new(16)?;
        let (mut pixel, mut line, mut end) = (a.create_label(), a.create_label(), a.create_label());
        a.mov(ax, 0x13u32)?;
        a.int(0x10)?;
        a.mov(ax, 0xA000u32)?;
        a.mov(es, ax)?;
        a.xor(di, di)?;
        a.xor(bx, bx)?;
        a.cld()?;
        a.set_label(&mut line)?;
        a.mov(cx, 320u32)?;
        a.mov(ax, bx)?;
        a.set_label(&mut pixel)?;
        a.stosb()?;
        a.inc(al)?;
        a.loop_(pixel)?;
        a.inc(bx)?;
        a.cmp(bx, 200u32)?;
        a.jb(line)?;
        a.set_label(&mut end)?;
        a.jmp(end)?;
        a.assemble(0x7C00)
    };
    const FLOPPY_BYTES: usize = 2880 * 512;
    let mut floppy = build().expect("the boot sector assembles");
    floppy.resize(FLOPPY_BYTES, 0);
    floppy[510..512].copy_from_slice(&[0x55, 0xAA]);
    let file = Scratch::new("mode13h.img");
    std::fs::write(&file.0, floppy).expect("a temporary file");
    file
}

fn dispi(a: &mut CodeAssembler, index: u32, value: u32) -> Result<(), IcedError> {
    for (port, value) in [(DISPI_INDEX, index), (DISPI_DATA, value)] {
        a.mov(edx, port)?;
        a.mov(eax, value)?;
        a.out(dx, ax)?;
    }
    Ok(())
}

/// A word of the display adapter's configuration, in EAX.
fn configuration(a: &mut CodeAssembler, register: u32) -> Result<(), IcedError> {
    a.mov(edx, 0xCF8)?;
    a.mov(eax, register)?;
    a.out(dx, eax)?;
    a.mov(edx, 0xCFC)?;
    a.in_(eax, dx)
}

/// A call of the backdoor; EBX is as given.
fn backdoor(a: &mut CodeAssembler, command: u32) -> Result<(), IcedError> {
    a.mov(eax, BACKDOOR_MAGIC)?;
    a.mov(ecx, command)?;
    a.mov(edx, BACKDOOR)?;
    a.in_(eax, dx)
}

/// EBP is the frame buffer, EDI what the colours are changed by, ESI whether it draws again and again.
fn code(mouse: Mouse) -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    let [mut show, mut draw, mut next_line, mut next_pixel, mut without_red] =
        std::array::from_fn(|_| a.create_label());
    let [mut wait, mut key, mut corner, mut again, mut text, mut put] =
        std::array::from_fn(|_| a.create_label());
    configuration(&mut a, COMMAND)?;
    a.or(eax, 3)?;
    a.out(dx, eax)?;
    configuration(&mut a, FRAME_BUFFER)?;
    a.and(eax, 0xFFFF_FFF0u32 as i32)?;
    a.mov(ebp, eax)?;
    a.xor(edi, edi)?;
    a.xor(esi, esi)?;
    start_mouse(&mut a, mouse)?;

    a.set_label(&mut show)?;
    for (index, value) in [(4, 0), (1, WIDTH as u32), (2, HEIGHT as u32), (3, 32), (4, 0x41)] {
        dispi(&mut a, index, value)?;
    }
    a.set_label(&mut draw)?;
    a.mov(ecx, ebp)?;
    a.xor(ebx, ebx)?;
    a.set_label(&mut next_line)?;
    a.xor(edx, edx)?;
    a.set_label(&mut next_pixel)?;
    // Green and blue.
    a.mov(eax, ebx)?;
    a.and(eax, 0xC0)?;
    a.shl(eax, 8)?;
    a.or(eax, 0x40)?;
    a.test(ebx, 3)?;
    a.jz(without_red)?;
    a.push(edx)?;
    a.and(edx, 0xC0)?;
    a.shl(edx, 16)?;
    a.or(eax, edx)?;
    a.pop(edx)?;
    a.set_label(&mut without_red)?;
    a.xor(eax, edi)?;
    a.mov(dword_ptr(ecx), eax)?;
    a.add(ecx, 4)?;
    a.inc(edx)?;
    a.cmp(edx, WIDTH as i32)?;
    a.jb(next_pixel)?;
    a.inc(ebx)?;
    a.cmp(ebx, HEIGHT as i32)?;
    a.jb(next_line)?;
    a.mov(ebx, ebp)?;

    a.set_label(&mut wait)?;
    poll_mouse(&mut a, mouse)?;
    a.mov(edx, I8042_STATUS)?;
    a.in_(al, dx)?;
    a.test(al, 1)?;
    a.jnz(key)?;
    a.test(esi, esi)?;
    a.jz(wait)?;
    // It draws again and again.
    a.xor(edi, 0x0000_C080)?;
    a.jmp(draw)?;

    a.set_label(&mut key)?;
    a.mov(cl, al)?;
    a.mov(edx, I8042_DATA)?;
    a.in_(al, dx)?;
    tell_mouse(&mut a, mouse, wait)?;
    a.mov(edx, eax)?;
    a.movzx(edx, dl)?;
    a.cmp(edx, C as i32)?;
    a.je(corner)?;
    a.cmp(edx, R as i32)?;
    a.je(again)?;
    a.cmp(edx, T as i32)?;
    a.je(text)?;
    a.cmp(edx, G as i32)?;
    a.je(show)?;
    a.cmp(edx, SPACE as i32)?;
    a.jne(wait)?;
    a.xor(edi, 0x0000_C080)?;
    a.jmp(draw)?;

    a.set_label(&mut corner)?;
    for line in 0..CORNER {
        for pixel in [0, CORNER - 1] {
            a.mov(dword_ptr(ebp + 4 * (line * WIDTH + pixel)), CORNER_COLOUR)?;
        }
    }
    a.jmp(wait)?;
    a.set_label(&mut again)?;
    a.xor(esi, 1)?;
    a.jmp(wait)?;

    a.set_label(&mut text)?;
    dispi(&mut a, 4, 0)?;
    a.mov(ecx, 0xB8000)?;
    a.set_label(&mut put)?;
    a.mov(dword_ptr(ecx), 0x0720_0720)?;
    a.add(ecx, 4)?;
    a.cmp(ecx, 0xB8000 + 2 * 80 * 25)?;
    a.jb(put)?;
    for (at, character) in TEXT.bytes().enumerate() {
        a.mov(byte_ptr(0xB8000 + 2 * at), u32::from(character))?;
    }
    a.jmp(wait)?;
    a.assemble(u64::from(CODE))
}

/// Switches the mouse on.
fn start_mouse(a: &mut CodeAssembler, mouse: Mouse) -> Result<(), IcedError> {
    match mouse {
        // To the mouse: send what happens.
        Mouse::Moves => {
            tell_controller(a, I8042_STATUS, 0xA8)?;
            tell_controller(a, I8042_STATUS, 0xD4)?;
            tell_controller(a, I8042_DATA, 0xF4)
        }
        Mouse::Positions => {
            for request in [0x4541_4552u32, 0x5342_4152] {
                a.mov(ebx, request)?;
                backdoor(a, BACKDOOR_CONTROL)?;
            }
            // The version of the protocol.
            a.mov(ebx, 1)?;
            backdoor(a, BACKDOOR_DATA)
        }
    }
}

/// The byte in AL to the debug port, whose number is in EDX, and a new line, with which it is written to its file.
fn tell(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.out(dx, al)?;
    a.push(eax)?;
    a.mov(eax, 10)?;
    a.out(dx, al)?;
    a.pop(eax)
}

/// What the mouse has sent, from the file of the debug port.
pub fn sent(file: &Scratch) -> Vec<u8> {
    let told = std::fs::read(&file.0).unwrap_or_default();
    told.chunks_exact(2).map(|pair| pair[0]).collect()
}

/// The packets of the VMware mouse in it.
pub fn packets(file: &Scratch) -> Vec<[u32; 4]> {
    let words: Vec<u32> =
        sent(file).chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
    words.chunks_exact(4).map(|packet| packet.try_into().unwrap()).collect()
}

/// Looks whether the VMware mouse has a packet, which goes to the debug port.
fn poll_mouse(a: &mut CodeAssembler, mouse: Mouse) -> Result<(), IcedError> {
    if mouse == Mouse::Moves {
        return Ok(());
    }
    let mut none = a.create_label();
    backdoor(a, BACKDOOR_STATUS)?;
    a.movzx(eax, ax)?;
    a.cmp(eax, 4)?;
    a.jb(none)?;
    a.push(esi)?;
    a.push(edi)?;
    a.mov(ebx, 4)?;
    backdoor(a, BACKDOOR_DATA)?;
    a.mov(esi, edx)?;
    a.mov(edx, DEBUG_PORT)?;
    for register in [eax, ebx, ecx, esi] {
        a.mov(eax, register)?;
        for _ in 0..4 {
            tell(a)?;
            a.shr(eax, 8)?;
        }
    }
    a.pop(edi)?;
    a.pop(esi)?;
    // An instruction for the label.
    a.set_label(&mut none)?;
    a.nop()
}

/// A byte in AL, with the controller's status in CL: one of the mouse goes to the debug port, and the guest goes on at `then`.
fn tell_mouse(a: &mut CodeAssembler, mouse: Mouse, then: CodeLabel) -> Result<(), IcedError> {
    let mut of_keyboard = a.create_label();
    a.test(cl, 0x20)?;
    a.jz(of_keyboard)?;
    if mouse == Mouse::Moves {
        a.mov(edx, DEBUG_PORT)?;
        tell(a)?;
    }
    a.jmp(then)?;
    a.set_label(&mut of_keyboard)?;
    // An instruction for the label.
    a.nop()
}
