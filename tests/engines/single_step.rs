//! What debugging asks for at each instruction comes on all engines: the single-step trap after each
//! iteration of a repeated string instruction, and the record of branches.

use iced_x86::BlockEncoderOptions;
use iced_x86::code_asm::*;
use trimotor_cpu::VcpuExit;
use trimotor_machine::engines::Engine;

use crate::support::bare::{BareMachine, LONG_MODE_CODE, LONG_MODE_DATA};
use crate::support::engines::ENGINES;
use crate::support::needs::Tests;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINES, each_iteration_traps)
        .each(&ENGINES, branches_are_recorded_in_code_that_has_run_before)
}

/// Runs `repeated` with RCX = 10 and TF; returns what is left of RCX when the first trap comes, which
/// finds no interrupt table and ends the run.
fn left_at_first_trap(engine: Engine, repeated: impl FnOnce(&mut CodeAssembler)) -> u64 {
    let mut a = CodeAssembler::new(64).unwrap();
    repeated(&mut a);
    a.hlt().unwrap();
    let mut m = BareMachine::long_mode_on(engine, &a.assemble(LONG_MODE_CODE).unwrap());
    let mut s = m.vcpu.state();
    s.rflags |= 0x100;
    (s.gpr[1], s.gpr[6], s.gpr[7]) = (10, LONG_MODE_DATA, LONG_MODE_DATA + 0x1000);
    s.idtr.limit = 0;
    m.vcpu.set_state(&s);
    // The page is in the table of translations, so that the whole repetition could be done at once.
    m.write(LONG_MODE_DATA + 0x1000, &[0; 8]);
    let exit = m.vcpu.run(&mut m.bus, 100);
    assert!(matches!(exit, VcpuExit::Shutdown(_)), "{exit:?}");
    m.vcpu.state().gpr[1]
}

fn each_iteration_traps(engine: Engine) {
    assert_eq!(left_at_first_trap(engine, |a| a.rep().stosb().unwrap()), 9);
    assert_eq!(left_at_first_trap(engine, |a| a.rep().movsq().unwrap()), 9);
    assert_eq!(left_at_first_trap(engine, |a| a.rep().lodsd().unwrap()), 9);
    assert_eq!(left_at_first_trap(engine, |a| a.repe().cmpsb().unwrap()), 9);
    assert_eq!(left_at_first_trap(engine, |a| a.repne().scasw().unwrap()), 9);
}

/// The third round of a loop begins to record, in code that has run twice: the branches recorded are
/// those of the inner loop.
fn branches_are_recorded_in_code_that_has_run_before(engine: Engine) {
    const IA32_DEBUGCTL: u32 = 0x1D9;
    let mut a = CodeAssembler::new(64).unwrap();
    let (mut outer, mut inner) = (a.create_label(), a.create_label());
    a.mov(ebx, 3).unwrap();
    a.set_label(&mut outer).unwrap();
    a.mov(ecx, IA32_DEBUGCTL).unwrap();
    a.xor(edx, edx).unwrap();
    a.xor(eax, eax).unwrap();
    a.cmp(ebx, 1).unwrap();
    a.sete(al).unwrap(); // LBR
    a.wrmsr().unwrap();
    a.mov(ecx, 9).unwrap();
    a.set_label(&mut inner).unwrap();
    a.dec(ecx).unwrap();
    a.jne(inner).unwrap();
    a.dec(ebx).unwrap();
    a.jne(outer).unwrap();
    a.hlt().unwrap();
    let code = a.assemble_options(LONG_MODE_CODE, BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS);
    let code = code.unwrap();
    let inner = code.label_ip(&inner).unwrap();
    let mut m = BareMachine::long_mode_on(engine, &code.inner.code_buffer);
    assert!(m.run_to_hlt(1000), "{engine}");
    let record = m.vcpu.state().msrs.last_branches;
    assert_eq!(record.to, [inner; 8], "{engine}: {record:x?}");
}
