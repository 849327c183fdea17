//! Accesses of user code keep their inline caches where these mostly hit, and only there.

use crate::TRANSLATOR;
use crate::flat::{CODE, DATA, vcpu};
use iced_x86::code_asm::*;
use trimotor_bt_jit::Translator;
use trimotor_bus::empty_board::EmptyBoard;
use trimotor_cpu::Vcpu;
use trimotor_test_needs::Tests;

pub fn tests() -> Tests {
    Tests::needing(&[TRANSLATOR])
        .test(a_megamorphic_access_goes_by_the_table_for_good)
        .test(an_access_that_misses_often_but_hits_more_keeps_its_inline_cache)
        .test(an_access_that_misses_now_and_then_is_left_alone)
}

/// Runs code at CPL 3 that loads from ESI, which goes to the other of two pages after each `hits` loads. Returns how
/// many accesses gave their inline caches up and how many had them back.
fn given_up_and_back(hits: i32) -> (u64, u64) {
    let mut a = CodeAssembler::new(32).unwrap();
    let mut start = a.create_label();
    let mut again = a.create_label();
    a.mov(esi, DATA as u32).unwrap();
    a.set_label(&mut start).unwrap();
    a.mov(ecx, hits).unwrap();
    a.set_label(&mut again).unwrap();
    a.add(eax, dword_ptr(esi)).unwrap();
    a.dec(ecx).unwrap();
    a.jne(again).unwrap();
    a.xor(esi, 0x1000).unwrap();
    a.jmp(start).unwrap();
    let mut translator = Translator::new().unwrap();
    let (memory, mut vcpu) = vcpu(&mut translator, &a.assemble(CODE).unwrap(), &1u32.to_le_bytes());
    let mut state = vcpu.state();
    state.cpl = 3;
    for segment in &mut state.segments {
        segment.attributes |= 0x60;
        segment.selector |= 3;
    }
    vcpu.set_state(&state);
    let loads = u64::from(run(&mut *vcpu));
    assert_eq!(memory.read_u64(trimotor_bus::PhysAddr(DATA)), 1);
    assert!(loads > 1000, "EAX counts the loads from the first page: {loads}");
    let statistics = vcpu.statistics();
    let count = |name: &str| statistics.iter().find(|(line, _)| line == name).unwrap().1;
    (count("megamorphic accesses"), count("accesses that are monomorphic again"))
}

fn run(vcpu: &mut dyn Vcpu) -> u32 {
    for _ in 0..4000 {
        vcpu.run(&mut EmptyBoard::default(), 10_000);
    }
    vcpu.state().gpr[0] as u32
}

fn a_megamorphic_access_goes_by_the_table_for_good() {
    let (megamorphic, back) = given_up_and_back(1);
    assert!(megamorphic > 0);
    assert_eq!(back, 0);
}

fn an_access_that_misses_often_but_hits_more_keeps_its_inline_cache() {
    let (megamorphic, back) = given_up_and_back(100);
    // The loop's first time round has a check of its own, which misses each time.
    assert_eq!((megamorphic, back), (2, 1));
}

fn an_access_that_misses_now_and_then_is_left_alone() {
    assert_eq!(given_up_and_back(100_000), (0, 0));
}
