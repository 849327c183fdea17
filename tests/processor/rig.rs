//! A vCPU of any engine with a GDT, a TSS and an IDT whose handlers halt: where it halts tells which vector was
//! delivered last, and its stack shows the frame.

use trimotor_cpu::state::Activity;
use trimotor_cpu::{ArchState, Segment, TableRegister, VcpuExit};
use trimotor_machine::engines::Engine;
use trimotor_test_support::bare::{BareMachine, map_one_to_one, set_long_mode};

pub const GDT: u64 = 0x20_0000;
pub const IDT: u64 = 0x20_1000;
pub const TSS: u64 = 0x20_2000;
/// Handler `v` is a HLT at this plus 16 `v`.
pub const HANDLERS: u64 = 0x20_4000;
pub const CODE: u64 = 0x21_0000;
pub const DATA: u64 = 0x22_0000;
/// Ends of the stacks of the code, of ring 0 from the TSS, and of the first interrupt stack.
pub const STACK: u64 = 0x23_8000;
pub const STACK0: u64 = 0x24_8000;
pub const IST1: u64 = 0x25_8000;

/// Selectors. SYSCALL and SYSENTER find theirs in this order.
pub const CS0: u16 = 0x08;
pub const DS0: u16 = 0x10;
pub const CS3: u16 = 0x1B;
pub const DS3: u16 = 0x23;
pub const TR: u16 = 0x28;
/// First free descriptor; the table has 16 descriptors.
pub const FREE: u16 = 0x40;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// In the handler of a vector.
    Vector(u8),
    /// In a HLT elsewhere: RIP after it.
    Halt(u64),
    /// Triple fault.
    Shutdown,
    /// Neither, within a thousand instructions.
    Running,
}

pub struct Rig {
    pub m: BareMachine,
    bits: u32,
}

/// A segment descriptor of 4 GiB from its attribute bits.
pub const fn flat(attributes: u16) -> u64 {
    0x000F_0000_0000_FFFF | (attributes as u64) << 40
}
/// A descriptor with base, limit in bytes and attributes.
pub const fn descriptor(base: u64, limit: u64, attributes: u16) -> u64 {
    (limit & 0xFFFF)
        | (base & 0xFF_FFFF) << 16
        | (attributes as u64) << 40
        | (limit >> 16 & 15) << 48
        | (base >> 24 & 0xFF) << 56
}

impl Rig {
    /// 64-bit mode at CPL 0.
    pub fn long(engine: Engine) -> Rig {
        let mut m = BareMachine::on(engine, 16 << 20);
        map_one_to_one(&m.memory);
        set_long_mode(&mut *m.vcpu);
        Rig { m, bits: 64 }.with_tables(0xA09B)
    }
    /// 32-bit protected mode at CPL 0, flat, without paging.
    pub fn protected(engine: Engine) -> Rig {
        let mut m = BareMachine::on(engine, 16 << 20);
        set_long_mode(&mut *m.vcpu);
        let mut s = m.vcpu.state();
        (s.cr0, s.efer, s.cr4) = (0x31, 0, 0x200);
        s.segments[1].attributes = 0xC09B;
        m.vcpu.set_state(&s);
        Rig { m, bits: 32 }.with_tables(0xC09B)
    }

    fn with_tables(mut self, code: u16) -> Rig {
        for (selector, attributes) in [(CS0, code), (DS0, 0xC093), (CS3, code | 0x60), (DS3, 0xC0F3)] {
            self.gdt(selector, flat(attributes));
        }
        self.gdt(TR, descriptor(TSS, 0x67, 0x8B));
        for v in 0..=255u64 {
            self.m.write(HANDLERS + v * 16, &[0xF4]);
            self.gate(v as u8, 0x8E, 0);
        }
        if self.bits == 64 {
            self.u64s(TSS + 4, &[STACK0]);
            self.u64s(TSS + 36, &[IST1]);
        } else {
            self.m.write(TSS + 4, &(STACK0 as u32).to_le_bytes());
            self.m.write(TSS + 8, &u32::from(DS0).to_le_bytes());
        }
        self.change(|s| {
            s.gdtr = TableRegister { base: GDT, limit: 0x7F };
            s.idtr = TableRegister { base: IDT, limit: 0xFFF };
            s.tr = Segment { base: TSS, limit: 0x67, attributes: 0x8B, selector: TR };
            s.ldtr = Segment::null(0);
            (s.segments[1].selector, s.gpr[4], s.rip) = (CS0, STACK, CODE);
        });
        self
    }

    /// Writes the descriptor of a selector.
    pub fn gdt(&self, selector: u16, low: u64) {
        self.u64s(GDT + u64::from(selector & !7), &[low]);
    }
    /// Writes the gate to a vector's handler: type, DPL and P; interrupt stack.
    pub fn gate(&self, vector: u8, attributes: u8, ist: u8) {
        let offset = HANDLERS + u64::from(vector) * 16;
        let low = (offset & 0xFFFF)
            | u64::from(CS0) << 16
            | u64::from(ist) << 32
            | u64::from(attributes) << 40
            | (offset >> 16 & 0xFFFF) << 48;
        if self.bits == 64 {
            self.u64s(IDT + u64::from(vector) * 16, &[low, 0]);
        } else {
            self.u64s(IDT + u64::from(vector) * 8, &[low]);
        }
    }
    /// Puts code in a vector's handler, in the place of its HLT.
    pub fn handler(&self, vector: u8, code: &[u8]) {
        self.m.write(HANDLERS + u64::from(vector) * 16, code);
    }
    pub fn u64s(&self, at: u64, values: &[u64]) {
        for (n, value) in values.iter().enumerate() {
            self.m.write(at + 8 * n as u64, &value.to_le_bytes());
        }
    }
    pub fn read(&self, at: u64) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|n| self.m.read_byte(at + n as u64)))
    }

    pub fn state(&self) -> ArchState {
        self.m.vcpu.state()
    }
    pub fn change(&mut self, f: impl FnOnce(&mut ArchState)) {
        let mut s = self.m.vcpu.state();
        f(&mut s);
        self.m.vcpu.set_state(&s);
    }
    /// Ring 3 with flat segments.
    pub fn ring3(&mut self) {
        let code = if self.bits == 64 { 0xA0FB } else { 0xC0FB };
        self.change(|s| {
            let seg = |selector, attributes| Segment { base: 0, limit: u32::MAX, attributes, selector };
            s.segments = [seg(DS3, 0xC0F3); 6];
            s.segments[1] = seg(CS3, code);
            s.cpl = 3;
        });
    }

    /// Puts code at CODE and runs it.
    pub fn run(&mut self, code: &[u8]) -> End {
        self.m.write(CODE, code);
        self.go()
    }
    /// Runs up to a thousand instructions.
    pub fn go(&mut self) -> End {
        self.change(|s| s.activity = Activity::Active);
        for _ in 0..4 {
            match self.m.vcpu.run(&mut self.m.bus, 250) {
                VcpuExit::Halted => {
                    let rip = self.state().rip;
                    let at = rip.wrapping_sub(1).wrapping_sub(HANDLERS);
                    return if at < 0x1000 { End::Vector((at / 16) as u8) } else { End::Halt(rip) };
                }
                VcpuExit::Shutdown(_) => return End::Shutdown,
                VcpuExit::Budget | VcpuExit::Faulting | VcpuExit::Debugger => {}
            }
        }
        End::Running
    }
    /// Runs exactly so many instructions of code that does not halt.
    pub fn step(&mut self, instructions: u64) {
        let until = self.m.vcpu.retired() + instructions;
        while self.m.vcpu.retired() < until {
            let left = until - self.m.vcpu.retired();
            assert_eq!(self.m.vcpu.run(&mut self.m.bus, left), VcpuExit::Budget);
        }
    }
    /// The doubleword or quadword `n` of the stack.
    pub fn stack(&self, n: u64) -> u64 {
        let sp = self.state().gpr[4];
        if self.bits == 64 { self.read(sp + n * 8) } else { self.read(sp + n * 4) & 0xFFFF_FFFF }
    }
}
