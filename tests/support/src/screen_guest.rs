//! What small guests that draw begin with.

use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// COM1 sends eight bits a character. EAX and EDX are lost, as below.
///
/// # Errors
/// The assembler's.
pub fn eight_bits(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(edx, 0x3FBu32)?;
    a.mov(al, 3u32)?;
    a.out(dx, al)
}
/// EAX is where the linear frame buffer is, as the first base address register of the adapter, in slot 2, says.
///
/// # Errors
/// The assembler's.
pub fn frame_buffer(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(eax, 0x8000_1010u32)?;
    a.mov(edx, 0xCF8u32)?;
    a.out(dx, eax)?;
    a.mov(edx, 0xCFCu32)?;
    a.in_(eax, dx)?;
    a.and(eax, !0xFi32)
}
/// Sets a register of DISPI.
///
/// # Errors
/// The assembler's.
pub fn dispi(a: &mut CodeAssembler, index: u32, value: u32) -> Result<(), IcedError> {
    for (port, word) in [(0x1CEu32, index), (0x1CF, value)] {
        a.mov(edx, port)?;
        a.mov(eax, word)?;
        a.out(dx, ax)?;
    }
    Ok(())
}
/// A DISPI mode of 32 bits a pixel with the linear frame buffer.
///
/// # Errors
/// The assembler's.
pub fn linear_mode(a: &mut CodeAssembler, width: u32, height: u32) -> Result<(), IcedError> {
    [(4, 0), (1, width), (2, height), (3, 32), (4, 0x41)]
        .into_iter()
        .try_for_each(|(register, value)| dispi(a, register, value))
}
