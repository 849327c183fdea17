//! What the guest does about exceptions and interrupts: it goes on after the instruction that faulted,
//! if it finds it in the table of lengths, and halts otherwise.

use crate::map::{CODE_BYTES, HANDLERS, LENGTHS};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Handlers of one mode. Offsets from [`HANDLERS`].
pub struct Handlers {
    pub code: Vec<u8>,
    /// A fault without an error code.
    pub skip: u64,
    /// A fault with one.
    pub skip_error: u64,
    /// A trap, which returns.
    pub trap: u64,
    /// #DB, which sets RF: it may be a fault.
    pub debug: u64,
    /// An external interrupt, which tells the board.
    pub interrupt: u64,
    /// SYSCALL's target.
    pub syscall: u64,
}

/// The handlers for gates of `bits`; the random code's first byte has the offset `code`.
pub fn build(bits: u32, code: u64) -> Handlers {
    let built = match bits {
        64 => long(code),
        32 => protected(code),
        _ => real(code),
    };
    built.expect("the handlers assemble")
}

fn finish(mut a: CodeAssembler, labels: [CodeLabel; 6], base: u64) -> Result<Handlers, IcedError> {
    let options = iced_x86::BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
    let result = a.assemble_options(base, options)?;
    let at = |label: &CodeLabel| result.label_ip(label).map_or(0, |ip| ip - base);
    let [skip, skip_error, trap, debug, interrupt, syscall] = labels;
    Ok(Handlers {
        skip: at(&skip),
        skip_error: at(&skip_error),
        trap: at(&trap),
        debug: at(&debug),
        interrupt: at(&interrupt),
        syscall: at(&syscall),
        code: result.inner.code_buffer,
    })
}

fn long(code: u64) -> Result<Handlers, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    let mut labels: [CodeLabel; 6] = std::array::from_fn(|_| a.create_label());
    let mut halt = a.create_label();
    a.set_label(&mut labels[1])?;
    a.add(rsp, 8)?;
    a.set_label(&mut labels[0])?;
    a.push(rax)?;
    a.push(rcx)?;
    a.mov(rax, qword_ptr(rsp + 16))?;
    a.sub(rax, code as i32)?;
    a.cmp(rax, CODE_BYTES as i32)?;
    a.jae(halt)?;
    a.movzx(ecx, byte_ptr(rax + LENGTHS))?;
    a.jrcxz(halt)?;
    a.add(qword_ptr(rsp + 16), rcx)?;
    a.pop(rcx)?;
    a.pop(rax)?;
    a.iretq()?;
    a.set_label(&mut labels[3])?;
    a.bts(dword_ptr(rsp + 16), 16)?;
    a.set_label(&mut labels[2])?;
    a.iretq()?;
    a.set_label(&mut labels[4])?;
    a.out(0x20, al)?;
    a.iretq()?;
    a.set_label(&mut labels[5])?;
    a.sysretq()?;
    a.set_label(&mut halt)?;
    a.hlt()?;
    a.jmp(halt)?;
    finish(a, labels, HANDLERS)
}

fn protected(code: u64) -> Result<Handlers, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    let mut labels: [CodeLabel; 6] = std::array::from_fn(|_| a.create_label());
    let mut halt = a.create_label();
    a.set_label(&mut labels[1])?;
    a.add(esp, 4)?;
    a.set_label(&mut labels[0])?;
    a.push(eax)?;
    a.push(ecx)?;
    a.mov(eax, dword_ptr(esp + 8))?;
    a.sub(eax, code as i32)?;
    a.cmp(eax, CODE_BYTES as i32)?;
    a.jae(halt)?;
    // The data segments are the interrupted code's; CS is flat.
    a.movzx(ecx, byte_ptr(eax + LENGTHS).cs())?;
    a.jecxz(halt)?;
    a.add(dword_ptr(esp + 8), ecx)?;
    a.pop(ecx)?;
    a.pop(eax)?;
    a.iretd()?;
    a.set_label(&mut labels[3])?;
    a.bts(dword_ptr(esp + 8), 16)?;
    a.set_label(&mut labels[2])?;
    a.iretd()?;
    a.set_label(&mut labels[4])?;
    a.out(0x20, al)?;
    a.iretd()?;
    a.set_label(&mut labels[5])?;
    // A label an instruction.
    a.nop()?;
    a.set_label(&mut halt)?;
    a.hlt()?;
    a.jmp(halt)?;
    finish(a, labels, HANDLERS)
}

/// For real mode: CS is [`HANDLERS`] / 16, offsets begin at 0.
fn real(code: u64) -> Result<Handlers, IcedError> {
    let mut a = CodeAssembler::new(16)?;
    let mut labels: [CodeLabel; 6] = std::array::from_fn(|_| a.create_label());
    let mut halt = a.create_label();
    a.set_label(&mut labels[1])?;
    a.nop()?;
    a.set_label(&mut labels[0])?;
    a.push(bp)?;
    a.push(bx)?;
    a.push(ax)?;
    a.mov(bp, sp)?;
    a.mov(bx, word_ptr(bp + 6))?;
    a.sub(bx, code as i32)?;
    a.cmp(bx, CODE_BYTES as i32)?;
    a.jae(halt)?;
    a.mov(al, byte_ptr(bx + (LENGTHS - HANDLERS)).cs())?;
    a.mov(ah, 0)?;
    a.test(al, al)?;
    a.jz(halt)?;
    a.add(word_ptr(bp + 6), ax)?;
    a.pop(ax)?;
    a.pop(bx)?;
    a.pop(bp)?;
    a.iret()?;
    a.set_label(&mut labels[3])?;
    a.nop()?;
    a.set_label(&mut labels[2])?;
    a.iret()?;
    a.set_label(&mut labels[4])?;
    a.out(0x20, al)?;
    a.iret()?;
    a.set_label(&mut labels[5])?;
    // A label an instruction.
    a.nop()?;
    a.set_label(&mut halt)?;
    a.hlt()?;
    a.jmp(halt)?;
    finish(a, labels, 0)
}
