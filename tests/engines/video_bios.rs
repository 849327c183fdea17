//! The video BIOS where there is nothing but a processor, RAM and a VGA: what X servers and v86d offer it, which run INT 10h in an
//! emulator of their own. Ports and memory that are no VGA's are told, and so are writes to the ROM.

use std::collections::BTreeMap;
use trimotor_bus::cpu_bus::NoSuchMsr;
use trimotor_bus::empty_board::EmptyBoard;
use trimotor_bus::memory::{WindowRead, WindowWrite};
use trimotor_bus::{CpuBus, GuestTime, PhysAddr, Port, PortRegisters, Width};
use trimotor_cpu::state::Activity;
use trimotor_cpu::{Segment, VcpuExit};
use trimotor_firmware::vga_bios;

use crate::support::bare::BareMachine;
use crate::support::engines::ENGINES;
use crate::support::needs::Tests;
use crate::support::random::values::Random;
use trimotor_machine::engines::Engine;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINES, every_function_needs_a_vga_and_nothing_else)
        .each(&ENGINES, drawing_in_modes_of_vbe_goes_where_it_should)
        .each(&ENGINES, protected_mode_code_runs_at_any_address)
}

const ROM_AT: u64 = 0xC_0000;
const ROM_SPACE: std::ops::Range<u64> = ROM_AT..0xD_0000;
const VGA_MEMORY: std::ops::Range<u64> = 0xA_0000..0xC_0000;
/// The program's code, its stack and the buffer that calls are handed, which has a segment of its own.
const CODE: u64 = 0x1_0000;
const STACK_SEGMENT: u16 = 0x2000;
const STACK_TOP: u64 = 0x1000;
const BUFFER_SEGMENT: u16 = 0x5000;
const CARD_MEMORY: usize = 16 << 20;
/// What modes show that are drawn to: 1024x768 with 32 bits, in whole pixels of three bytes.
const SHOWN_MEMORY: usize = 3 << 20;
/// No call takes so many instructions.
const MOST_INSTRUCTIONS: u64 = 60_000_000;

const DISPI_INDEX: u16 = 0x1CE;
const DISPI_DATA: u16 = 0x1CF;
const ENABLE: usize = 4;
const BANK: usize = 5;

/// A card that keeps what is written to it.
struct Card {
    rest: EmptyBoard,
    memory: Vec<u8>,
    /// Registers behind index ports, by port and index.
    indexed: BTreeMap<(u16, u8), u8>,
    ports: BTreeMap<u16, u8>,
    dispi: [u16; 16],
    dispi_index: usize,
    reads: u32,
    /// What was touched that is not a VGA's.
    foreign: Vec<String>,
    /// POST is over.
    strict: bool,
}

impl Card {
    fn new() -> Self {
        let mut dispi = [0; 16];
        (dispi[0], dispi[10]) = (0xB0C5, (CARD_MEMORY >> 16) as u16);
        Self {
            rest: EmptyBoard::default(),
            memory: vec![0; CARD_MEMORY],
            indexed: BTreeMap::new(),
            ports: BTreeMap::new(),
            dispi,
            dispi_index: 0,
            reads: 0,
            foreign: Vec::new(),
            strict: false,
        }
    }
    fn foreign(&mut self, what: String) {
        if self.strict && self.foreign.len() < 4 {
            self.foreign.push(what);
        }
    }
    /// The memory behind an address of the windows.
    fn place(&self, addr: PhysAddr) -> Option<usize> {
        let offset = addr.0.checked_sub(VGA_MEMORY.start).filter(|_| VGA_MEMORY.contains(&addr.0))?;
        let bank = if offset < 0x1_0000 { usize::from(self.dispi[BANK]) << 16 } else { 0 };
        Some((bank + offset as usize) % CARD_MEMORY)
    }
    fn read_byte(&mut self, port: u16) -> u8 {
        self.reads += 1;
        let index = |port: u16, ports: &BTreeMap<u16, u8>| ports.get(&(port - 1)).copied().unwrap_or(0);
        match port {
            // Retraces come and go.
            0x3BA | 0x3DA => (self.reads >> 3) as u8 & 9,
            0x3B5 | 0x3C5 | 0x3CF | 0x3D5 => {
                let index = index(port, &self.ports);
                self.indexed.get(&(port, index)).copied().unwrap_or(0)
            }
            0x3CC => self.ports.get(&0x3C2).copied().unwrap_or(0),
            0x3B4 | 0x3C0..=0x3CE | 0x3D4 => self.ports.get(&port).copied().unwrap_or(0),
            _ => {
                self.foreign(format!("port {port:x}h is read"));
                0xFF
            }
        }
    }
    fn write_byte(&mut self, port: u16, value: u8) {
        match port {
            0x3B5 | 0x3C5 | 0x3CF | 0x3D5 => {
                let index = self.ports.get(&(port - 1)).copied().unwrap_or(0);
                self.indexed.insert((port, index), value);
            }
            0x3BA | 0x3DA | 0x3B4 | 0x3C0..=0x3CE | 0x3D4 => {
                self.ports.insert(port, value);
            }
            _ => self.foreign(format!("port {port:x}h is written")),
        }
    }
    fn dispi_read(&self) -> u32 {
        const LIMITS: [u16; 4] = [0, 4096, 2160, 32];
        let index = self.dispi_index;
        let limits = self.dispi[ENABLE] & 2 != 0 && (1..4).contains(&index);
        u32::from(if limits { LIMITS[index] } else { self.dispi[index] })
    }
    fn dispi_write(&mut self, value: u16) {
        match self.dispi_index {
            0 | 10.. => {}
            // Lines in memory are as long as those of the screen to begin with.
            ENABLE if value & 1 != 0 && self.dispi[ENABLE] & 1 == 0 => {
                let columns = self.dispi[1];
                self.dispi[5..10].copy_from_slice(&[0, columns, 0, 0, 0]);
                self.dispi[ENABLE] = value;
            }
            index => self.dispi[index] = value,
        }
    }
}

impl CpuBus for Card {
    fn set_retired(&mut self, instructions: u64) {
        self.rest.set_retired(instructions);
    }
    fn port_read(&mut self, port: Port, width: Width) -> u32 {
        match (port.0, width.bytes()) {
            (DISPI_INDEX, 2) => self.dispi_index as u32,
            (DISPI_DATA, 2) => self.dispi_read(),
            (port, 1) => self.read_byte(port).into(),
            (port, bytes) => {
                self.foreign(format!("port {port:x}h is read, {bytes} bytes"));
                width.mask() as u32
            }
        }
    }
    fn port_write(&mut self, port: Port, width: Width, value: u32) {
        match (port.0, width.bytes()) {
            (DISPI_INDEX, 2) => self.dispi_index = value as usize & 15,
            (DISPI_DATA, 2) => self.dispi_write(value as u16),
            (port, 1) => self.write_byte(port, value as u8),
            (port, 2) => {
                self.write_byte(port, value as u8);
                self.write_byte(port + 1, (value >> 8) as u8);
            }
            (port, bytes) => self.foreign(format!("port {port:x}h is written, {bytes} bytes")),
        }
    }
    fn port_call(&mut self, _port: Port, _registers: &mut PortRegisters) -> bool {
        false
    }
    fn mmio_read(&mut self, addr: PhysAddr, width: Width) -> u64 {
        let Some(at) = self.place(addr) else {
            self.foreign(format!("memory at {:x}h is read", addr.0));
            return width.mask();
        };
        let mut bytes = [0; 8];
        for (n, byte) in bytes.iter_mut().enumerate().take(width.bytes()) {
            *byte = self.memory[(at + n) % CARD_MEMORY];
        }
        u64::from_le_bytes(bytes)
    }
    fn mmio_write(&mut self, addr: PhysAddr, width: Width, value: u64) {
        let Some(at) = self.place(addr) else {
            return self.foreign(format!("memory at {:x}h is written", addr.0));
        };
        for (n, byte) in value.to_le_bytes().into_iter().enumerate().take(width.bytes()) {
            self.memory[(at + n) % CARD_MEMORY] = byte;
        }
    }
    fn now(&mut self) -> GuestTime {
        self.rest.now()
    }
    fn set_tsc_offset(&mut self, _offset: u64) {}
    fn set_ferr(&mut self, _asserted: bool) -> bool {
        true
    }
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        None
    }
    fn apic_msr_read(&mut self, _index: u32) -> Result<u64, NoSuchMsr> {
        Err(NoSuchMsr)
    }
    fn apic_msr_write(&mut self, _index: u32, _value: u64) -> Result<(), NoSuchMsr> {
        Err(NoSuchMsr)
    }
    fn task_priority(&mut self) -> u8 {
        0
    }
    fn set_task_priority(&mut self, _priority: u8) {}
    fn random(&mut self) -> u64 {
        4
    }
}

/// AX, BX, CX, DX, SI, DI, BP, ES.
type Registers = [u16; 8];

struct Emulator {
    machine: BareMachine,
    card: Card,
    /// Calls that touched something else.
    wrong: Vec<String>,
}

impl Emulator {
    /// With the ROM, whose INIT function has run as POST runs it.
    fn new(engine: Engine) -> Self {
        let machine = BareMachine::on(engine, 2 << 20);
        machine.all_ram();
        machine.memory.set_window(VGA_MEMORY, WindowRead::Device, WindowWrite::Device);
        machine.write(ROM_AT, &vga_bios::build().unwrap().image);
        // INT 15h of the system BIOS: here it has nothing to give.
        machine.write(CODE + 0x100, &[0xCF]);
        machine.write(4 * 0x15, &[0x00, 0x01, 0x00, 0x10]);
        let mut emulator = Self { machine, card: Card::new(), wrong: Vec::new() };
        emulator.run(&[0x9A, 3, 0, 0, 0xC0, 0xF4], &[0; 8]);
        // From here on the ROM's place cannot be written, and the system BIOS is not there.
        emulator.machine.memory.set_window(ROM_SPACE, WindowRead::Ram, WindowWrite::Device);
        emulator.machine.memory.set_window(ROM_SPACE.end..1 << 20, WindowRead::Device, WindowWrite::Device);
        emulator.machine.write(4 * 0x15, &[0; 4]);
        emulator.card.strict = true;
        emulator
    }
    /// Runs code that ends with HLT; the registers then.
    fn run(&mut self, code: &[u8], registers: &Registers) -> Registers {
        self.machine.write(CODE, code);
        let [a, b, c, d, si, di, bp, es] = *registers;
        let code_segment = (CODE >> 4) as u16;
        let registers =
            [a, b, c, d, code_segment, STACK_SEGMENT, 0x3333, es, STACK_TOP as u16, bp, si, di, 0, 2];
        self.machine.set_real_mode(&registers);
        let vcpu = &mut self.machine.vcpu;
        let mut left = MOST_INSTRUCTIONS;
        loop {
            let before = vcpu.retired();
            match vcpu.run(&mut self.card, left) {
                VcpuExit::Halted => break,
                VcpuExit::Budget => {}
                exit => panic!("{registers:x?}: {exit:?}"),
            }
            left -= vcpu.retired() - before;
            assert!(left > 0, "{registers:x?}: it goes on and on");
        }
        let [a, b, c, d, _, _, ds, es, sp, bp, si, di, ..] = self.machine.real_mode_registers();
        assert_eq!((ds, sp), (0x3333, STACK_TOP as u16), "{registers:x?}: DS, SP");
        [a, b, c, d, si, di, bp, es]
    }
    /// INT 10h.
    fn call(&mut self, registers: &Registers) -> Registers {
        let after = self.run(&[0xCD, 0x10, 0xF4], registers);
        if !self.card.foreign.is_empty() && self.wrong.len() < 20 {
            self.wrong.push(format!("{registers:x?}: {}", self.card.foreign.join(", ")));
        }
        self.card.foreign.clear();
        after
    }
    /// Low memory but for vectors of fonts, the BIOS data area, code and the stack.
    fn low_memory(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::from(BUFFER_SEGMENT) << 4];
        self.machine.memory.read(PhysAddr(0), &mut bytes);
        bytes[4 * 0x1F..][..4].fill(0);
        bytes[4 * 0x43..][..4].fill(0);
        bytes[0x400..0x500].fill(0);
        bytes[CODE as usize..][..0x100].fill(0);
        let stack = usize::from(STACK_SEGMENT) << 4;
        bytes[stack..stack + STACK_TOP as usize].fill(0);
        bytes
    }
}

/// Registers for function AX, tame where a call could take forever or is told to load what was never saved.
fn some_registers(random: &mut Random, function: u16) -> Registers {
    let mut word = || match random.below(4) {
        0 => random.below(16) as u16,
        1 => random.below(256) as u16,
        2 => random.below(16) as u16 * 0x101,
        _ => random.next() as u16,
    };
    let [mut b, mut c, mut d, si, di, bp] = std::array::from_fn(|_| word());
    match function >> 8 {
        // Characters by the thousand.
        0x09 | 0x0A | 0x13 => c %= 300,
        0x1C => b &= 0x3FFF,
        0x4F if function & 0xFF == 4 => (b, d) = (b & 0x3FFF, d & 0xFF01),
        _ => {}
    }
    // In front of the segment's end.
    [function, b, c, d, si & 0x3FFF, di & 0x3FFF, bp & 0x3FFF, BUFFER_SEGMENT]
}

fn every_function_needs_a_vga_and_nothing_else(engine: Engine) {
    let mut emulator = Emulator::new(engine);
    let mut random = Random::new(10);
    let before = emulator.low_memory();
    // Modes of each kind, and in each all functions.
    for mode in
        [0x03u16, 0x07, 0x04, 0x06, 0x0D, 0x12, 0x13, 0x102, 0x103, 0x10D, 0x112, 0x142, 0x4117, 0x109]
    {
        let functions = (0..0x14u16).map(|function| function << 8);
        let variants = [0x10u16, 0x11, 0x12, 0x1A, 0x1B, 0x1C, 0x4F]
            .into_iter()
            .flat_map(|function| (0..0x40).map(move |al| function << 8 | al));
        for function in functions.chain(variants) {
            let set = emulator.call(&[0x4F02, mode, 0, 0, 0, 0, 0, BUFFER_SEGMENT]);
            assert_eq!(set[0], 0x004F, "mode {mode:x}");
            // 1Ch and 4F04h restore what they have saved only.
            if function == 0x1C02 {
                continue;
            }
            let function = if function & 0xFF == 0 { function | random.below(256) as u16 } else { function };
            if function >> 8 == 0x1C && function & 0xFF == 2 {
                continue;
            }
            let registers = some_registers(&mut random, function);
            emulator.call(&registers);
            if random.percent(10) {
                emulator.call(&[0x0E41, 7, 0, 0, 0, 0, 0, BUFFER_SEGMENT]);
            }
        }
        let state = |dl: u16| [0x4F04, 0, 15, dl, 0, 0, 0, BUFFER_SEGMENT];
        emulator.call(&[0x4F02, mode, 0, 0, 0, 0, 0, BUFFER_SEGMENT]);
        emulator.call(&state(1));
        let saved = (emulator.card.dispi, emulator.card.indexed.clone());
        emulator.call(&[3, 0, 0, 0, 0, 0, 0, BUFFER_SEGMENT]);
        emulator.call(&state(2));
        emulator.card.dispi[ENABLE] &= 0xFF7F;
        let restored = (emulator.card.dispi, emulator.card.indexed.clone());
        assert_eq!(restored, saved, "mode {mode:x}: saved and restored");
    }
    assert!(emulator.wrong.is_empty(), "{}", emulator.wrong.join("\n"));
    assert!(emulator.low_memory() == before, "low memory was written to");
}

/// A mode, its columns, and the bytes of a pixel.
const DRAWN: [(u16, usize, usize); 7] = [
    (0x101, 640, 1),
    (0x10D, 320, 2),
    (0x111, 640, 2),
    (0x112, 640, 3),
    (0x115, 800, 3),
    (0x142, 640, 4),
    (0x144, 1024, 4),
];

fn drawing_in_modes_of_vbe_goes_where_it_should(engine: Engine) {
    let mut emulator = Emulator::new(engine);
    let mut random = Random::new(11);
    for (mode, columns, bytes) in DRAWN {
        emulator.card.memory.fill(0);
        let call = |emulator: &mut Emulator, [a, b, c, d]: [u16; 4]| {
            emulator.call(&[a, b, c, d, 0, 0, 0, BUFFER_SEGMENT])
        };
        assert_eq!(call(&mut emulator, [0x4F02, mode, 0, 0])[0], 0x004F);
        // White in all modes: 15, or all bits that are a colour.
        let white: Vec<u8> = match (mode, bytes) {
            (_, 1) => vec![15],
            (0x10D, _) => vec![0xFF, 0x7F],
            (_, 4) => vec![0xFF, 0xFF, 0xFF, 0],
            _ => vec![0xFF; bytes],
        };
        let at = |column: usize, line: usize| (line * columns + column) * bytes;
        let pixel =
            |emulator: &Emulator, column, line| emulator.card.memory[at(column, line)..][..bytes].to_vec();
        let lines = if mode == 0x10D { 200 } else { 400 };
        for _ in 0..200 {
            let (column, line) = (random.below(columns as u64) as usize, random.below(lines) as usize);
            call(&mut emulator, [0x0C0F, 0, column as u16, line as u16]);
            assert_eq!(pixel(&emulator, column, line), white, "mode {mode:x}: {column}, {line}");
            let read = call(&mut emulator, [0x0D00, 0, column as u16, line as u16])[0];
            assert_eq!(read & 0xFF, 15, "mode {mode:x}: {column}, {line}");
        }
        // The screen's upper part is cleared, then rows move: a block, and the sum of what is drawn.
        let height = if mode == 0x10D { 8 } else { 16 };
        call(&mut emulator, [0x0600, 0, 0, 0xFFFF]);
        let drawn = |emulator: &Emulator| {
            emulator.card.memory[..SHOWN_MEMORY].chunks(bytes).filter(|pixel| **pixel == white[..]).count()
        };
        assert_eq!(drawn(&emulator), 0, "mode {mode:x}: cleared");
        let cell = |emulator: &Emulator, column: usize, row: usize| {
            let places = (row * height..(row + 1) * height).flat_map(|line| (0..8).map(move |x| (x, line)));
            places.filter(|(x, line)| pixel(emulator, column * 8 + x, *line) == white).count()
        };
        for (column, row) in [(3u16, 2u16), (13, 7), (25, 20)] {
            call(&mut emulator, [0x0200, 0, 0, row << 8 | column]);
            call(&mut emulator, [0x09DB, 15, 1, 0]);
            let (column, row) = (usize::from(column), usize::from(row));
            assert_eq!(
                (cell(&emulator, column, row), drawn(&emulator)),
                (8 * height, 8 * height),
                "mode {mode:x}"
            );
            // Read back, moved up by two rows in a window, and down by one.
            assert_eq!(call(&mut emulator, [0x0800, 0, 0, 0])[0] & 0xFF, 0xDB, "mode {mode:x}");
            call(&mut emulator, [0x0602, 0, 0x0000, 0x1827]);
            assert_eq!(
                (cell(&emulator, column, row - 2), drawn(&emulator)),
                (8 * height, 8 * height),
                "mode {mode:x}: up"
            );
            call(&mut emulator, [0x0701, 0, 0x0000, 0x1827]);
            assert_eq!(
                (cell(&emulator, column, row - 1), drawn(&emulator)),
                (8 * height, 8 * height),
                "mode {mode:x}: down"
            );
            call(&mut emulator, [0x0600, 0, 0, 0xFFFF]);
        }
        // A teletype scrolls below the last row: its character goes up by one.
        let last = emulator.machine.read_byte(0x484);
        call(&mut emulator, [0x0200, 0, 0, u16::from(last) << 8 | 5]);
        call(&mut emulator, [0x0EDB, 15, 0, 0]);
        call(&mut emulator, [0x0E0A, 15, 0, 0]);
        assert_eq!(
            (cell(&emulator, 5, usize::from(last) - 1), drawn(&emulator)),
            (8 * height, 8 * height),
            "mode {mode:x}: a new row"
        );
    }
    assert!(emulator.wrong.is_empty(), "{}", emulator.wrong.join("\n"));
}

fn protected_mode_code_runs_at_any_address(engine: Engine) {
    const BLOCK_AT: u64 = 0x12_3450;
    const CALLER: u64 = 0x12_0000;
    const COLOURS: u64 = 0x3_0000;
    let mut emulator = Emulator::new(engine);
    emulator.call(&[0x4F02, 0x4144, 0, 0, 0, 0, 0, BUFFER_SEGMENT]);
    let [answer, _, bytes, .., at, _, segment] = emulator.call(&[0x4F0A, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(answer, 0x004F);
    let mut block = vec![0; bytes.into()];
    emulator.machine.memory.read(PhysAddr((u64::from(segment) << 4) + u64::from(at)), &mut block);
    emulator.machine.write(BLOCK_AT, &block);
    emulator.machine.write(COLOURS, &[0x30, 0x20, 0x10, 0, 3, 2, 1, 0]);
    let word = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
    let call = |emulator: &mut Emulator, entry: u16, [b, c, d]: [u64; 3]| {
        // CALL relative, HLT.
        let target = BLOCK_AT as u32 + u32::from(entry) - (CALLER as u32 + 5);
        emulator.machine.write(CALLER, &[&[0xE8], &target.to_le_bytes()[..], &[0xF4]].concat());
        let vcpu = &mut emulator.machine.vcpu;
        vcpu.reset();
        let mut state = vcpu.state();
        state.activity = Activity::Active;
        state.cr0 = 0x11;
        let data = Segment { base: 0, limit: u32::MAX, attributes: 0xC093, selector: 0x10 };
        state.segments = [data; 6];
        state.segments[1] = Segment { attributes: 0xC09B, selector: 8, ..data };
        (state.gpr[1], state.gpr[2], state.gpr[3]) = (c, d, b);
        (state.gpr[4], state.gpr[7]) = (0x2_1000, COLOURS);
        (state.rip, state.rflags, state.cpl) = (CALLER, 2, 0);
        vcpu.set_state(&state);
        assert!(matches!(vcpu.run(&mut emulator.card, 1_000_000), VcpuExit::Halted));
        let after = vcpu.state();
        assert_eq!((after.gpr[4], after.rip), (0x2_1000, CALLER + 6), "it returned");
        assert_eq!(emulator.card.foreign, Vec::<String>::new());
    };
    call(&mut emulator, word(0), [0, 0, 5]);
    assert_eq!(emulator.card.dispi[BANK], 5);
    // Line 7, column 24 of 1024 with 32 bits.
    let start = 7 * 1024 + 24u64;
    call(&mut emulator, word(2), [0x80, start & 0xFFFF, start >> 16]);
    assert_eq!(emulator.card.dispi[8..10], [24, 7]);
    call(&mut emulator, word(4), [0, 2, 200]);
    assert_eq!(emulator.card.ports[&0x3C8], 200);
    assert_eq!(emulator.card.ports[&0x3C9], 3, "blue comes last");
}
