//! Two vCPUs on one memory: in turn on the interpreter, on two threads on the translator.
//!
//! What must hold between processors: locked instructions are atomic, wherever their operand lies; new code is
//! executed by who learned of it from memory; a changed page-table entry is used after what invalidates it.

use iced_x86::code_asm::*;
use std::sync::Arc;
use trimotor_bus::{GuestMemory, PhysAddr, VcpuSignals};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::{Vcpu, VcpuExit};
use trimotor_machine::engines::Engine;

use crate::support::bare::{LONG_MODE_CODE, LONG_MODE_DATA, leaf_entry, map_one_to_one, set_long_mode};
use crate::support::engines::ENGINES;
use crate::support::needs::Tests;
use trimotor_bus::empty_board::EmptyBoard;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINES, locked_instructions_are_atomic_in_data)
        .each(&ENGINES, locked_instructions_are_atomic_beside_code)
        .each(&ENGINES, locked_instructions_are_atomic_in_a_page_table)
        .each(&ENGINES, new_code_of_another_vcpu_runs_once_it_is_known_of)
        .each(&ENGINES, new_code_is_seen_through_another_mapping)
        .each(&ENGINES, new_code_beside_the_running_code_is_seen)
        .each(&ENGINES, a_changed_page_table_entry_is_used_after_invlpg)
        .each(&ENGINES, a_changed_page_table_entry_is_used_after_a_load_of_cr3)
        .each(&ENGINES, a_page_that_becomes_a_page_table_is_not_written_unseen)
}

/// A word that one vCPU writes and the other reads: how far the former is.
const FLAG: u64 = LONG_MODE_DATA + 0x1000;
/// The answer.
const ANSWER: u64 = LONG_MODE_DATA + 0x2000;
/// More than any of these guests needs.
const BUDGET: u64 = 2_000_000_000;

/// Runs `build`'s code on two vCPUs until both halt; RDI is their number. Calls `check` with the memory.
fn run_two(
    engine: Engine,
    build: impl Fn(&mut CodeAssembler),
    prepare: impl Fn(&GuestMemory),
    check: impl Fn(&GuestMemory),
) {
    let mut a = CodeAssembler::new(64).unwrap();
    build(&mut a);
    let code = a.assemble(LONG_MODE_CODE).unwrap();
    let memory = GuestMemory::new(16 << 20, &[]).unwrap();
    map_one_to_one(&memory);
    memory.write(PhysAddr(LONG_MODE_CODE), &code);
    prepare(&memory);
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let mut backend = engine.start().unwrap();
    let mut vcpus: Vec<_> = (0..2)
        .map(|id| {
            let mut vcpu = backend.create_vcpu(id, &model, &memory, &VcpuSignals::new()).unwrap();
            set_long_mode(&mut *vcpu);
            let mut state = vcpu.state();
            state.gpr[7] = id.into();
            state.gpr[4] -= 0x800 * u64::from(id);
            vcpu.set_state(&state);
            vcpu
        })
        .collect();
    if backend.runs_vcpus_at_once() {
        at_once(engine, &mut vcpus);
    } else {
        in_turn(engine, &mut vcpus);
    }
    check(&memory);
}

fn at_once(engine: Engine, vcpus: &mut [Box<dyn Vcpu>]) {
    std::thread::scope(|scope| {
        for vcpu in vcpus {
            scope.spawn(move || {
                while !turn(engine, &mut **vcpu, 10_000) {
                    // The one that is waited for may have no processor.
                    std::thread::yield_now();
                }
            });
        }
    });
}

fn in_turn(engine: Engine, vcpus: &mut [Box<dyn Vcpu>]) {
    let mut halted = [false; 2];
    while halted != [true; 2] {
        for (vcpu, halted) in vcpus.iter_mut().zip(&mut halted) {
            *halted = *halted || turn(engine, &mut **vcpu, 777);
        }
    }
}

/// Whether the vCPU has come to its HLT.
fn turn(engine: Engine, vcpu: &mut dyn Vcpu, budget: u64) -> bool {
    match vcpu.run(&mut EmptyBoard::default(), budget) {
        VcpuExit::Halted => true,
        VcpuExit::Budget => {
            assert!(vcpu.retired() < BUDGET, "{engine}: the guest does not come to an end");
            false
        }
        exit => panic!("{engine}: {exit:?}"),
    }
}

fn read(memory: &GuestMemory, at: u64) -> u64 {
    memory.read_u64(PhysAddr(at))
}

/// Waits until the word at `at` is RSI.
fn wait_for(a: &mut CodeAssembler, at: u64) {
    let mut wait = a.create_label();
    let mut there = a.create_label();
    a.set_label(&mut wait).unwrap();
    a.cmp(qword_ptr(at), rsi).unwrap();
    a.je(there).unwrap();
    a.pause().unwrap();
    a.jmp(wait).unwrap();
    a.set_label(&mut there).unwrap();
}

/// Both vCPUs count in memory at `at`, in six ways.
fn locked_counts(engine: Engine, at: u64) {
    const ROUNDS: u64 = 20_000;
    let build = |a: &mut CodeAssembler| {
        a.mov(rbp, at).unwrap();
        a.mov(r15, ROUNDS).unwrap();
        let mut round = a.create_label();
        a.set_label(&mut round).unwrap();
        a.lock().inc(qword_ptr(rbp)).unwrap();
        a.mov(eax, 3).unwrap();
        a.lock().xadd(dword_ptr(rbp + 8), eax).unwrap();
        // CMPXCHG until it succeeds.
        let mut again = a.create_label();
        a.mov(ax, word_ptr(rbp + 16)).unwrap();
        a.set_label(&mut again).unwrap();
        a.lea(ecx, dword_ptr(rax + 1)).unwrap();
        a.lock().cmpxchg(word_ptr(rbp + 16), cx).unwrap();
        a.jne(again).unwrap();
        // The same for 16 bytes: the halves differ by a constant.
        let mut again = a.create_label();
        a.xor(eax, eax).unwrap();
        a.xor(edx, edx).unwrap();
        a.set_label(&mut again).unwrap();
        a.lea(rbx, qword_ptr(rax + 1)).unwrap();
        a.lea(rcx, qword_ptr(rdx + 2)).unwrap();
        a.lock().cmpxchg16b(xmmword_ptr(rbp + 32)).unwrap();
        a.jne(again).unwrap();
        // XCHG as a lock around what is not atomic.
        let mut taken = a.create_label();
        a.set_label(&mut taken).unwrap();
        a.mov(eax, 1).unwrap();
        a.xchg(dword_ptr(rbp + 20), eax).unwrap();
        a.test(eax, eax).unwrap();
        a.jne(taken).unwrap();
        a.inc(dword_ptr(rbp + 24)).unwrap();
        a.mov(dword_ptr(rbp + 20), 0).unwrap();
        // BTS alone sees a clear bit; BTR gives it back. Over a border of cache lines.
        let mut set = a.create_label();
        a.set_label(&mut set).unwrap();
        a.lock().bts(dword_ptr(rbp + 62), 5u32).unwrap();
        a.jc(set).unwrap();
        a.inc(dword_ptr(rbp + 28)).unwrap();
        a.lock().btr(dword_ptr(rbp + 62), 5u32).unwrap();
        a.dec(r15).unwrap();
        a.jne(round).unwrap();
        a.hlt().unwrap();
    };
    let part =
        |memory: &GuestMemory, offset: u64, bits: u32| read(memory, at + offset) & (u64::MAX >> (64 - bits));
    let check = |memory: &GuestMemory| {
        assert_eq!(part(memory, 0, 64), 2 * ROUNDS, "INC");
        assert_eq!(part(memory, 8, 32), 6 * ROUNDS, "XADD");
        assert_eq!(part(memory, 16, 16), (2 * ROUNDS) & 0xFFFF, "CMPXCHG");
        assert_eq!([part(memory, 32, 64), part(memory, 40, 64)], [2 * ROUNDS, 4 * ROUNDS], "CMPXCHG16B");
        assert_eq!(part(memory, 24, 32), 2 * ROUNDS, "XCHG");
        assert_eq!(part(memory, 28, 32), 2 * ROUNDS, "BTS");
    };
    let prepare = |memory: &GuestMemory| assert_eq!(memory.write(PhysAddr(at), &[0; 128]), 128);
    run_two(engine, build, prepare, check);
}

fn locked_instructions_are_atomic_in_data(engine: Engine) {
    locked_counts(engine, LONG_MODE_DATA + 0x3000);
}

fn locked_instructions_are_atomic_beside_code(engine: Engine) {
    locked_counts(engine, LONG_MODE_CODE + 0xC00);
}

fn locked_instructions_are_atomic_in_a_page_table(engine: Engine) {
    // Linear addresses that nobody uses, of the table that maps the code.
    locked_counts(engine, leaf_entry(LONG_MODE_CODE + 0x10_0000));
}

/// vCPU 0 changes something for RSI = 1, 2, ... and says so in FLAG; vCPU 1 then checks that it sees the
/// change, and answers. Ends with what went wrong in ANSWER + 8.
fn handshakes(
    a: &mut CodeAssembler,
    rounds: u32,
    change: impl Fn(&mut CodeAssembler),
    look: impl Fn(&mut CodeAssembler),
) {
    let mut reader = a.create_label();
    let mut next = a.create_label();
    a.xor(esi, esi).unwrap();
    a.test(edi, edi).unwrap();
    a.jne(reader).unwrap();
    a.set_label(&mut next).unwrap();
    a.inc(rsi).unwrap();
    change(a);
    a.mov(qword_ptr(FLAG), rsi).unwrap();
    wait_for(a, ANSWER);
    a.cmp(rsi, rounds as i32).unwrap();
    a.jne(next).unwrap();
    a.hlt().unwrap();

    let mut right = a.create_label();
    a.set_label(&mut reader).unwrap();
    a.inc(rsi).unwrap();
    wait_for(a, FLAG);
    look(a);
    a.cmp(rax, rsi).unwrap();
    a.je(right).unwrap();
    a.inc(qword_ptr(ANSWER + 8)).unwrap();
    a.set_label(&mut right).unwrap();
    a.mov(qword_ptr(ANSWER), rsi).unwrap();
    a.cmp(rsi, rounds as i32).unwrap();
    a.jne(reader).unwrap();
    a.hlt().unwrap();
}

fn nothing_went_wrong(memory: &GuestMemory) {
    assert_eq!(read(memory, ANSWER + 8), 0, "stale");
    assert_ne!(read(memory, ANSWER), 0, "the vCPUs talked to each other");
}

/// vCPU 0 writes the immediate of a MOV in a function at `function` through `through`; vCPU 1 calls it.
fn new_code(engine: Engine, function: u64, through: u64) {
    run_two(
        engine,
        |a| {
            handshakes(
                a,
                3000,
                |a| a.mov(dword_ptr(through + 1), esi).unwrap(),
                |a| {
                    a.mov(rbx, function).unwrap();
                    a.call(rbx).unwrap();
                },
            );
        },
        |memory| {
            // MOV EAX, imm32; RET
            memory.write(PhysAddr(function), &[0xB8, 0, 0, 0, 0, 0xC3]);
            let entry = leaf_entry(through);
            memory.write(PhysAddr(entry), &((function & !0xFFF) | 7).to_le_bytes());
        },
        nothing_went_wrong,
    );
}

fn new_code_of_another_vcpu_runs_once_it_is_known_of(engine: Engine) {
    new_code(engine, LONG_MODE_DATA + 0x10_0000, LONG_MODE_DATA + 0x10_0000);
}

fn new_code_is_seen_through_another_mapping(engine: Engine) {
    new_code(engine, LONG_MODE_DATA + 0x10_0000, LONG_MODE_DATA + 0x20_0000);
}

fn new_code_beside_the_running_code_is_seen(engine: Engine) {
    new_code(engine, LONG_MODE_CODE + 0xE00, LONG_MODE_CODE + 0xE00);
}

/// vCPU 0 lets a page lead to one of two frames in turn; vCPU 1 invalidates it with `invalidate` and reads.
fn new_translation(engine: Engine, invalidate: impl Fn(&mut CodeAssembler)) {
    const PAGE: u64 = LONG_MODE_DATA + 0x20_0000;
    const FRAMES: u64 = LONG_MODE_DATA + 0x30_0000;
    run_two(
        engine,
        |a| {
            handshakes(
                a,
                3000,
                |a| {
                    // The frame's number is the round's; its first word says so.
                    a.mov(rax, rsi).unwrap();
                    a.and(eax, 15).unwrap();
                    a.shl(rax, 12).unwrap();
                    a.lea(rax, qword_ptr(rax + FRAMES as i32)).unwrap();
                    a.mov(qword_ptr(rax), rsi).unwrap();
                    a.or(rax, 7).unwrap();
                    a.mov(qword_ptr(leaf_entry(PAGE)), rax).unwrap();
                },
                |a| {
                    invalidate(a);
                    a.mov(rax, qword_ptr(PAGE)).unwrap();
                },
            );
        },
        |_| {},
        nothing_went_wrong,
    );
}

fn a_changed_page_table_entry_is_used_after_invlpg(engine: Engine) {
    new_translation(engine, |a| {
        a.mov(rbx, LONG_MODE_DATA + 0x20_0000).unwrap();
        a.invlpg(byte_ptr(rbx)).unwrap();
    });
}

fn a_changed_page_table_entry_is_used_after_a_load_of_cr3(engine: Engine) {
    new_translation(engine, |a| {
        a.mov(rbx, cr3).unwrap();
        a.mov(cr3, rbx).unwrap();
    });
}

fn a_page_that_becomes_a_page_table_is_not_written_unseen(engine: Engine) {
    // vCPU 0 fills ever new pages as page tables, some of which it has written before, and gives them to vCPU 1,
    // which looks through them at once, and again after one more change.
    const TABLES: u64 = LONG_MODE_DATA + 0x20_0000;
    const PAGE: u64 = 0x4000_0000 - 0x20_0000;
    const DIRECTORY_ENTRY: u64 = 0x3000 + 8 * (PAGE >> 21);
    const FRAME: u64 = LONG_MODE_DATA + 0x18_0000;
    run_two(
        engine,
        |a| {
            handshakes(
                a,
                3000,
                |a| {
                    a.mov(qword_ptr(FRAME), rsi).unwrap();
                    a.mov(eax, esi).unwrap();
                    a.and(eax, 31).unwrap();
                    a.shl(eax, 12).unwrap();
                    a.lea(rax, qword_ptr(rax + TABLES as i32)).unwrap();
                    // The table's first entry leads to the frame, or, every other round, is filled by an
                    // instruction that comes after the directory leads to the table.
                    a.mov(rcx, FRAME | 7).unwrap();
                    a.mov(qword_ptr(rax), 0).unwrap();
                    a.lea(rdx, qword_ptr(rax + 7)).unwrap();
                    a.mov(qword_ptr(DIRECTORY_ENTRY), rdx).unwrap();
                    a.mov(qword_ptr(rax), rcx).unwrap();
                },
                |a| {
                    a.mov(rbx, PAGE).unwrap();
                    a.invlpg(byte_ptr(rbx)).unwrap();
                    a.mov(rax, qword_ptr(rbx)).unwrap();
                },
            );
        },
        |_| {},
        nothing_went_wrong,
    );
}
