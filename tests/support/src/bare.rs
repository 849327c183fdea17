//! One vCPU with RAM and nothing else: for tests of instructions.

use std::sync::Arc;
use trimotor_bus::empty_board::EmptyBoard;
use trimotor_bus::memory::{WindowRead, WindowWrite};
use trimotor_bus::{GuestMemory, PhysAddr, VcpuSignals};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::state::Activity;
use trimotor_cpu::{Segment, Vcpu, VcpuExit};
use trimotor_machine::engines::Engine;

/// A vCPU and its memory.
pub struct BareMachine {
    /// Its RAM.
    pub memory: Arc<GuestMemory>,
    /// Its interrupt lines.
    pub signals: Arc<VcpuSignals>,
    /// The vCPU.
    pub vcpu: Box<dyn Vcpu>,
    /// A board with nothing on it.
    pub bus: EmptyBoard,
}

impl BareMachine {
    /// On the interpreter, with `bytes` bytes of RAM and the fullest CPU model.
    pub fn new(bytes: u64) -> BareMachine {
        BareMachine::on(Engine::Interp, bytes)
    }
    /// The same on another engine.
    pub fn on(engine: Engine, bytes: u64) -> BareMachine {
        let memory = GuestMemory::new(bytes, &[]).unwrap();
        let signals = VcpuSignals::new();
        let mut engine = engine.start().unwrap();
        let model = CpuModel::parse("max", 1_000_000_000).unwrap();
        let lacking = engine.lacks(&model).features;
        let model = Arc::new(model.without(&lacking));
        let vcpu = engine.create_vcpu(0, &model, &memory, &signals).unwrap();
        BareMachine { memory, signals, vcpu, bus: EmptyBoard::default() }
    }
    /// RAM in the whole first megabyte.
    pub fn all_ram(&self) {
        self.memory.set_window(0..1 << 20, WindowRead::Ram, WindowWrite::Ram);
    }
    /// Writes RAM at a physical address, in bytes.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        assert_eq!(self.memory.write(PhysAddr(at), bytes), bytes.len(), "RAM at {at:#x}");
    }
    /// The byte at a physical address.
    pub fn read_byte(&self, at: u64) -> u8 {
        let mut b = [0];
        self.memory.read(PhysAddr(at), &mut b);
        b[0]
    }

    /// Real mode with the registers ax bx cx dx cs ss ds es sp bp si di ip flags.
    pub fn set_real_mode(&mut self, r: &[u16; 14]) {
        self.vcpu.reset();
        let mut s = self.vcpu.state();
        s.activity = Activity::Active;
        s.interrupt_shadow = false;
        for (n, reg) in [(0, 0), (3, 1), (1, 2), (2, 3), (4, 8), (5, 9), (6, 10), (7, 11)] {
            s.gpr[n] = r[reg] as u64;
        }
        for (n, reg) in [(1, 4), (2, 5), (3, 6), (0, 7)] {
            s.segments[n] = Segment::real_mode(r[reg]);
        }
        s.rip = r[12] as u64;
        s.rflags = r[13] as u64 & 0xFFFF | 2;
        s.idtr.limit = 0x3FF;
        s.idtr.base = 0;
        self.vcpu.set_state(&s);
    }
    /// The same registers now.
    pub fn real_mode_registers(&self) -> [u16; 14] {
        let s = self.vcpu.state();
        let g = |n: usize| s.gpr[n] as u16;
        let seg = |n: usize| s.segments[n].selector;
        [
            g(0),
            g(3),
            g(1),
            g(2),
            seg(1),
            seg(2),
            seg(3),
            seg(0),
            g(4),
            g(5),
            g(6),
            g(7),
            s.rip as u16,
            s.rflags as u16,
        ]
    }
    /// Runs to HLT; false where it was not reached within so many instructions.
    pub fn run_to_hlt(&mut self, instructions: u64) -> bool {
        let until = self.vcpu.retired() + instructions;
        while self.vcpu.retired() < until {
            match self.vcpu.run(&mut self.bus, until - self.vcpu.retired()) {
                VcpuExit::Halted => return true,
                VcpuExit::Budget => {}
                _ => return false,
            }
        }
        false
    }
}

/// Where [`BareMachine::long_mode`] puts the code.
pub const LONG_MODE_CODE: u64 = 0x40_0000;
/// Where its data may lie; the stack ends here and grows down.
pub const LONG_MODE_DATA: u64 = 0x80_0000;

impl BareMachine {
    /// 64-bit mode at CPL 0 with 16 MiB of memory mapped one to one in 4 KiB pages, about to run `code`.
    pub fn long_mode(code: &[u8]) -> BareMachine {
        BareMachine::long_mode_on(Engine::Interp, code)
    }
    /// The same on another engine.
    pub fn long_mode_on(engine: Engine, code: &[u8]) -> BareMachine {
        let mut m = BareMachine::on(engine, 16 << 20);
        map_one_to_one(&m.memory);
        m.write(LONG_MODE_CODE, code);
        set_long_mode(&mut *m.vcpu);
        if engine == Engine::Kvm {
            // A KVM of software is given no guest that has turned SYSCALL on.
            let mut state = m.vcpu.state();
            state.efer &= !1;
            m.vcpu.set_state(&state);
        }
        m
    }
}

/// Writes page tables that map 16 MiB one to one in 4 KiB pages.
pub fn map_one_to_one(memory: &GuestMemory) {
    let write = |at: u64, entry: u64| assert_eq!(memory.write(PhysAddr(at), &(entry | 7).to_le_bytes()), 8);
    let (pml4, pdpt, pd, pts) = (0x1000u64, 0x2000u64, 0x3000u64, 0x10000u64);
    write(pml4, pdpt);
    write(pdpt, pd);
    for i in 0..8u64 {
        write(pd + 8 * i, pts + 4096 * i);
        (0..512u64).for_each(|j| write(pts + 4096 * i + 8 * j, (i * 512 + j) << 12));
    }
}
/// Where the leaf entry for an address of [`map_one_to_one`] is.
pub fn leaf_entry(linear: u64) -> u64 {
    0x10000 + 8 * (linear >> 12)
}
/// Puts a vCPU into 64-bit mode at CPL 0 with the page tables of [`map_one_to_one`], about to run
/// [`LONG_MODE_CODE`].
pub fn set_long_mode(vcpu: &mut dyn Vcpu) {
    let mut s = vcpu.state();
    s.activity = Activity::Active;
    s.cr0 = 0x8001_0033;
    s.cr3 = 0x1000;
    s.cr4 = 0x6A0 | 1 << 18;
    s.efer = 0x501 | 1 << 11;
    s.xcr0 = 7;
    let data = Segment { base: 0, limit: u32::MAX, attributes: 0xC093, selector: 0x10 };
    s.segments = [data; 6];
    s.segments[1] = Segment { base: 0, limit: u32::MAX, attributes: 0xA09B, selector: 8 };
    s.gpr[4] = LONG_MODE_DATA;
    s.rip = LONG_MODE_CODE;
    s.rflags = 2;
    s.cpl = 0;
    vcpu.set_state(&s);
}
