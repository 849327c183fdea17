//! Code that changes while it runs: within the running block, through another mapping of its page,
//! by a device, across a page border, and code and data side by side in one page.

use iced_x86::code_asm::*;

use crate::support::bare::{BareMachine, LONG_MODE_CODE, LONG_MODE_DATA};
use crate::support::engines::ENGINES;
use crate::support::needs::Tests;
use trimotor_cpu::VcpuExit;
use trimotor_machine::engines::Engine;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINES, a_store_into_the_running_block_takes_effect_at_once)
        .each(&ENGINES, a_store_through_another_mapping_does_too)
        .each(&ENGINES, a_device_write_changes_code_that_has_run)
        .each(&ENGINES, an_instruction_that_crosses_pages_is_read_anew)
        .each(&ENGINES, functions_written_again_and_again_return_what_was_written_last)
        .each(&ENGINES, no_address_that_is_not_canonical_reaches_a_page_with_code)
}

/// A second linear page for the page of the code, which `alias` maps.
const ALIAS: u64 = 0xC0_0000;

fn machine(engine: Engine, build: impl FnOnce(&mut CodeAssembler)) -> BareMachine {
    let mut a = CodeAssembler::new(64).unwrap();
    build(&mut a);
    BareMachine::long_mode_on(engine, &a.assemble(LONG_MODE_CODE).unwrap())
}

/// Maps [`ALIAS`] to the page of the code.
fn alias(m: &BareMachine) {
    let entry = 0x10000 + 4096 * (ALIAS >> 21) + 8 * (ALIAS >> 12 & 511);
    m.write(entry, &(LONG_MODE_CODE | 7).to_le_bytes());
}

fn accumulator(m: &BareMachine) -> u64 {
    m.vcpu.state().gpr[0]
}

/// `mov dword [r], 2` over the immediate of a `mov eax, 1` that follows in the same block.
fn patch_then_run(a: &mut CodeAssembler, base: u64) {
    let mut here = a.create_label();
    let mut target = a.create_label();
    a.lea(rbx, ptr(target)).unwrap();
    a.mov(rcx, base.wrapping_sub(LONG_MODE_CODE)).unwrap();
    a.jmp(here).unwrap();
    a.set_label(&mut here).unwrap();
    a.mov(dword_ptr(rbx + rcx + 1), 2).unwrap();
    a.set_label(&mut target).unwrap();
    a.mov(eax, 1).unwrap();
    a.hlt().unwrap();
}

fn a_store_into_the_running_block_takes_effect_at_once(engine: Engine) {
    let mut m = machine(engine, |a| patch_then_run(a, LONG_MODE_CODE));
    assert!(m.run_to_hlt(100));
    assert_eq!(accumulator(&m), 2);
}

fn a_store_through_another_mapping_does_too(engine: Engine) {
    let mut m = machine(engine, |a| patch_then_run(a, ALIAS));
    alias(&m);
    assert!(m.run_to_hlt(100));
    assert_eq!(accumulator(&m), 2);
}

fn a_device_write_changes_code_that_has_run(engine: Engine) {
    let mut m = machine(engine, |a| {
        let mut top = a.create_label();
        a.set_label(&mut top).unwrap();
        a.mov(eax, 1).unwrap();
        a.add(ebx, eax).unwrap();
        a.jmp(top).unwrap();
    });
    m.vcpu.run(&mut m.bus, 300);
    assert_eq!(m.vcpu.state().gpr[3], 100);
    m.write(LONG_MODE_CODE + 1, &[5]);
    m.vcpu.run(&mut m.bus, 300);
    assert_eq!(m.vcpu.state().gpr[3], 600);
}

fn an_instruction_that_crosses_pages_is_read_anew(engine: Engine) {
    let mut m = machine(engine, |a| a.nop().unwrap());
    // mov eax, 1 whose immediate begins in the second page; hlt.
    let at = LONG_MODE_CODE + 0x1000 - 1;
    m.write(at, &[0xB8, 1, 0, 0, 0, 0xF4]);
    for value in [1, 2, 3] {
        m.write(at + 1, &[value]);
        let mut s = m.vcpu.state();
        s.rip = at;
        s.activity = Default::default();
        m.vcpu.set_state(&s);
        assert!(m.run_to_hlt(10));
        assert_eq!(accumulator(&m), u64::from(value));
    }
}

fn functions_written_again_and_again_return_what_was_written_last(engine: Engine) {
    let function = LONG_MODE_DATA;
    let mut m = machine(engine, |a| {
        let mut top = a.create_label();
        a.mov(rbx, function).unwrap();
        a.mov(byte_ptr(rbx), 0xB8).unwrap();
        a.mov(byte_ptr(rbx + 5), 0xC3).unwrap();
        a.xor(edx, edx).unwrap();
        a.mov(ecx, 1000).unwrap();
        a.set_label(&mut top).unwrap();
        a.mov(dword_ptr(rbx + 1), ecx).unwrap();
        a.mov(dword_ptr(rbx + 2048), ecx).unwrap(); // data beside it
        a.call(rbx).unwrap();
        a.add(rdx, rax).unwrap();
        a.dec(ecx).unwrap();
        a.jne(top).unwrap();
        a.hlt().unwrap();
    });
    assert!(m.run_to_hlt(100_000));
    assert_eq!(m.vcpu.state().gpr[2], 1000 * 1001 / 2);
}

/// The entry for a page that is written beside code is kept in a form that no address may match.
fn no_address_that_is_not_canonical_reaches_a_page_with_code(engine: Engine) {
    const BESIDE: u64 = LONG_MODE_CODE + 0x800;
    let mut a = CodeAssembler::new(64).unwrap();
    a.mov(rbx, BESIDE).unwrap();
    a.mov(byte_ptr(rbx), 1).unwrap();
    a.mov(byte_ptr(rbx), 2).unwrap();
    a.btc(rbx, 63).unwrap();
    a.mov(byte_ptr(rbx), 3).unwrap();
    a.hlt().unwrap();
    let mut m = BareMachine::long_mode_on(engine, &a.assemble(LONG_MODE_CODE).unwrap());
    // #GP(0), and there is no IDT.
    assert!(matches!(m.vcpu.run(&mut m.bus, 100), VcpuExit::Shutdown(_)), "{engine}");
    assert_eq!((m.read_byte(BESIDE), m.vcpu.state().gpr[3]), (2, BESIDE ^ 1 << 63), "{engine}");
}
