//! An instruction that faults leaves registers and flags as they were, whatever the engine did for it before its
//! access. The address is the one that translated code takes for the page of an empty inline cache, so that
//! its check lets the access through and the host's fault takes it back.

use iced_x86::code_asm::*;
use iced_x86::{Decoder, DecoderOptions, FlowControl};
use trimotor_bt_jit::engine_area::InlineCache;
use trimotor_cpu::state::Activity;
use trimotor_cpu::{ArchState, VcpuExit};

use crate::support::bare::{BareMachine, LONG_MODE_CODE, LONG_MODE_DATA};
use crate::support::engines::{ENGINES, JIT};
use crate::support::needs::Tests;

pub fn tests() -> Tests {
    Tests::needing(&[JIT])
        .test(registers_and_flags_are_unchanged)
        .test(flags_of_the_instruction_before_are_exact)
}

const NOWHERE: u64 = InlineCache::NOWHERE + 0x40;
/// RAX to R15: RSP, RBP, RSI and RDI lead nowhere.
const REGISTERS: [u64; 16] = [
    0x8877_6655_4433_2211,
    0x0102_0304_FF07_0701,
    0x1122_3344_5566_7788,
    0x99AA_BBCC_DDEE_FF00,
    NOWHERE,
    NOWHERE,
    NOWHERE,
    NOWHERE,
    0x8080_8080_8080_8080,
    0x9090_9090_9090_9090,
    0xA0A0_A0A0_A0A0_A0A0,
    0xB0B0_B0B0_B0B0_B0B0,
    0xC0C0_C0C0_C0C0_C0C0,
    0xD0D0_D0D0_D0D0_D0D0,
    0xE0E0_E0E0_E0E0_E0E0,
    LONG_MODE_DATA,
];
/// Carry, sign and overflow; interrupts are off.
const FLAGS: u64 = 0x883;

/// The state of user code that is about to run at [`LONG_MODE_CODE`].
fn user_state(m: &BareMachine) -> ArchState {
    let mut s = m.vcpu.state();
    s.cpl = 3;
    for segment in &mut s.segments {
        segment.attributes |= 0x60;
        segment.selector |= 3;
    }
    s.gpr = REGISTERS;
    s.rflags = FLAGS;
    for (n, ymm) in s.ymm.iter_mut().enumerate() {
        *ymm = [n as u64 + 1; 4];
    }
    s.activity = Activity::Active;
    s.rip = LONG_MODE_CODE;
    s
}

/// Runs user code once on each engine until it ends in a shutdown, as there is no IDT.
struct Pair {
    machines: Vec<BareMachine>,
    begin: ArchState,
    /// Where code goes next: never where code was, as code that is written again and again is left to the interpreter.
    at: u64,
}

impl Pair {
    fn new() -> Pair {
        let machines: Vec<_> = ENGINES.map(|case| BareMachine::long_mode_on(case.value, &[0xF4])).into();
        let begin = user_state(&machines[0]);
        Pair { machines, begin, at: LONG_MODE_CODE }
    }
    /// Blocks that the machines have translated.
    fn translated(&self) -> u64 {
        let statistics = self.machines.iter().flat_map(|m| m.vcpu.statistics());
        statistics.filter(|(line, _)| line == "translated blocks").map(|(_, count)| count).sum()
    }
    /// The states at the end, which no longer say that the vCPU is shut down, and how much retired.
    fn run(&mut self, code: &[u8]) -> Vec<(ArchState, u64)> {
        self.at += 64;
        if self.at + 64 > LONG_MODE_DATA {
            *self = Pair::new();
        }
        let at = self.at;
        self.begin.rip = at;
        let begin = &self.begin;
        let run = |m: &mut BareMachine| {
            m.write(at, code);
            m.vcpu.set_state(begin);
            let before = m.vcpu.retired();
            // Enough for a whole block: what the budget does not cover is left to the interpreter.
            let exit = m.vcpu.run(&mut m.bus, 1000);
            assert!(matches!(exit, VcpuExit::Shutdown(_)), "{code:02x?}: {exit:?}");
            let mut end = m.vcpu.state();
            let retired = end.retired - before;
            (end.activity, end.retired, end.cr2) = (begin.activity, begin.retired, begin.cr2);
            (end, retired)
        };
        self.machines.iter_mut().map(run).collect()
    }
}

/// Instructions with an operand at RSI, or none: each opcode of one and two bytes, with the prefixes that make another
/// instruction of it, and each register.
fn forms() -> impl Iterator<Item = Vec<u8>> {
    let prefixes: [&[u8]; 7] = [&[], &[0x66], &[0xF2], &[0xF3], &[0x48], &[0x4C], &[0xF0]];
    let maps: [&[u8]; 2] = [&[], &[0x0F]];
    prefixes.into_iter().flat_map(move |prefix| {
        maps.into_iter().flat_map(move |map| {
            (0..=255).flat_map(move |opcode| {
                (0..8u8).map(move |register| {
                    let mut code = [prefix, map, &[opcode, register << 3 | 6]].concat();
                    code.extend_from_slice(&[0x05; 8]);
                    code
                })
            })
        })
    })
}

/// The bytes of the first instruction, if it is one that goes on behind itself or by way of memory.
fn first_instruction(code: &[u8]) -> Option<&[u8]> {
    use FlowControl as F;
    let i = Decoder::new(64, code, DecoderOptions::NONE).decode();
    let stays =
        matches!(i.flow_control(), F::Next | F::Call | F::Return | F::IndirectBranch | F::IndirectCall);
    (!i.is_invalid() && stays).then(|| &code[..i.len()])
}

fn registers_and_flags_are_unchanged() {
    let mut pair = Pair::new();
    let mut faulted = 0;
    for form in forms() {
        let Some(code) = first_instruction(&form) else { continue };
        // What does not fault is followed by an instruction that does.
        let ends = pair.run(&[code, &[0xF4]].concat());
        for (end, retired) in &ends {
            if *retired == 0 {
                faulted += 1;
                let found = pair.begin.differences(end);
                assert!(found.is_empty(), "{code:02x?}: {found:?}");
            }
        }
    }
    assert!(faulted > 5000, "{faulted} forms faulted");
    assert!(pair.machines.len() < 2 || pair.translated() > 5000, "the translator ran them");
}

/// What an instruction before it left to be computed from is not lost where the next one keeps something too.
fn flags_of_the_instruction_before_are_exact() {
    let mut a = CodeAssembler::new(64).unwrap();
    a.shl(eax, 3).unwrap();
    a.add(ecx, dword_ptr(rsi)).unwrap();
    a.mov(edx, dword_ptr(r15)).unwrap();
    a.xor(eax, eax).unwrap();
    a.mov(edx, dword_ptr(r15 + 8)).unwrap();
    a.hlt().unwrap();
    let ends = Pair::new().run(&a.assemble(LONG_MODE_CODE).unwrap());
    for (end, retired) in &ends {
        assert_eq!((*retired, end.gpr[0], end.gpr[1]), (1, 0x2199_1088, REGISTERS[1]));
        // SHL of ECX would have given a sign, a carry and no parity.
        assert_eq!(end.rflags & 0xC5, 0x04, "no sign, not zero, parity, no carry");
    }
    assert!(ends.windows(2).all(|w| w[0] == w[1]));
}
