//! Guests end on KVM as on the interpreter: what KVM runs, what it leaves for, and what the interpreter runs in its place.

use iced_x86::code_asm::*;
use trimotor_bus::{PhysAddr, VcpuSignals};
use trimotor_cpu::{ArchState, VcpuExit};

use crate::support::bare::{BareMachine, LONG_MODE_CODE, LONG_MODE_DATA};
use crate::support::engines::KVM;
use crate::support::needs::Tests;
use trimotor_machine::engines::Engine;

pub fn tests() -> Tests {
    Tests::needing(&[KVM])
        .test(long_mode_guests_end_as_on_the_interpreter)
        .test(real_mode_guests_end_as_on_the_interpreter)
        .test(a_state_goes_to_kvm_and_back_whole)
        .test(code_that_changes_between_the_two_is_seen)
        .test(a_triple_fault_is_told_as_on_the_interpreter)
        .test(a_closed_a20_gate_folds_addresses)
        .test(exits_are_counted_by_cause)
        .test(the_tsc_is_the_machine_s)
}

type Emit = fn(&mut CodeAssembler) -> Result<(), IcedError>;

const GUESTS: &[(&str, Emit)] = &[
    ("arithmetic and memory", |a| {
        a.mov(rax, 0x1122_3344_5566_7788u64)?;
        a.mov(qword_ptr(rsi), rax)?;
        a.add(qword_ptr(rsi), 0x77)?;
        a.rol(rax, 8)?;
        a.lea(rbx, rax + rax * 2)?;
        a.push(rbx)?;
        a.pop(rcx)
    }),
    ("SSE", |a| {
        a.mov(dword_ptr(rsi), 3)?;
        a.movdqu(xmm0, xmmword_ptr(rsi))?;
        a.paddd(xmm0, xmm0)?;
        a.movdqu(xmmword_ptr(rsi + 16), xmm0)
    }),
    ("x87", |a| {
        a.fninit()?;
        a.fld1()?;
        a.fld1()?;
        a.faddp(st1, st0)?;
        a.fstp(qword_ptr(rsi))
    }),
    ("CMPXCHG16B", |a| {
        a.xor(eax, eax)?;
        a.xor(edx, edx)?;
        a.mov(ebx, 1)?;
        a.mov(ecx, 2)?;
        a.lock().cmpxchg16b(xmmword_ptr(rsi))
    }),
    ("MSRs of KVM's and of the machine's", |a| {
        for msr in [0xC000_0082u32, 0x174, 0x2FF] {
            a.mov(ecx, msr)?;
            a.mov(eax, 0xC00)?;
            a.xor(edx, edx)?;
            a.wrmsr()?;
            a.rdmsr()?;
            a.add(qword_ptr(rsi + 8), rax)?;
        }
        Ok(())
    }),
    ("ports", |a| {
        a.mov(dx, 0x80u32)?;
        a.mov(al, 0x5A)?;
        a.out(dx, al)?;
        a.mov(eax, 0x1234_5678)?;
        a.out(dx, eax)?;
        a.mov(ecx, 5)?;
        a.mov(edi, LONG_MODE_DATA as u32)?;
        a.cld()?;
        a.rep().outsw()?;
        a.in_(ax, dx)
    }),
    ("memory of nobody", |a| {
        a.mov(rbx, qword_ptr(rsi))?;
        a.mov(eax, dword_ptr(0xA_0000))?;
        a.mov(dword_ptr(0xA_0001), eax)
    }),
    ("CPUID", |a| {
        a.mov(eax, 1)?;
        a.cpuid()
    }),
];

/// Runs `body` in 64-bit mode to its HLT.
fn run(engine: Engine, body: Emit) -> (ArchState, Vec<u8>, BareMachine) {
    let mut a = CodeAssembler::new(64).unwrap();
    a.mov(rsi, LONG_MODE_DATA).unwrap();
    body(&mut a).unwrap();
    a.hlt().unwrap();
    let mut m = BareMachine::long_mode_on(engine, &a.assemble(LONG_MODE_CODE).unwrap());
    assert!(m.run_to_hlt(10_000), "{engine}: at {:#x}", m.vcpu.state().rip);
    let mut data = vec![0; 64];
    m.memory.read(PhysAddr(LONG_MODE_DATA), &mut data);
    (m.vcpu.state(), data, m)
}

fn long_mode_guests_end_as_on_the_interpreter() {
    for &(name, body) in GUESTS {
        let (expected, expected_data, on_interp) = run(Engine::Interp, body);
        let (mut found, data, on_kvm) = run(Engine::Kvm, body);
        assert_eq!(data, expected_data, "{name}");
        assert_eq!(on_kvm.bus.port_writes, on_interp.bus.port_writes, "{name}");
        found.retired = expected.retired;
        found.msrs.tsc_adjust = expected.msrs.tsc_adjust;
        if name == "CPUID" {
            // Features that this host's KVM lacks.
            (found.gpr[1], found.gpr[2]) = (expected.gpr[1], expected.gpr[2]);
        }
        assert_eq!(found.gpr, expected.gpr, "{name}");
        assert_eq!((found.rip, found.rflags), (expected.rip, expected.rflags), "{name}");
        assert_eq!((found.ymm, found.x87.regs), (expected.ymm, expected.x87.regs), "{name}");
        assert_eq!((found.msrs, found.segments), (expected.msrs, expected.segments), "{name}");
    }
}

fn real_mode_guests_end_as_on_the_interpreter() {
    let run = |engine| {
        let mut a = CodeAssembler::new(16).unwrap();
        a.mov(ax, 0x1234u32).unwrap();
        a.mov(ds, ax).unwrap();
        a.mov(word_ptr(0x10), ax).unwrap();
        a.add(word_ptr(0x10), 0x1111).unwrap();
        a.push(ax).unwrap();
        a.pop(bx).unwrap();
        a.out(0x80, al).unwrap();
        a.hlt().unwrap();
        let mut m = BareMachine::on(engine, 1 << 20);
        m.all_ram();
        m.write(0x7C00, &a.assemble(0x7C00).unwrap());
        m.set_real_mode(&[1, 2, 3, 4, 0, 0, 0, 0, 0x7000, 5, 6, 7, 0x7C00, 2]);
        assert!(m.run_to_hlt(1000), "{engine}");
        (m.real_mode_registers(), m.read_byte(0x12350), m.read_byte(0x12351), m.bus.port_writes)
    };
    assert_eq!(run(Engine::Kvm), run(Engine::Interp));
}

fn a_state_goes_to_kvm_and_back_whole() {
    let mut m = BareMachine::long_mode_on(Engine::Kvm, &[0x90, 0xEB, 0xFE]); // nop; jmp $
    let mut s = m.vcpu.state();
    s.ymm = std::array::from_fn(|i| [i as u64, 1, 2, 3]);
    s.x87.regs[2] = [7; 10];
    (s.x87.status, s.x87.empty, s.x87.control) = (2 << 11, 0b1111_1011, 0x27F);
    s.dr[0] = 0x1234;
    s.mxcsr = 0x1FA0;
    (s.msrs.lstar, s.msrs.kernel_gs_base, s.msrs.pat) = (0x1111, 0x2222, 0x0606_0606_0606_0606);
    s.segments[5].base = 0x5678;
    (s.cr2, s.gpr[9]) = (0xDEAD_B000, 99);
    m.vcpu.set_state(&s);
    let signals = m.signals.clone();
    // The kick comes once the guest runs, or right before.
    std::thread::scope(|scope| {
        scope.spawn(move || signals.raise(VcpuSignals::KICK));
        assert_eq!(m.vcpu.run(&mut m.bus, u64::MAX), VcpuExit::Budget);
    });
    let mut found = m.vcpu.state();
    assert!((LONG_MODE_CODE..LONG_MODE_CODE + 2).contains(&found.rip), "{:#x}", found.rip);
    (found.rip, found.retired, found.interrupt_shadow) = (s.rip, s.retired, s.interrupt_shadow);
    found.msrs.tsc_adjust = s.msrs.tsc_adjust;
    assert_eq!(found, s);
}

/// The guest writes code that the interpreter has decoded, while KVM runs it or the interpreter does.
fn code_that_changes_between_the_two_is_seen() {
    let mut a = CodeAssembler::new(64).unwrap();
    let mut again = a.create_label();
    let mut patch = a.create_label();
    a.xor(ebx, ebx).unwrap();
    a.mov(ecx, 20).unwrap();
    a.set_label(&mut again).unwrap();
    a.lea(rdi, ptr(patch)).unwrap();
    a.mov(byte_ptr(rdi + 1), cl).unwrap();
    a.sqrtpd(xmm0, xmm1).unwrap();
    a.set_label(&mut patch).unwrap();
    a.mov(al, 0x7F).unwrap();
    a.movzx(eax, al).unwrap();
    a.add(ebx, eax).unwrap();
    a.dec(ecx).unwrap();
    a.jne(again).unwrap();
    a.hlt().unwrap();
    let mut m = BareMachine::long_mode_on(Engine::Kvm, &a.assemble(LONG_MODE_CODE).unwrap());
    assert!(m.run_to_hlt(100_000));
    assert_eq!(m.vcpu.state().gpr[3], (1..=20).sum::<u64>());
}

fn a_triple_fault_is_told_as_on_the_interpreter() {
    let run = |engine| {
        let mut m = BareMachine::long_mode_on(engine, &[0x90, 0x0F, 0x0B]); // nop; ud2
        (0..100).map(|_| m.vcpu.run(&mut m.bus, 1000)).find(|exit| *exit != VcpuExit::Budget).unwrap()
    };
    let VcpuExit::Shutdown(expected) = run(Engine::Interp) else { panic!() };
    let VcpuExit::Shutdown(found) = run(Engine::Kvm) else { panic!("no shutdown") };
    assert!(found == expected || found.chain.len() == 1, "{found:?}");
}

fn a_closed_a20_gate_folds_addresses() {
    let mut a = CodeAssembler::new(64).unwrap();
    a.mov(rdi, 0x50_0000u64).unwrap();
    a.mov(byte_ptr(rdi), 0x5A).unwrap();
    a.hlt().unwrap();
    let mut m = BareMachine::long_mode_on(Engine::Kvm, &a.assemble(LONG_MODE_CODE).unwrap());
    m.vcpu.set_a20(false);
    assert!(m.run_to_hlt(100));
    assert_eq!((m.read_byte(0x50_0000), m.read_byte(0x40_0000)), (0, 0x5A));
    assert!(!m.vcpu.state().a20);
}

fn exits_are_counted_by_cause() {
    let (_, _, m) = run(Engine::Kvm, |a| {
        for _ in 0..40 {
            a.out(0x80, al)?;
        }
        Ok(())
    });
    let lines = m.vcpu.statistics();
    let count = |name: &str| lines.iter().find(|(line, _)| line == name).expect("a line").1;
    // A few may have been in stretches of the interpreter.
    assert!((1..=40).contains(&count("exits: port writes")), "{lines:?}");
    assert_eq!(m.bus.port_writes.len(), 40);
}

/// What the guest reads in KVM and what the machine says are one counter.
fn the_tsc_is_the_machine_s() {
    let (_, data, m) = run(Engine::Kvm, |a| {
        a.rdtsc()?;
        a.mov(dword_ptr(rsi), eax)?;
        a.mov(dword_ptr(rsi + 4), edx)
    });
    let in_kvm = u64::from_le_bytes(data[..8].try_into().unwrap());
    // This board's time stands still.
    let ahead = in_kvm.wrapping_sub(m.vcpu.state().msrs.tsc_adjust);
    assert!(ahead < 60_000_000_000, "{ahead}");
}
