//! Interrupts and exceptions: how the outside world, and mistakes, reach a program.
//!
//! The interrupt descriptor table leads each vector to a handler. Vectors 0 to 31 are exceptions:
//! the processor's own. The two PICs are told to use 32 to 47 for the wires of the board. An
//! exception is expected when [`guard`] was set up before: then the program goes on at the place
//! that it named; otherwise the demo says what happened and stops.

use super::colour;
use crate::demo::asm::{Asm, Build, Routine};
use crate::demo::layout::*;
use iced_x86::code_asm::*;
use trimotor_bus::board;

/// Exceptions for which the processor pushes an error code.
const WITH_ERROR_CODE: [u32; 9] = [8, 10, 11, 12, 13, 14, 17, 21, 30];
const DOUBLE_FAULT: u32 = 8;
const FIRST_IRQ_VECTOR: u32 = 0x20;
const SPURIOUS_VECTOR: u32 = 0xFF;
/// Timer interrupts a second, nearly: the PIT's clock divided by this.
pub const TICKS_A_SECOND: u32 = 100;
const PIT_DIVISOR: u32 = 11932;
/// Master PIC: timer, keyboard, slave and COM1 are let through.
const MASTER_MASK: u32 = 0xFF & !(1 | 1 << 1 | 1 << 2 | 1 << 4);
const END_OF_INTERRUPT: u32 = 0x20;

pub(super) fn routines(s: &mut Asm) -> Build {
    let common = s.create_label();
    let mut gates = Vec::new();
    for vector in 0..32 {
        let label = s.here()?;
        if !WITH_ERROR_CODE.contains(&vector) {
            push_byte(s, 0)?;
        }
        push_byte(s, vector)?;
        s.jmp(common)?;
        gates.push((vector, label));
    }
    s.bind(common)?;
    exception(s)?;
    gates.push((FIRST_IRQ_VECTOR, super::clock::timer_interrupt(s)?));
    gates.push((FIRST_IRQ_VECTOR + 1, super::input::keyboard_interrupt(s)?));
    gates.push((FIRST_IRQ_VECTOR + 4, super::input::serial_interrupt(s)?));
    let spurious = s.here()?;
    s.iretq()?;
    // An interrupt that goes away before it is taken arrives as input 7; it wants no answer.
    gates.push((FIRST_IRQ_VECTOR + 7, spurious));
    gates.push((FIRST_IRQ_VECTOR + 15, spurious));
    gates.push((SPURIOUS_VECTOR, spurious));
    init(s, &gates)
}

/// PUSH with an 8-bit immediate, which the assembler offers for 16 and 32 bits only.
fn push_byte(s: &mut Asm, value: u32) -> Build {
    s.db(&[0x6A, value as u8])
}

/// IDT, TSS, local APIC, PICs and PIT. Changes registers.
fn init(s: &mut Asm, gates: &[(u32, CodeLabel)]) -> Build {
    let set_gate = s.create_label();
    let idtr = [&4095u16.to_le_bytes()[..], &IDT.to_le_bytes()].concat();
    let idtr = s.pool.data(&idtr);
    s.routine(Routine::InitInterrupts)?;
    s.mov(edi, IDT as u32)?;
    s.mov(ecx, 512)?;
    s.xor(eax, eax)?;
    s.rep().stosq()?;
    for &(vector, label) in gates {
        s.lea(rax, ptr(label))?;
        s.mov(edi, (IDT + 16 * u64::from(vector)) as u32)?;
        s.mov(cl, u32::from(vector == DOUBLE_FAULT))?;
        s.call(set_gate)?;
    }
    s.lidt(ptr(idtr))?;
    s.mov(qword_ptr(vars::TSS + 4), STACK_TOP as i32)?;
    s.mov(qword_ptr(vars::TSS + 36), FAULT_STACK_TOP as i32)?;
    s.mov(word_ptr(vars::TSS + 102), 104)?;
    s.mov(eax, u32::from(TSS_SELECTOR))?;
    s.ltr(ax)?;
    virtual_wire(s)?;
    pics_and_timer(s)?;
    s.ret()?;
    // RAX: handler, RDI: gate, CL: interrupt stack. An interrupt gate: IF is cleared.
    s.bind(set_gate)?;
    s.mov(word_ptr(rdi), ax)?;
    s.mov(word_ptr(rdi + 2), u32::from(CODE64))?;
    s.mov(byte_ptr(rdi + 4), cl)?;
    s.mov(byte_ptr(rdi + 5), 0x8E)?;
    s.shr(rax, 16)?;
    s.mov(word_ptr(rdi + 6), ax)?;
    s.shr(rax, 16)?;
    s.mov(dword_ptr(rdi + 8), eax)?;
    s.ret()
}

/// Lets the local APIC, where there is one, pass the PICs' interrupts on ("virtual wire mode").
fn virtual_wire(s: &mut Asm) -> Build {
    const SPURIOUS_REGISTER: u64 = 0xF0;
    const LINT0: u64 = 0x350;
    const LINT1: u64 = 0x360;
    const SOFTWARE_ENABLE: u32 = 1 << 8;
    const EXTINT: u32 = 0x700;
    const NMI: u32 = 0x400;
    let none = s.create_label();
    s.mov(eax, 1)?;
    s.cpuid()?;
    s.bt(edx, 9)?;
    s.jae(none)?;
    s.mov(edi, board::LOCAL_APIC.0 as u32)?;
    for (register, value) in
        [(SPURIOUS_REGISTER, SOFTWARE_ENABLE | SPURIOUS_VECTOR), (LINT0, EXTINT), (LINT1, NMI)]
    {
        s.mov(dword_ptr(rdi + register as i32), value)?;
    }
    s.bind(none)
}

fn pics_and_timer(s: &mut Asm) -> Build {
    let (master, slave) = (u32::from(board::PIC_MASTER.0), u32::from(board::PIC_SLAVE.0));
    let pit = u32::from(board::PIT.0);
    for (port, value) in [
        (master, 0x11), // ICW1: cascade, ICW4 follows
        (slave, 0x11),
        (master + 1, FIRST_IRQ_VECTOR), // ICW2: vectors
        (slave + 1, FIRST_IRQ_VECTOR + 8),
        (master + 1, 1 << 2), // ICW3: where the slave is
        (slave + 1, 2),
        (master + 1, 1), // ICW4: 8086 mode
        (slave + 1, 1),
        (master + 1, MASTER_MASK),
        (slave + 1, 0xFF),
        (pit + 3, 0x34), // counter 0, both bytes, rate generator
        (pit, PIT_DIVISOR & 0xFF),
        (pit, PIT_DIVISOR >> 8),
    ] {
        s.mov(al, value)?;
        s.out(port, al)?;
    }
    Ok(())
}

/// Tells the master PIC that its interrupt is done with. Changes AL.
pub(super) fn end_of_interrupt(s: &mut Asm) -> Build {
    s.mov(al, END_OF_INTERRUPT)?;
    s.out(u32::from(board::PIC_MASTER.0), al)
}

/// From here on an exception is expected: the program then goes on at `resume`, with the stack
/// as it is here, and the variables say what happened. Changes RAX.
pub(super) fn guard(s: &mut Asm, resume: CodeLabel) -> Build {
    s.mov(qword_ptr(vars::FAULT_VECTOR), -1)?;
    s.mov(qword_ptr(vars::FAULT_RSP), rsp)?;
    s.lea(rax, ptr(resume))?;
    s.mov(qword_ptr(vars::FAULT_RESUME), rax)
}

/// Ends what [`guard`] began where no exception came.
pub(super) fn unguard(s: &mut Asm) -> Build {
    s.mov(qword_ptr(vars::FAULT_RESUME), 0)
}

/// All exceptions. On the stack: vector, error code, RIP, CS, RFLAGS, RSP, SS.
fn exception(s: &mut Asm) -> Build {
    let unexpected = s.create_label();
    s.push(rax)?;
    s.mov(rax, qword_ptr(rsp + 8))?;
    s.mov(qword_ptr(vars::FAULT_VECTOR), rax)?;
    s.mov(rax, qword_ptr(rsp + 16))?;
    s.mov(qword_ptr(vars::FAULT_ERROR), rax)?;
    s.mov(rax, qword_ptr(rsp + 24))?;
    s.mov(qword_ptr(vars::FAULT_RIP), rax)?;
    s.mov(rax, cr2)?;
    s.mov(qword_ptr(vars::FAULT_CR2), rax)?;
    s.mov(rax, qword_ptr(vars::FAULT_RESUME))?;
    s.test(rax, rax)?;
    s.je(unexpected)?;
    s.mov(qword_ptr(rsp + 24), rax)?;
    s.mov(rax, qword_ptr(vars::FAULT_RSP))?;
    s.mov(qword_ptr(rsp + 48), rax)?;
    unguard(s)?;
    s.pop(rax)?;
    s.add(rsp, 16)?;
    s.iretq()?;
    s.bind(unexpected)?;
    s.colour(colour::RED)?;
    s.say("\nAn exception that the demo did not expect: ")?;
    s.invoke(Routine::FaultStory)?;
    s.say("The demo stops here. This is a fault of the demo or of the emulator.\n")?;
    s.invoke(Routine::SyncCursor)?;
    let stop = s.here()?;
    s.hlt()?;
    s.jmp(stop)
}
