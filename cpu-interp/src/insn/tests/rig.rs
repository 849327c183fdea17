//! A vCPU with tables in RAM: a GDT, an IDT whose handlers halt, a TSS, and page tables.
//!
//! Handler `v` is a HLT at [`HANDLERS`] + 16 `v`, so that where the CPU halts tells which vector
//! was delivered, and its stack shows the frame.

use crate::Interpreter;
use iced_x86::code_asm::CodeAssembler;
use std::sync::Arc;
use trimotor_bus::cpu_bus::NoSuchMsr;
use trimotor_bus::{CpuBus, GuestMemory, GuestTime, PhysAddr, Port, PortRegisters, VcpuSignals, Width};
use trimotor_cpu::backend::ShutdownReport;
use trimotor_cpu::model::CpuModel;
use trimotor_cpu::{ArchState, CpuBackend, Segment, Vcpu, VcpuExit};

pub(super) const GDT: u64 = 0x1000;
pub(super) const IDT: u64 = 0x2000;
pub(super) const TSS: u64 = 0x3000;
/// A second TSS, for task switches.
pub(super) const TSS2: u64 = 0x3800;
pub(super) const HANDLERS: u64 = 0x8000;
pub(super) const CODE: u64 = 0x1_0000;
/// Stack of the code.
pub(super) const STACK: u64 = 0x2_0000;
/// Stack of ring 0, from the TSS.
pub(super) const STACK0: u64 = 0x2_8000;
/// Stack of ring 1, from the TSS.
pub(super) const STACK1: u64 = 0x2_9000;
/// First interrupt stack of long mode.
pub(super) const IST1: u64 = 0x2_A000;
pub(super) const DATA: u64 = 0x3_0000;
/// Where the page tables begin.
pub(super) const TABLES: u64 = 0x10_0000;

/// Selectors of the GDT.
pub(super) const CS0: u16 = 0x08;
pub(super) const DS0: u16 = 0x10;
pub(super) const CS3: u16 = 0x1B;
pub(super) const DS3: u16 = 0x23;
pub(super) const TR: u16 = 0x28;
pub(super) const CS1: u16 = 0x39;
pub(super) const DS1: u16 = 0x41;
/// First free descriptor.
pub(super) const FREE: u16 = 0x48;

/// A backdoor port, and what EAX holds for a call.
pub(super) const CALL_PORT: u16 = 0x5658;
pub(super) const CALL_MAGIC: u32 = 0x1357_9BDF;

/// A bus with nobody on it but a list of interrupts to acknowledge.
#[derive(Default)]
pub(super) struct RigBus {
    pub(super) retired: u64,
    pub(super) port_writes: Vec<(u16, u32)>,
    pub(super) vectors: Vec<u8>,
    pub(super) task_priority: u8,
    /// A port at which a write raises these signals.
    pub(super) signal_port: Option<(u16, Arc<VcpuSignals>, u32)>,
}

impl CpuBus for RigBus {
    fn set_retired(&mut self, instructions: u64) {
        self.retired = instructions;
    }
    fn port_read(&mut self, port: Port, width: Width) -> u32 {
        (0x1122_3344u32.wrapping_add(port.0 as u32)) & width.mask() as u32
    }
    fn port_write(&mut self, port: Port, _width: Width, value: u32) {
        self.port_writes.push((port.0, value));
        if let Some((at, signals, which)) = &self.signal_port
            && *at == port.0
        {
            signals.raise(*which);
        }
    }
    fn port_call(&mut self, port: Port, registers: &mut PortRegisters) -> bool {
        let calls = port.0 == CALL_PORT && registers.eax == CALL_MAGIC;
        if calls {
            // Each register takes another one's value.
            let PortRegisters { eax, ebx, ecx, edx, esi, edi } = *registers;
            *registers = PortRegisters { eax: ebx, ebx: ecx, ecx: esi, edx, esi: edi, edi: eax };
        }
        calls
    }
    fn mmio_read(&mut self, _addr: PhysAddr, width: Width) -> u64 {
        width.mask()
    }
    fn mmio_write(&mut self, _addr: PhysAddr, _width: Width, _value: u64) {}
    fn now(&mut self) -> GuestTime {
        GuestTime(1000)
    }
    fn set_tsc_offset(&mut self, _offset: u64) {}
    fn set_ferr(&mut self, _asserted: bool) -> bool {
        true
    }
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        self.vectors.pop()
    }
    fn apic_msr_read(&mut self, _index: u32) -> Result<u64, NoSuchMsr> {
        Ok(0xFEE0_0900)
    }
    fn apic_msr_write(&mut self, _index: u32, _value: u64) -> Result<(), NoSuchMsr> {
        Ok(())
    }
    fn task_priority(&mut self) -> u8 {
        self.task_priority
    }
    fn set_task_priority(&mut self, priority: u8) {
        self.task_priority = priority;
    }
    fn random(&mut self) -> u64 {
        4
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In the handler of a vector.
    Vector(u8),
    /// In a HLT elsewhere: RIP after it.
    Halt(u64),
    /// Triple fault.
    Shutdown(ShutdownReport),
    /// Neither, within a thousand instructions.
    Running,
}

pub(super) struct Rig {
    pub(super) memory: Arc<GuestMemory>,
    pub(super) signals: Arc<VcpuSignals>,
    pub(super) vcpu: Box<dyn Vcpu>,
    pub(super) bus: RigBus,
    pub(super) bits: u32,
}

/// A segment descriptor of 4 GiB (or `limit` pages) from its attribute bits.
pub(super) const fn flat(attributes: u16) -> u64 {
    0x000F_0000_0000_FFFF | (attributes as u64) << 40
}
/// A descriptor with base, limit and attributes.
pub(super) const fn descriptor(base: u64, limit: u64, attributes: u16) -> u64 {
    limit & 0xFFFF
        | (base & 0xFF_FFFF) << 16
        | (attributes as u64) << 40
        | (limit >> 16 & 15) << 48
        | (base >> 24 & 0xFF) << 56
}
/// A gate: type and DPL and P in `attributes`, parameter count or IST in `extra`.
pub(super) const fn gate(selector: u16, offset: u64, attributes: u8, extra: u8) -> u64 {
    offset & 0xFFFF
        | (selector as u64) << 16
        | (extra as u64) << 32
        | (attributes as u64) << 40
        | (offset >> 16 & 0xFFFF) << 48
}

impl Rig {
    fn bare(bits: u32) -> Rig {
        Self::of(Interpreter::new(), bits)
    }
    fn of(mut engine: Interpreter, bits: u32) -> Rig {
        let memory = GuestMemory::new(4 << 20, &[]).unwrap();
        let signals = VcpuSignals::new();
        let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
        let vcpu = engine.create_vcpu(0, &model, &memory, &signals).unwrap();
        Rig { memory, signals, vcpu, bus: RigBus::default(), bits }
    }

    /// Real mode: the vectors' handlers are at 0:HANDLERS.
    pub(super) fn real() -> Rig {
        let mut r = Rig::bare(16);
        for v in 0..256u64 {
            r.write(v * 4, &((HANDLERS + v * 16) as u32).to_le_bytes());
            r.write(HANDLERS + v * 16, &[0xF4]);
        }
        let mut s = r.vcpu.state();
        s.segments = [Segment::real_mode(0); 6];
        s.segments[1] = Segment { attributes: 0x9B, ..Segment::real_mode(0x1000) };
        s.idtr.base = 0;
        s.idtr.limit = 0x3FF;
        s.gpr[4] = 0x7000;
        s.rip = 0;
        r.vcpu.set_state(&s);
        r
    }

    fn tables(&mut self, code: u16) {
        for (i, attributes) in
            [0, code, 0xC093, code | 0x60, 0xC0F3, 0, 0, code | 0x20, 0xC0B3].into_iter().enumerate()
        {
            self.gdt(i as u16 * 8, if attributes == 0 { 0 } else { flat(attributes) });
        }
        self.gdt(TR, descriptor(TSS, 0x67, 0x8B));
        for v in 0..256u64 {
            self.write(HANDLERS + v * 16, &[0xF4]);
        }
    }

    fn state_of_mode(&mut self, code: u16) -> ArchState {
        let mut s = self.vcpu.state();
        s.cr0 = 0x31;
        let seg = |selector: u16, attributes: u16| Segment { base: 0, limit: u32::MAX, attributes, selector };
        s.segments = [seg(DS0, 0xC093); 6];
        s.segments[1] = seg(CS0, code);
        s.gdtr.base = GDT;
        s.gdtr.limit = 0x7FF;
        s.idtr.base = IDT;
        s.idtr.limit = 0xFFF;
        s.tr = Segment { base: TSS, limit: 0x67, attributes: 0x8B, selector: TR };
        s.ldtr = Segment::null(0);
        s.gpr[4] = STACK;
        s.rip = CODE;
        s.rflags = 2;
        s
    }

    /// 32-bit protected mode at CPL 0, flat, no paging.
    pub(super) fn protected() -> Rig {
        let mut r = Rig::bare(32);
        r.tables(0xC09B);
        for v in 0..256u16 {
            r.idt(v, gate(CS0, HANDLERS + v as u64 * 16, 0x8E, 0), 0);
        }
        r.write(TSS + 4, &(STACK0 as u32).to_le_bytes());
        r.write(TSS + 8, &(DS0 as u32).to_le_bytes());
        r.write(TSS + 12, &(STACK1 as u32).to_le_bytes());
        r.write(TSS + 16, &(DS1 as u32).to_le_bytes());
        r.write(TSS + 102, &0x68u16.to_le_bytes());
        let s = r.state_of_mode(0xC09B);
        r.vcpu.set_state(&s);
        r
    }

    /// 64-bit mode at CPL 0, 4 MiB mapped one to one in 4 KiB pages, all rights.
    pub(super) fn long() -> Rig {
        Self::long_on(Interpreter::new())
    }
    /// The same on an engine that was configured.
    pub(super) fn long_on(engine: Interpreter) -> Rig {
        let mut r = Rig::of(engine, 64);
        r.tables(0xA09B);
        // A compatibility-mode code segment of ring 3 and one of ring 0.
        r.gdt(FREE, flat(0xC0FB));
        r.gdt(FREE + 8, flat(0xC09B));
        for v in 0..256u16 {
            r.idt(v, gate(CS0, HANDLERS + v as u64 * 16, 0x8E, 0), 0);
        }
        r.write(TSS + 4, &STACK0.to_le_bytes());
        r.write(TSS + 12, &STACK1.to_le_bytes());
        r.write(TSS + 36, &IST1.to_le_bytes());
        r.write(TSS + 102, &0x68u16.to_le_bytes());
        r.long_tables();
        let mut s = r.state_of_mode(0xA09B);
        s.cr0 = 0x8001_0033;
        s.cr3 = TABLES;
        s.cr4 = 0x6A0;
        s.efer = 0xD01;
        r.vcpu.set_state(&s);
        r
    }

    fn long_tables(&mut self) {
        let (pdpt, pd, pts) = (TABLES + 0x1000, TABLES + 0x2000, TABLES + 0x4000);
        self.write(TABLES, &(pdpt | 7).to_le_bytes());
        self.write(pdpt, &(pd | 7).to_le_bytes());
        for i in 0..2u64 {
            self.write(pd + 8 * i, &((pts + 0x1000 * i) | 7).to_le_bytes());
            for j in 0..512u64 {
                self.write(pts + 0x1000 * i + 8 * j, &((i << 21 | j << 12) | 7).to_le_bytes());
            }
        }
    }
    /// Replaces the rights of a page of the long mode rig.
    pub(super) fn page(&mut self, linear: u64, entry: u64) {
        self.write(TABLES + 0x4000 + (linear >> 12) * 8, &entry.to_le_bytes());
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) {
        assert_eq!(self.memory.write(PhysAddr(at), bytes), bytes.len(), "RAM at {at:#x}");
    }
    pub(super) fn read<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut b = [0; N];
        self.memory.read(PhysAddr(at), &mut b);
        b
    }
    pub(super) fn u16(&self, at: u64) -> u16 {
        u16::from_le_bytes(self.read(at))
    }
    pub(super) fn u32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.read(at))
    }
    pub(super) fn u64(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.read(at))
    }
    pub(super) fn gdt(&self, selector: u16, low: u64) {
        self.write(GDT + (selector & !7) as u64, &low.to_le_bytes());
    }
    pub(super) fn idt(&self, vector: u16, low: u64, high: u64) {
        if self.bits == 64 {
            self.write(IDT + vector as u64 * 16, &low.to_le_bytes());
            self.write(IDT + vector as u64 * 16 + 8, &high.to_le_bytes());
        } else {
            self.write(IDT + vector as u64 * 8, &low.to_le_bytes());
        }
    }

    pub(super) fn change(&mut self, f: impl FnOnce(&mut ArchState)) {
        let mut s = self.vcpu.state();
        f(&mut s);
        self.vcpu.set_state(&s);
    }
    pub(super) fn state(&self) -> ArchState {
        self.vcpu.state()
    }
    /// Ring 3 with flat segments; in the long mode rig, 64-bit.
    pub(super) fn ring3(&mut self) {
        let code = if self.bits == 64 { 0xA0FB } else { 0xC0FB };
        self.change(|s| {
            let seg = |selector, attributes| Segment { base: 0, limit: u32::MAX, attributes, selector };
            s.segments = [seg(DS3, 0xC0F3); 6];
            s.segments[1] = seg(CS3, code);
            s.cpl = 3;
        });
    }

    /// Runs up to a thousand instructions.
    pub(super) fn go(&mut self) -> End {
        for _ in 0..4 {
            match self.vcpu.run(&mut self.bus, 250) {
                VcpuExit::Halted => {
                    let s = self.vcpu.state();
                    let linear = s.rip + if self.bits == 16 { s.segments[1].base } else { 0 };
                    let at = linear.wrapping_sub(1).wrapping_sub(HANDLERS);
                    return if at < 0x1000 { End::Vector((at / 16) as u8) } else { End::Halt(s.rip) };
                }
                VcpuExit::Shutdown(report) => return End::Shutdown(*report),
                VcpuExit::Budget | VcpuExit::Faulting | VcpuExit::Debugger => {}
            }
        }
        End::Running
    }
    /// Puts machine code at CODE and runs it.
    pub(super) fn run_bytes(&mut self, code: &[u8]) -> End {
        self.write(CODE, code);
        self.go()
    }
    /// Assembles for the rig's mode, puts it at CODE and runs it.
    pub(super) fn run(&mut self, f: impl FnOnce(&mut CodeAssembler)) -> End {
        let code = self.assemble(f);
        self.run_bytes(&code)
    }
    pub(super) fn assemble(&self, f: impl FnOnce(&mut CodeAssembler)) -> Vec<u8> {
        let mut a = CodeAssembler::new(self.bits).unwrap();
        f(&mut a);
        a.assemble(if self.bits == 16 { 0 } else { CODE }).unwrap()
    }
    /// The doubleword or quadword `n` of the stack.
    pub(super) fn stack(&self, n: u64) -> u64 {
        let s = self.state();
        match self.bits {
            16 => self.u16(s.segments[2].base + (s.gpr[4] & 0xFFFF) + n * 2) as u64,
            32 => self.u32(s.gpr[4] + n * 4) as u64,
            _ => self.u64(s.gpr[4] + n * 8),
        }
    }
}
