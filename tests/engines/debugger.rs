//! Breakpoints, watchpoints and single steps of a debugger outside the guest: where vCPUs stop, and that the guest sees nothing
//! of it.

use crate::support::bare::{BareMachine, LONG_MODE_CODE, LONG_MODE_DATA, leaf_entry};
use crate::support::engines::ENGINES;
use crate::support::needs::Tests;
use iced_x86::code_asm::*;
use trimotor_bus::VcpuSignals;
use trimotor_cpu::state::Activity;
use trimotor_cpu::{DebugPoints, DebugStop, VcpuExit, WatchKind, Watchpoint};
use trimotor_machine::engines::Engine;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINES, a_breakpoint_in_a_loop_stops_each_time)
        .each(&ENGINES, breakpoints_stand_where_calls_and_jumps_lead)
        .each(&ENGINES, a_breakpoint_is_at_one_of_two_addresses_of_a_page)
        .each(&ENGINES, breakpoints_come_and_go)
        .each(&ENGINES, watchpoints_stop_behind_accesses)
        .each(&ENGINES, watched_stacks_and_strings)
        .each(&ENGINES, steps_end_after_one_instruction)
        .each(&ENGINES, a_step_takes_no_interrupt)
        .each(&ENGINES, a_step_over_hlt_waits_for_nothing)
}

const BUDGET: u64 = 100_000;
const RAX: usize = 0;

fn assemble(emit: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u8> {
    let mut a = CodeAssembler::new(64).unwrap();
    emit(&mut a).unwrap();
    a.assemble(LONG_MODE_CODE).unwrap()
}

/// Where the first `bytes` are in the code.
fn find(code: &[u8], bytes: &[u8]) -> u64 {
    let at = code.windows(bytes.len()).position(|window| window == bytes);
    LONG_MODE_CODE + at.expect("these bytes are in the code") as u64
}

fn break_at(m: &mut BareMachine, breakpoints: &[u64]) {
    let points = DebugPoints { breakpoints: breakpoints.to_vec(), watchpoints: Vec::new() };
    m.vcpu.set_debug_points(Some(&points));
}
fn watch(m: &mut BareMachine, address: u64, bytes: u64, kind: WatchKind) -> Watchpoint {
    let watchpoint = Watchpoint { address, bytes, kind };
    m.vcpu.set_debug_points(Some(&DebugPoints { breakpoints: Vec::new(), watchpoints: vec![watchpoint] }));
    watchpoint
}

/// Runs to a stop, and says why it is; `None`: it halted.
fn run(m: &mut BareMachine) -> Option<DebugStop> {
    match m.vcpu.run(&mut m.bus, BUDGET) {
        VcpuExit::Debugger => {
            // It stays until it is taken.
            assert_eq!(m.vcpu.run(&mut m.bus, BUDGET), VcpuExit::Debugger);
            Some(m.vcpu.take_debug_stop().expect("a stop"))
        }
        VcpuExit::Halted => None,
        exit => panic!("{exit:?} at {:#x}", m.vcpu.state().rip),
    }
}
fn step(m: &mut BareMachine) {
    m.vcpu.set_stepping(true);
    assert_eq!(run(m), Some(DebugStop::Step));
}

fn a_breakpoint_in_a_loop_stops_each_time(engine: Engine) {
    // The loop jumps back to the breakpoint: one block that leads to itself.
    let code = assemble(|a| {
        let mut again = a.create_label();
        a.mov(ecx, 5)?;
        a.set_label(&mut again)?;
        a.inc(rax)?;
        a.dec(ecx)?;
        a.jne(again)?;
        a.hlt()
    });
    for exact in [true, false] {
        let mut m = BareMachine::long_mode_on(engine, &code);
        m.vcpu.set_exact_budget(exact);
        let before = m.vcpu.state();
        let at = find(&code, &[0x48, 0xFF, 0xC0]);
        break_at(&mut m, &[at]);
        for turn in 0..5 {
            assert_eq!(run(&mut m), Some(DebugStop::Breakpoint), "{turn}");
            let state = m.vcpu.state();
            assert_eq!((state.rip, state.gpr[RAX]), (at, turn));
            assert_eq!((state.dr, state.rflags & 0x1_0100), (before.dr, 0));
        }
        assert_eq!(run(&mut m), None);
        assert_eq!((m.vcpu.state().gpr[RAX], m.vcpu.retired()), (5, 17));
        code.iter().zip(LONG_MODE_CODE..).for_each(|(byte, at)| assert_eq!(m.read_byte(at), *byte));
    }
}

fn breakpoints_stand_where_calls_and_jumps_lead(engine: Engine) {
    // f adds 1, g adds 0x10 and jumps to f; both are called three times.
    let code = assemble(|a| {
        let (mut f, mut g, mut again) = (a.create_label(), a.create_label(), a.create_label());
        a.mov(ecx, 3)?;
        a.set_label(&mut again)?;
        a.call(f)?;
        a.nop()?;
        a.call(g)?;
        a.dec(ecx)?;
        a.jne(again)?;
        a.hlt()?;
        a.set_label(&mut f)?;
        a.add(al, 1)?;
        a.ret()?;
        a.set_label(&mut g)?;
        a.add(al, 0x10)?;
        a.jmp(f)
    });
    let (f, g) = (find(&code, &[0x04, 0x01]), find(&code, &[0x04, 0x10]));
    let (back, next) = (find(&code, &[0x90]), find(&code, &[0xFF, 0xC9]));
    let mut m = BareMachine::long_mode_on(engine, &code);
    // Warm: all is linked before the breakpoints come.
    assert_eq!(run(&mut m), None);
    for points in [vec![f], vec![back], vec![g, next], vec![f, back, g, next]] {
        let mut state = m.vcpu.state();
        (state.rip, state.gpr[RAX], state.activity) = (LONG_MODE_CODE, 0, Activity::Active);
        m.vcpu.set_state(&state);
        break_at(&mut m, &points);
        let expected: Vec<u64> = [f, back, g, f, next].repeat(3);
        for at in expected.into_iter().filter(|at| points.contains(at)) {
            assert_eq!(run(&mut m), Some(DebugStop::Breakpoint));
            assert_eq!(m.vcpu.state().rip, at, "{points:x?}");
        }
        assert_eq!(run(&mut m), None, "{points:x?}");
        assert_eq!(m.vcpu.state().gpr[RAX], 0x36);
    }
}

fn a_breakpoint_is_at_one_of_two_addresses_of_a_page(engine: Engine) {
    const OTHER: u64 = 0x60_0000;
    const FUNCTION: u64 = 0x50_0000;
    // Calls the function at one address, then at the other, ten times.
    let code = assemble(|a| {
        let mut again = a.create_label();
        a.mov(ecx, 10)?;
        a.mov(rsi, FUNCTION)?;
        a.mov(rdi, OTHER)?;
        a.set_label(&mut again)?;
        a.call(rsi)?;
        a.call(rdi)?;
        a.dec(ecx)?;
        a.jne(again)?;
        a.hlt()
    });
    // xor edx, edx; inc rax; ret: a jump leads to the middle.
    let function = [0xEB, 0x00, 0x31, 0xD2, 0xEB, 0x00, 0x48, 0xFF, 0xC0, 0xC3];
    let mut m = BareMachine::long_mode_on(engine, &code);
    m.write(FUNCTION, &function);
    m.write(leaf_entry(OTHER), &(FUNCTION | 7).to_le_bytes());
    break_at(&mut m, &[OTHER + 6]);
    for turn in 0..10 {
        assert_eq!(run(&mut m), Some(DebugStop::Breakpoint));
        let state = m.vcpu.state();
        assert_eq!((state.rip, state.gpr[RAX]), (OTHER + 6, 2 * turn + 1));
    }
    assert_eq!(run(&mut m), None);
    assert_eq!(m.vcpu.state().gpr[RAX], 20);
}

fn breakpoints_come_and_go(engine: Engine) {
    let code = assemble(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.inc(rax)?;
        a.inc(rbx)?;
        a.jmp(again)
    });
    let (first, second) = (LONG_MODE_CODE, LONG_MODE_CODE + 3);
    let mut m = BareMachine::long_mode_on(engine, &code);
    let rax_at = |m: &mut BareMachine, at: u64| {
        assert_eq!(run(m), Some(DebugStop::Breakpoint));
        let state = m.vcpu.state();
        assert_eq!(state.rip, at);
        state.gpr[RAX]
    };
    for turn in 0..100u64 {
        break_at(&mut m, &[second]);
        assert_eq!(rax_at(&mut m, second), turn + 1);
        break_at(&mut m, &[first]);
        assert_eq!(rax_at(&mut m, first), turn + 1);
    }
    // Many at once, most of them elsewhere at the same offsets.
    let many: Vec<u64> = (0..2000).map(|n| 0x70_0000 + 7 * n).chain([second]).collect();
    break_at(&mut m, &many);
    assert_eq!(rax_at(&mut m, second), 101);
    m.vcpu.set_debug_points(None);
    assert_eq!(m.vcpu.run(&mut m.bus, BUDGET), VcpuExit::Budget);
    assert!(m.vcpu.state().gpr[RAX] > 1000);
}

/// A guest that reads and writes at [`LONG_MODE_DATA`] in several ways, each in a loop that is hot.
fn accesses(code: fn(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u8> {
    assemble(|a| {
        let mut again = a.create_label();
        a.mov(rsi, LONG_MODE_DATA)?;
        a.mov(edx, 3)?;
        a.set_label(&mut again)?;
        code(a)?;
        a.dec(edx)?;
        a.jne(again)?;
        a.hlt()
    })
}

fn watchpoints_stop_behind_accesses(engine: Engine) {
    type Emit = fn(&mut CodeAssembler) -> Result<(), IcedError>;
    // What is done, and whether it reads and writes the doubleword at offset 8.
    let cases: [(&str, Emit, bool, bool); 10] = [
        ("mov to memory", |a| a.mov(dword_ptr(rsi + 8), eax), false, true),
        ("mov from memory", |a| a.mov(eax, dword_ptr(rsi + 8)), true, false),
        ("its last byte", |a| a.mov(byte_ptr(rsi + 11), al), false, true),
        ("over its beginning", |a| a.mov(qword_ptr(rsi + 4), rax), false, true),
        ("add", |a| a.add(dword_ptr(rsi + 8), 1), true, true),
        ("xchg", |a| a.xchg(dword_ptr(rsi + 8), eax), true, true),
        ("lock xadd", |a| a.lock().xadd(dword_ptr(rsi + 8), eax), true, true),
        ("movups", |a| a.movups(xmmword_ptr(rsi), xmm0), false, true),
        ("the bytes before", |a| a.mov(qword_ptr(rsi), rax), false, false),
        ("the bytes behind", |a| a.mov(rax, qword_ptr(rsi + 12)), false, false),
    ];
    for (name, emit, reads, writes) in cases {
        let code = accesses(emit);
        for kind in [WatchKind::Write, WatchKind::Read, WatchKind::Access] {
            let hits = reads && kind.includes(false) || writes && kind.includes(true);
            let mut m = BareMachine::long_mode_on(engine, &code);
            // Warm: translations are there.
            assert_eq!(run(&mut m), None);
            let mut state = m.vcpu.state();
            (state.rip, state.activity) = (LONG_MODE_CODE, Activity::Active);
            m.vcpu.set_state(&state);
            let watchpoint = watch(&mut m, LONG_MODE_DATA + 8, 4, kind);
            let before = m.vcpu.retired();
            for turn in 0..if hits { 3 } else { 0 } {
                assert_eq!(run(&mut m), Some(DebugStop::Watchpoint(watchpoint)), "{name} {kind:?}");
                assert_eq!(m.vcpu.retired() - before, 3 + 3 * turn, "{name} {kind:?}");
            }
            assert_eq!(run(&mut m), None, "{name} {kind:?}");
        }
    }
}

fn watched_stacks_and_strings(engine: Engine) {
    let code = assemble(|a| {
        let mut f = a.create_label();
        a.mov(rsp, LONG_MODE_DATA + 0x100)?;
        a.call(f)?;
        a.mov(rdi, LONG_MODE_DATA)?;
        a.mov(ecx, 0x200)?;
        a.rep().stosb()?;
        a.hlt()?;
        a.set_label(&mut f)?;
        a.ret()
    });
    let mut m = BareMachine::long_mode_on(engine, &code);
    let watchpoint = watch(&mut m, LONG_MODE_DATA + 0xF8, 8, WatchKind::Write);
    assert_eq!(run(&mut m), Some(DebugStop::Watchpoint(watchpoint)));
    assert_eq!(m.vcpu.state().rip, find(&code, &[0xC3]));
    // REP STOSB stops behind the byte, as REP does for a debug trap.
    assert_eq!(run(&mut m), Some(DebugStop::Watchpoint(watchpoint)));
    let state = m.vcpu.state();
    assert_eq!((state.rip, state.gpr[7]), (find(&code, &[0xF3, 0xAA]), LONG_MODE_DATA + 0xF9));
    m.vcpu.set_debug_points(None);
    assert_eq!(run(&mut m), None);
    assert_eq!(m.vcpu.state().gpr[7], LONG_MODE_DATA + 0x200);
}

fn steps_end_after_one_instruction(engine: Engine) {
    let code = assemble(|a| {
        let mut again = a.create_label();
        a.mov(ecx, 3)?;
        a.set_label(&mut again)?;
        a.inc(rax)?;
        a.dec(ecx)?;
        a.jne(again)?;
        a.hlt()
    });
    let mut m = BareMachine::long_mode_on(engine, &code);
    for retired in 1..=10 {
        let flags = m.vcpu.state().rflags;
        step(&mut m);
        assert_eq!(m.vcpu.retired(), retired);
        assert_eq!((m.vcpu.state().rflags ^ flags) & 0x1_0100, 0, "TF and RF are the guest's");
    }
    // A breakpoint that is there stops no step from its own instruction.
    let mut state = m.vcpu.state();
    state.rip = LONG_MODE_CODE;
    m.vcpu.set_state(&state);
    break_at(&mut m, &[LONG_MODE_CODE, LONG_MODE_CODE + 5]);
    step(&mut m);
    assert_eq!(m.vcpu.state().rip, LONG_MODE_CODE + 5);
    assert_eq!(run(&mut m), Some(DebugStop::Breakpoint));
    m.vcpu.set_debug_points(None);
    assert_eq!(run(&mut m), None);
    assert_eq!(m.vcpu.state().gpr[RAX], 6);
}

fn a_step_takes_no_interrupt(engine: Engine) {
    let code = assemble(|a| {
        (0..10).try_for_each(|_| a.inc(rax))?;
        a.hlt()
    });
    let mut m = BareMachine::long_mode_on(engine, &code);
    m.signals.raise(VcpuSignals::NMI);
    for count in 1..=5 {
        step(&mut m);
        let state = m.vcpu.state();
        assert_eq!((state.gpr[RAX], state.rip), (count, LONG_MODE_CODE + 3 * count));
    }
    assert_ne!(m.signals.pending() & VcpuSignals::NMI, 0, "it is not lost");
    // There is no handler for it.
    assert!(matches!(m.vcpu.run(&mut m.bus, BUDGET), VcpuExit::Shutdown(_)));
    assert_eq!(m.vcpu.state().gpr[RAX], 5);
}

fn a_step_over_hlt_waits_for_nothing(engine: Engine) {
    let code = assemble(|a| {
        a.hlt()?;
        a.inc(rax)
    });
    let mut m = BareMachine::long_mode_on(engine, &code);
    step(&mut m);
    assert_eq!((m.vcpu.state().rip, m.vcpu.state().activity), (LONG_MODE_CODE + 1, Activity::Halted));
    // The next one waits for an event.
    m.vcpu.set_stepping(true);
    assert_eq!(run(&mut m), None);
    m.vcpu.set_stepping(false);
    assert_eq!(run(&mut m), None);
}
