//! Effective addresses are exact, whatever their constants come to: displacements at the ends of their range, alone and
//! added to what other instructions have added to the same register.

use iced_x86::{Code, Encoder, Instruction, MemoryOperand, Register};
use trimotor_cpu::VcpuExit;
use trimotor_cpu::state::Activity;
use trimotor_machine::engines::Engine;

use crate::support::bare::{BareMachine, LONG_MODE_CODE, LONG_MODE_DATA};
use crate::support::engines::ENGINES;
use crate::support::needs::Tests;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINES, each_form_is_exact)
        .each(&ENGINES, addresses_relative_to_rip_are_exact)
        .each(&ENGINES, loads_relative_to_rip_reach_2_gib_both_ways)
        .each(&ENGINES, constants_that_add_up_are_exact)
        .each(&ENGINES, strings_reach_both_ends_of_the_address_space)
}

/// What is mapped, in pages, from [`LONG_MODE_CODE`] on and at the same distance from other GiBs: each of them has
/// the pages rotated by another number of pages, so that an address that is wrong by 4 GiB finds something else.
const PAGES: u64 = 1536;
const OTHER_GIBS: [(u64, u64); 4] = [(2, 8), (4, 16), (508, 24), (510, 32)];
/// Page tables for those.
const TABLES: u64 = 0x20_0000;
const EXTREMES: [i32; 11] =
    [0, 1, -1, 127, -128, 0x1_2345, -0x1_2345, i32::MAX, i32::MIN, i32::MAX - 7, i32::MIN + 0x80];
const NEAR: [i32; 6] = [8, 0x20, 0x40, 0x80, -8, -0x40];
/// How often the random programs are made anew.
const PROGRAMS: u64 = 1500;

/// A guest with memory around its data and code, and 2 and 4 GiB below and above these.
struct Guest {
    engine: Engine,
    m: BareMachine,
    bits: u32,
    /// Where code was last placed.
    at: u64,
    runs: u64,
}

impl Guest {
    fn new(engine: Engine, bits: u32) -> Guest {
        let m = BareMachine::long_mode_on(engine, &[0xF4]);
        let entry = |at: u64, value: u64| m.write(at, &(value | 7).to_le_bytes());
        let (root, upper) = (0x1000, 0x2000);
        entry(root + 8 * 511, upper);
        for (n, (gib, _)) in OTHER_GIBS.into_iter().enumerate() {
            let directory = TABLES + n as u64 * 0x1_0000;
            entry(upper + 8 * gib, directory);
            for page in 0..PAGES {
                let linear = (gib << 30) + LONG_MODE_CODE + page * 4096;
                let table = directory + 4096 * (1 + page / 512);
                entry(directory + 8 * (linear >> 21 & 511), table);
                entry(table + 8 * (page % 512), physical(linear));
            }
        }
        for page in 0..64 {
            let at = LONG_MODE_DATA + page * 4096 + 0x700;
            (0..64).for_each(|n| m.write(at + 8 * n, &pattern(at + 8 * n).to_le_bytes()));
        }
        Guest { engine, m, bits, at: LONG_MODE_CODE, runs: 0 }
    }
    /// A place for code that was nowhere before, at `offset` in blocks of `bytes` bytes: where code is written again and
    /// again the translator leaves it to the interpreter.
    fn fresh(&mut self, bytes: u64, offset: u64) -> u64 {
        self.at = (self.at + 1).next_multiple_of(bytes);
        assert!(self.at + bytes <= LONG_MODE_DATA, "room for code");
        self.at + offset
    }
    fn mask(&self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }
    /// Runs `code` at `at`, with these registers, to HLT; the registers at the end.
    fn run(&mut self, code: &[u8], at: u64, registers: &[u64; 16], cpl: u8) -> [u64; 16] {
        self.m.write(at, code);
        self.runs += 1;
        let mut s = self.m.vcpu.state();
        s.gpr = *registers;
        s.rip = at;
        s.rflags = 2;
        s.activity = Activity::Active;
        s.cpl = cpl;
        for segment in &mut s.segments {
            segment.attributes = 0xC093 | u16::from(cpl) << 5;
            segment.selector = 0x10 | u16::from(cpl);
        }
        s.segments[1].attributes = u16::from(cpl) << 5 | if self.bits == 64 { 0xA09B } else { 0xC09B };
        self.m.vcpu.set_state(&s);
        // Enough for whole blocks: what the budget does not cover is left to the interpreter.
        let exit = self.m.vcpu.run(&mut self.m.bus, 1000);
        let end = self.m.vcpu.state();
        // At CPL 3 HLT raises #GP, and there is no IDT.
        let at_hlt = if cpl == 0 {
            matches!(exit, VcpuExit::Halted)
        } else {
            matches!(exit, VcpuExit::Shutdown(_)) && self.m.read_byte(end.rip) == 0xF4
        };
        assert!(
            at_hlt,
            "{}, {} bits, CPL {cpl}: {exit:?} at {:#x}: {code:02x?}",
            self.engine, self.bits, end.rip
        );
        end.gpr
    }
}

impl Drop for Guest {
    /// Says so if it was not the translator that ran.
    fn drop(&mut self) {
        if self.engine == Engine::Jit && !std::thread::panicking() {
            let statistics = self.m.vcpu.statistics();
            let blocks =
                statistics.iter().find(|(line, _)| line == "translated blocks").map(|&(_, count)| count);
            assert!(blocks >= Some(self.runs), "{blocks:?} blocks in {} runs", self.runs);
        }
    }
}

/// Where a linear address leads.
fn physical(linear: u64) -> u64 {
    let rotated = OTHER_GIBS.into_iter().find(|(gib, _)| linear >> 30 & 511 == *gib).map_or(0, |(_, by)| by);
    let page = ((linear & 0x3FFF_FFFF) - LONG_MODE_CODE) >> 12;
    let there = page / 512 * 512 + (page + rotated) % 512;
    LONG_MODE_CODE + there * 4096 + (linear & 4095)
}

/// What is at a physical data address.
fn pattern(at: u64) -> u64 {
    at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 3
}

/// Code under construction for `bits`.
struct Program {
    encoder: Encoder,
    at: u64,
    long: bool,
}

impl Program {
    fn new(bits: u32, at: u64) -> Program {
        Program { encoder: Encoder::new(bits), at, long: bits == 64 }
    }
    fn push(&mut self, i: &Instruction) {
        self.at += self.encoder.encode(i, self.at).unwrap() as u64;
    }
    /// Has the pages around `at` that are 4 GiB away found by the engine: an address that is wrong by that is not
    /// noticed otherwise. They displace each other in the engine's table; the one above, where negative displacements
    /// wrap to, comes last. Changes R14 and R15.
    fn touch_wrong_pages(&mut self, at: u64) {
        if !self.long {
            return;
        }
        let is_mapped = |wrong: &u64| OTHER_GIBS.iter().any(|(gib, _)| wrong >> 30 & 511 == *gib);
        for wrong in [at.wrapping_sub(1 << 32), at.wrapping_add(1 << 32)].into_iter().filter(is_mapped) {
            for _ in 0..2 {
                self.push(&Instruction::with2(Code::Mov_r64_imm64, Register::R14, wrong).unwrap());
                self.load(15, operand(Some(14), None, 0, true));
            }
        }
    }
    fn finish(mut self) -> Vec<u8> {
        let mut code = self.encoder.take_buffer();
        code.push(0xF4);
        code
    }
    fn register(&self, n: usize) -> Register {
        sized(n, self.long)
    }
    fn lea(&mut self, to: usize, from: MemoryOperand) {
        let code = if self.long { Code::Lea_r64_m } else { Code::Lea_r32_m };
        self.push(&Instruction::with2(code, self.register(to), from).unwrap());
    }
    fn load(&mut self, to: usize, from: MemoryOperand) {
        let code = if self.long { Code::Mov_r64_rm64 } else { Code::Mov_r32_rm32 };
        self.push(&Instruction::with2(code, self.register(to), from).unwrap());
    }
}

fn sized(n: usize, long: bool) -> Register {
    (if long { Register::RAX } else { Register::EAX }) + n as u32
}

/// `[base + index * scale + displacement]` with addresses of 64 bits or 32.
fn operand(base: Option<usize>, index: Option<(usize, u32)>, displacement: i32, long: bool) -> MemoryOperand {
    let name = |n: Option<usize>| n.map_or(Register::None, |n| sized(n, long));
    let scale = index.map_or(1, |(_, scale)| scale);
    let index = name(index.map(|(n, _)| n));
    let size = match (displacement, base) {
        (_, None) if long => 8,
        (_, None) => 4,
        (0, _) => 0,
        (-128..=127, _) => 1,
        _ if long => 8,
        _ => 4,
    };
    MemoryOperand::new(name(base), index, scale, displacement.into(), size, false, Register::None)
}

/// Each form of base, index, scale and displacement, for LEA and for a load.
fn each_form_is_exact(engine: Engine) {
    for bits in [64, 32] {
        let mut guest = Guest::new(engine, bits);
        // R8 to R11 are not in registers of the host's.
        let bases: &[usize] = if bits == 64 { &[3, 4, 5, 8, 12] } else { &[3, 4, 5] };
        let indices: &[usize] = if bits == 64 { &[1, 9, 13] } else { &[1] };
        let sizes: &[bool] = if bits == 64 { &[true, false] } else { &[false] };
        for (&base, displacement) in bases.iter().flat_map(|base| EXTREMES.map(|d| (base, d))) {
            let scales = indices.iter().flat_map(|&index| [1, 2, 4, 8].map(|scale| Some((index, scale))));
            for index in scales.chain([None]) {
                for &long in sizes {
                    one_form(&mut guest, base, index, displacement, long);
                }
            }
        }
    }
}

fn one_form(guest: &mut Guest, base: usize, index: Option<(usize, u32)>, displacement: i32, long: bool) {
    let at = LONG_MODE_DATA + 0x720;
    let counted = 0xFFFF_FFFF_9ABC_DEF0u64;
    let (mask, cut) = (guest.mask(), if long { u64::MAX } else { 0xFFFF_FFFF });
    let scaled = index.map_or(0, |(_, scale)| counted.wrapping_mul(scale.into()));
    let mut registers = [0; 16];
    if let Some((index, _)) = index {
        registers[index] = counted & mask;
    }
    registers[base] = at.wrapping_sub(scaled).wrapping_sub(displacement as i64 as u64) & mask;
    let start = guest.fresh(64, 0);
    let mut p = Program::new(guest.bits, start);
    let place = operand(Some(base), index, displacement, long);
    p.lea(6, place);
    p.load(7, place);
    p.lea(2, operand(Some(base), index, displacement.wrapping_add(0x40), long));
    let end = guest.run(&p.finish(), start, &registers, 0);
    let further = at.wrapping_add((displacement.wrapping_add(0x40) as i64 - displacement as i64) as u64);
    let expected = [at & cut, pattern(at) & mask, further & cut & mask];
    let found = [end[6], end[7], end[2]];
    assert_eq!(found, expected, "{}, {} bits: {place:?}", guest.engine, guest.bits);
}

fn addresses_relative_to_rip_are_exact(engine: Engine) {
    let mut guest = Guest::new(engine, 64);
    for offset in [0, 0x7F0, 0xF80] {
        for displacement in EXTREMES {
            for (base, cut) in [(Register::RIP, u64::MAX), (Register::EIP, 0xFFFF_FFFF)] {
                let start = guest.fresh(4096, offset);
                let next = start + 7 + u64::from(base == Register::EIP);
                let target = next.wrapping_add(displacement as i64 as u64) & cut;
                let place = MemoryOperand::with_base_displ_size(base, target as i64, 8);
                let mut p = Program::new(64, start);
                p.lea(0, place);
                let end = guest.run(&p.finish(), start, &[0; 16], 0);
                assert_eq!(end[0], target, "{engine}: {base:?}{displacement:+#x} at {offset:#x}");
            }
        }
    }
}

/// Loads relative to RIP from the ends of what it reaches, which lie in one group.
fn loads_relative_to_rip_reach_2_gib_both_ways(engine: Engine) {
    for (cpl, way) in [0, 3].into_iter().flat_map(|cpl| [(cpl, i32::MAX), (cpl, i32::MIN)]) {
        let mut guest = Guest::new(engine, 64);
        let start = guest.fresh(4096, 0xF00);
        let mut p = Program::new(64, start);
        let inward = |more: i32| if way > 0 { way - 0x400 - more } else { way + 0x400 + more };
        // The loads begin some 0x40 bytes on.
        p.touch_wrong_pages((start + 0x60).wrapping_add(inward(0) as i64 as u64));
        let mut expected = [0; 2];
        for (n, (register, more)) in [(0, 0), (3, 0x40)].into_iter().enumerate() {
            let next = p.at + 7;
            let target = next.wrapping_add(inward(more) as i64 as u64);
            expected[n] = pattern(physical(target));
            guest.m.write(physical(target), &expected[n].to_le_bytes());
            p.load(register, MemoryOperand::with_base_displ_size(Register::RIP, target as i64, 8));
        }
        let end = guest.run(&p.finish(), start, &[0; 16], cpl);
        assert_eq!([end[0], end[3]], expected, "{engine}, CPL {cpl}, {way:+#x}");
    }
}

/// Numbers from a seed.
struct Random(u64);
impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Registers that random programs change; 9 and 10 stay in memory.
const POINTERS: [usize; 4] = [0, 3, 9, 10];
/// Where they load to.
const LOADED: [usize; 4] = [2, 6, 12, 11];

/// Random programs that move pointers by large constants and load by them: the sums are exact in the end.
fn constants_that_add_up_are_exact(engine: Engine) {
    for bits in [64, 32] {
        let mut guest = Guest::new(engine, bits);
        let mut random = Random(7);
        for n in 0..PROGRAMS {
            one_program(&mut guest, &mut random, if n & 1 == 0 { 0 } else { 3 });
        }
    }
}

fn one_program(guest: &mut Guest, random: &mut Random, cpl: u8) {
    let (bits, mask, long) = (guest.bits, guest.mask(), guest.bits == 64);
    let few = if long { 4 } else { 2 };
    let mut values = [0; 16];
    for n in &POINTERS[..few] {
        let far = if random.below(2) == 0 { i32::MIN } else { random.pick(&EXTREMES) } as i64 as u64;
        values[*n] = (LONG_MODE_DATA + 0x800).wrapping_sub(far) & mask;
    }
    let begin = values;
    let start = guest.fresh(256, 0);
    let mut p = Program::new(bits, start);
    p.touch_wrong_pages(LONG_MODE_DATA + 0x700);
    for _ in 0..14 {
        let to = random.pick(&POINTERS[..few]);
        let from = random.pick(&POINTERS[..few]);
        let constant = if random.below(2) == 0 { random.pick(&NEAR) } else { random.pick(&EXTREMES) };
        let moved = |value: u64, by: i64| value.wrapping_add(by as u64) & mask;
        match random.below(8) {
            0 => {
                p.lea(to, operand(Some(from), None, constant, long));
                values[to] = moved(values[from], constant.into());
            }
            1 | 2 => {
                let subtracts = random.below(2) == 1;
                let code = match (subtracts, long) {
                    (false, true) => Code::Add_rm64_imm32,
                    (true, true) => Code::Sub_rm64_imm32,
                    (false, false) => Code::Add_rm32_imm32,
                    (true, false) => Code::Sub_rm32_imm32,
                };
                p.push(&Instruction::with2(code, p.register(to), constant).unwrap());
                let constant = i64::from(constant);
                values[to] = moved(values[to], if subtracts { -constant } else { constant });
            }
            3 => {
                let code = if long { Code::Mov_r64_rm64 } else { Code::Mov_r32_rm32 };
                p.push(&Instruction::with2(code, p.register(to), p.register(from)).unwrap());
                values[to] = values[from];
            }
            _ => {
                // From where pointers lie within reach upwards: displacements are near the lower end of theirs.
                let at = LONG_MODE_DATA + 0x800 + 8 * random.below(24);
                let distance = at.wrapping_sub(values[from]);
                let displacement = if long { distance as i64 } else { distance as i32 as i64 };
                let Ok(displacement) = i32::try_from(displacement) else { continue };
                let to = random.pick(&LOADED[..few]);
                p.load(to, operand(Some(from), None, displacement, long));
                values[to] = pattern(at) & mask;
            }
        }
    }
    let end = guest.run(&p.finish(), start, &begin, cpl);
    let changed =
        |values: &[u64; 16]| [POINTERS, LOADED].concat().iter().map(|&n| values[n]).collect::<Vec<_>>();
    assert_eq!(changed(&end), changed(&values), "{}, {bits} bits, CPL {cpl}", guest.engine);
}

/// Strings that begin at the first byte of the address space, and end with the last one of what addresses are cut to.
fn strings_reach_both_ends_of_the_address_space(engine: Engine) {
    for bits in [64, 32] {
        let mut guest = Guest::new(engine, bits);
        guest.m.write(0, &[7; 16]);
        let mut registers = [0; 16];
        // REP MOVSB, from 0; REP STOSB at 0
        (registers[1], registers[6], registers[7]) = (16, 0, LONG_MODE_DATA);
        let at = guest.fresh(64, 0);
        let end = guest.run(&[0xF3, 0xA4, 0xF4], at, &registers, 0);
        assert_eq!((end[1], end[6], end[7]), (0, 16, LONG_MODE_DATA + 16), "{engine}, {bits} bits");
        assert_eq!(guest.m.read_byte(LONG_MODE_DATA + 15), 7);
        (registers[0], registers[7]) = (9, 0);
        let at = guest.fresh(64, 0);
        let end = guest.run(&[0xF3, 0xAA, 0xF4], at, &registers, 0);
        assert_eq!((end[1], end[7], guest.m.read_byte(15)), (0, 16, 9), "{engine}, {bits} bits");
        // LODSB of the last byte, which nothing maps: the address is not a sum that wraps.
        registers[6] = guest.mask();
        registers[1] = 1;
        guest.m.write(LONG_MODE_CODE, &[0xF3, 0xAC, 0xF4]);
        let mut s = guest.m.vcpu.state();
        (s.gpr, s.rip, s.activity) = (registers, LONG_MODE_CODE, Activity::Active);
        guest.m.vcpu.set_state(&s);
        assert!(
            matches!(guest.m.vcpu.run(&mut guest.m.bus, 10), VcpuExit::Shutdown(_)),
            "{engine}, {bits} bits"
        );
        assert_eq!(guest.m.vcpu.state().gpr[6], guest.mask(), "{engine}, {bits} bits");
    }
}
