//! Windows of the first megabyte whose writes go to RAM while reads come from elsewhere, as the chipset's PAM registers
//! have it while firmware copies itself: code and page tables in that RAM are known to engines from before.

use iced_x86::code_asm::*;
use std::sync::Arc;
use trimotor_bus::empty_board::EmptyBoard;
use trimotor_bus::memory::{WindowRead, WindowWrite};
use trimotor_bus::{GuestMemory, VcpuSignals};
use trimotor_cpu::VcpuExit;
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::state::Activity;

use crate::support::bare::{
    BareMachine, LONG_MODE_CODE, LONG_MODE_DATA, leaf_entry, map_one_to_one, set_long_mode,
};
use crate::support::engines::ENGINES;
use crate::support::needs::Tests;
use trimotor_machine::engines::Engine;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINES, code_written_while_it_cannot_be_read_is_new_code)
        .each(&ENGINES, page_tables_written_while_they_cannot_be_read_are_new_tables)
        .each(&ENGINES, page_tables_in_rom_end_no_walk)
        .each(&ENGINES, locked_instructions_read_rom_and_write_ram)
}

const WINDOW: std::ops::Range<u64> = 0xC_0000..0xC_4000;
const ROM: std::ops::Range<u64> = 0xE_0000..0x10_0000;

fn assemble(build: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u8> {
    let mut a = CodeAssembler::new(64).unwrap();
    build(&mut a).unwrap();
    a.assemble(LONG_MODE_CODE).unwrap()
}

fn all_ram(m: &BareMachine) {
    m.memory.set_window(WINDOW, WindowRead::Ram, WindowWrite::Ram);
}
fn writes_to_ram_only(m: &BareMachine) {
    m.memory.set_window(WINDOW, WindowRead::Device, WindowWrite::Ram);
}
/// Runs the code at [`LONG_MODE_CODE`], with ECX as given; EAX at its HLT.
fn run(m: &mut BareMachine, counter: u64) -> u64 {
    let mut s = m.vcpu.state();
    (s.rip, s.gpr[1], s.activity) = (LONG_MODE_CODE, counter, Activity::Active);
    m.vcpu.set_state(&s);
    assert!(m.run_to_hlt(1000));
    m.vcpu.state().gpr[0]
}

/// What is done at RIP where ECX is not zero, else a function in the window is called.
fn calls_or(other: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u8> {
    assemble(|a| {
        let mut changes = a.create_label();
        a.mov(rbx, WINDOW.start)?;
        a.test(ecx, ecx)?;
        a.jne(changes)?;
        a.call(rbx)?;
        a.hlt()?;
        a.set_label(&mut changes)?;
        other(a)?;
        a.hlt()
    })
}

/// mov eax, `value`; ret
fn function(value: u8) -> [u8; 6] {
    [0xB8, value, 0, 0, 0, 0xC3]
}

fn code_written_while_it_cannot_be_read_is_new_code(engine: Engine) {
    let code = calls_or(|a| a.mov(byte_ptr(rbx + 1), 2));
    let mut m = BareMachine::long_mode_on(engine, &code);
    all_ram(&m);
    m.write(WINDOW.start, &function(1));
    assert_eq!((run(&mut m, 0), run(&mut m, 0)), (1, 1), "{engine}");
    writes_to_ram_only(&m);
    run(&mut m, 1);
    all_ram(&m);
    assert_eq!(run(&mut m, 0), 2, "{engine}: written by the guest");
    writes_to_ram_only(&m);
    m.write(WINDOW.start + 1, &[3]);
    // It is told of the write while it cannot read what was written.
    m.write(LONG_MODE_DATA, &[0]);
    run(&mut m, 1);
    m.write(WINDOW.start + 1, &[4]);
    all_ram(&m);
    assert_eq!(run(&mut m, 0), 4, "{engine}: written by a device");
}

fn page_tables_written_while_they_cannot_be_read_are_new_tables(engine: Engine) {
    let linear = LONG_MODE_DATA + 0x1000;
    let entry = WINDOW.start + (leaf_entry(linear) & 0xFFF);
    let code = assemble(|a| {
        let mut changes = a.create_label();
        a.mov(rbx, entry)?;
        a.test(ecx, ecx)?;
        a.jne(changes)?;
        a.mov(eax, dword_ptr(linear))?;
        a.hlt()?;
        a.set_label(&mut changes)?;
        a.mov(dword_ptr(rbx), (LONG_MODE_DATA + 0x2000 + 3) as u32)?;
        a.hlt()
    });
    let mut m = BareMachine::long_mode_on(engine, &code);
    all_ram(&m);
    let mut table = [0; 4096];
    m.memory.read(trimotor_bus::PhysAddr(leaf_entry(linear) & !0xFFF), &mut table);
    m.write(WINDOW.start, &table);
    m.write(0x3000 + 8 * (linear >> 21), &(WINDOW.start | 7).to_le_bytes());
    m.write(linear, &[11]);
    m.write(linear + 0x1000, &[22]);
    m.write(linear + 0x2000, &[33]);
    assert_eq!(run(&mut m, 0), 11, "{engine}");
    writes_to_ram_only(&m);
    run(&mut m, 1);
    all_ram(&m);
    assert_eq!(run(&mut m, 0), 22, "{engine}: written by the guest");
    writes_to_ram_only(&m);
    m.write(entry, &(linear + 0x2000 + 3).to_le_bytes());
    all_ram(&m);
    assert_eq!(run(&mut m, 0), 33, "{engine}: written by a device");
}

/// A vCPU whose page tables are in ROM that RAM lies below, and whose code is in RAM.
fn machine_with_tables_in_rom(engine: trimotor_machine::engines::Engine, code: &[u8]) -> BareMachine {
    let ram = GuestMemory::new(16 << 20, &[]).unwrap();
    map_one_to_one(&ram);
    let mut rom = vec![0; 128 << 10];
    ram.read(trimotor_bus::PhysAddr(0x1_0000), &mut rom[..8 * 4096]);
    let memory = GuestMemory::new(16 << 20, &rom).unwrap();
    map_one_to_one(&memory);
    for n in 0..8 {
        let entry = (ROM.start + n * 4096) | 7;
        memory.write(trimotor_bus::PhysAddr(0x3000 + 8 * n), &entry.to_le_bytes());
    }
    memory.write(trimotor_bus::PhysAddr(LONG_MODE_CODE), code);
    memory.set_window(ROM, WindowRead::Rom, WindowWrite::Ram);
    let signals = VcpuSignals::new();
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let mut vcpu = engine.start().unwrap().create_vcpu(0, &model, &memory, &signals).unwrap();
    set_long_mode(&mut *vcpu);
    BareMachine { memory, signals, vcpu, bus: EmptyBoard::default() }
}

/// Accessed flags go where writes go, and are not read back.
fn page_tables_in_rom_end_no_walk(engine: Engine) {
    let code = assemble(|a| {
        a.mov(dword_ptr(LONG_MODE_DATA), 7)?;
        a.mov(eax, dword_ptr(LONG_MODE_DATA))?;
        a.hlt()
    });
    let mut m = machine_with_tables_in_rom(engine, &code);
    assert!(matches!(m.vcpu.run(&mut m.bus, 100), VcpuExit::Halted), "{engine}");
    assert_eq!(m.vcpu.state().gpr[0], 7, "{engine}");
    m.memory.set_window(ROM, WindowRead::Ram, WindowWrite::Ram);
    let leaf = ROM.start + leaf_entry(LONG_MODE_DATA) - 0x1_0000;
    assert_eq!(m.memory.read_u64(trimotor_bus::PhysAddr(leaf)), LONG_MODE_DATA | 0x67, "{engine}");
}

/// Locked instructions read what is seen and write where writes go.
fn locked_instructions_read_rom_and_write_ram(engine: Engine) {
    let at = ROM.start + 0x1_0000;
    let code = assemble(|a| {
        a.mov(rbx, at)?;
        a.mov(eax, 5)?;
        a.lock().xadd(dword_ptr(rbx), eax)?;
        a.mov(ecx, 9)?;
        a.xchg(dword_ptr(rbx), ecx)?;
        a.hlt()
    });
    let rom = vec![0x10; 128 << 10];
    let memory = GuestMemory::new(16 << 20, &rom).unwrap();
    map_one_to_one(&memory);
    memory.write(trimotor_bus::PhysAddr(LONG_MODE_CODE), &code);
    memory.set_window(ROM, WindowRead::Rom, WindowWrite::Ram);
    let (signals, bus) = (VcpuSignals::new(), EmptyBoard::default());
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let mut vcpu = engine.start().unwrap().create_vcpu(0, &model, &memory, &signals).unwrap();
    set_long_mode(&mut *vcpu);
    let mut m = BareMachine { memory, signals, vcpu, bus };
    assert!(m.run_to_hlt(100), "{engine}");
    let s = m.vcpu.state();
    assert_eq!((s.gpr[0], s.gpr[1]), (0x1010_1010, 0x1010_1010), "{engine}");
    m.memory.set_window(ROM, WindowRead::Ram, WindowWrite::Ram);
    assert_eq!(m.memory.read_u32(trimotor_bus::PhysAddr(at)), 9, "{engine}");
}
