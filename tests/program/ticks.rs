//! Timer interrupts come in time whatever the guest's instructions cost: loops that read a port or the time-stamp
//! counter, or compute a sine.
//!
//! The guest starts the PIT for a tenth of a millisecond, counts rounds of its loop until the interrupt, and does so
//! again and again. Of all those counts the least is compared with what the same loop would do in a slice of a fixed
//! number of instructions. So no host that is busy now and then fails the test.

use crate::support::engines::ENGINE_NAMES;
use crate::support::needs::Tests;
use crate::support::program::run_to_end;
use crate::support::small_guest::{CODE, small_guest};
use iced_x86::code_asm::*;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINE_NAMES, in_a_loop_that_reads_a_port)
        .each(&ENGINE_NAMES, in_a_loop_that_reads_the_time_stamp_counter)
        .each(&ENGINE_NAMES, in_a_loop_that_computes_sines)
        .each(&ENGINE_NAMES, in_a_loop_that_reads_the_cpus_leaves)
}

/// Ticks of the PIT: a tenth of a millisecond.
const COUNT: u16 = 119;
/// How often it is tried.
const TRIES: u32 = 40;
/// Instructions that are tried between two looks at the tick.
const COPIES: u32 = 8;
/// Rounds that are too many: 25,000 instructions, half of what 2 ns each would allow.
const TOO_MANY: u32 = 2200;

const IDT: u32 = 0x20_0000;
const IDT_REGISTER: u32 = 0x20_1000;
const STACK: u32 = 0x30_0000;
/// Where the handler lies, behind the code.
const HANDLER: u32 = CODE + 0x400;
const TIMER_VECTOR: u32 = 0x20;
/// What the guest writes to the exit port, and the program's exit code for it.
const IN_TIME: u32 = 8;
const EXIT_CODE: i32 = (IN_TIME as i32) << 1 | 1;

type Emit = fn(&mut CodeAssembler) -> Result<(), IcedError>;

fn out(a: &mut CodeAssembler, port: u32, value: u32) -> Result<(), IcedError> {
    a.mov(al, value as i32)?;
    a.out(port as i32, al)
}

/// The interrupt controllers, with IRQ 0 alone open, and the interrupt table with its handler.
fn set_up(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(esp, STACK)?;
    let gate = IDT + TIMER_VECTOR * 8;
    a.mov(eax, HANDLER)?;
    a.mov(word_ptr(gate), ax)?;
    a.mov(word_ptr(gate + 2), cs)?;
    a.mov(word_ptr(gate + 4), 0x8E00u32)?;
    a.shr(eax, 16)?;
    a.mov(word_ptr(gate + 6), ax)?;
    a.mov(word_ptr(IDT_REGISTER), 0x7FFu32)?;
    a.mov(dword_ptr(IDT_REGISTER + 2), IDT)?;
    a.lidt(ptr(IDT_REGISTER))?;
    for (port, value) in
        [(0x20, 0x11), (0x21, TIMER_VECTOR), (0x21, 4), (0x21, 1), (0x21, 0xFE), (0xA1, 0xFF)]
    {
        out(a, port, value)?;
    }
    a.fninit()?;
    a.fld1()
}

/// Notes the tick in EDI.
fn handler() -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    a.push(eax)?;
    a.mov(edi, 1)?;
    out(&mut a, 0x20, 0x20)?;
    a.pop(eax)?;
    a.iretd()?;
    a.assemble(u64::from(HANDLER))
}

/// A guest that counts rounds of `body`, 32-bit code.
fn guest(body: Emit) -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(32)?;
    let (mut again, mut round) = (a.create_label(), a.create_label());
    set_up(&mut a)?;
    a.mov(ebp, TRIES)?;
    a.mov(esi, u32::MAX)?;
    a.set_label(&mut again)?;
    for (port, value) in [(0x43, 0x30), (0x40, u32::from(COUNT & 0xFF)), (0x40, u32::from(COUNT >> 8))] {
        out(&mut a, port, value)?;
    }
    a.xor(ecx, ecx)?;
    a.xor(edi, edi)?;
    a.sti()?;
    a.set_label(&mut round)?;
    for _ in 0..COPIES {
        body(&mut a)?;
    }
    a.inc(ecx)?;
    a.test(edi, edi)?;
    a.jz(round)?;
    a.cli()?;
    a.cmp(ecx, esi)?;
    a.cmovb(esi, ecx)?;
    a.dec(ebp)?;
    a.jnz(again)?;
    a.xor(eax, eax)?;
    a.cmp(esi, TOO_MANY)?;
    a.setb(al)?;
    a.shl(al, IN_TIME.trailing_zeros())?;
    a.out(0xF4, al)?;
    a.hlt()?;
    let mut code = a.assemble(u64::from(CODE))?;
    code.resize((HANDLER - CODE) as usize, 0);
    code.extend(self::handler()?);
    Ok(code)
}

fn check(engine: &str, name: &str, body: Emit) {
    let code = guest(body).expect("the guest assembles");
    let image = small_guest(&format!("ticks-{name}"), &code);
    let kernel = image.path();
    for cpus in ["1", "2"] {
        let machine = ["run", "--accel", engine, "--cpus", cpus, "--memory", "16M", "--nographic"];
        let ended = run_to_end(&[&machine[..], &["--debug-exit", "--kernel", &kernel]].concat());
        let too_late = "1: no tick came before a slice's end";
        assert_eq!(ended.code, Some(EXIT_CODE), "{engine}, {cpus} vCPUs ({too_late}): {}", ended.errors);
    }
}

fn in_a_loop_that_reads_a_port(engine: &str) {
    check(engine, "port", |a| a.in_(al, 0x80));
}

fn in_a_loop_that_reads_the_time_stamp_counter(engine: &str) {
    check(engine, "rdtsc", |a| a.rdtsc());
}

fn in_a_loop_that_computes_sines(engine: &str) {
    check(engine, "fsin", |a| a.fsin());
}

fn in_a_loop_that_reads_the_cpus_leaves(engine: &str) {
    check(engine, "cpuid", |a| {
        a.push(ecx)?;
        a.cpuid()?;
        a.pop(ecx)
    });
}
