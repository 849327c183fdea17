//! x87 and MMX code on the host's x87: the same end state as on the interpreter, and without handing each
//! instruction over.

use crate::TRANSLATOR;
use crate::flat::{DATA, vcpu};
use trimotor_bt_jit::Translator;
use trimotor_bus::empty_board::EmptyBoard;
use trimotor_cpu::state::Activity;
use trimotor_cpu::{ArchState, CpuBackend, VcpuExit};
use trimotor_cpu_interp::Interpreter;
use trimotor_test_needs::Tests;

pub fn tests() -> Tests {
    Tests::needing(&[TRANSLATOR])
        .test(arithmetic_runs_on_the_hosts_unit)
        .test(the_registers_survive_the_ends_of_slices)
        .test(the_host_never_sees_an_exception_unmasked)
        .test(mmx_runs_on_the_hosts_unit)
}

/// How a run on one engine ended.
struct End {
    state: ArchState,
    data: Vec<u8>,
    /// Interpreter fallbacks of the translator.
    fallbacks: Option<u64>,
}

/// Runs `code`, 32-bit in flat segments without paging, up to its HLT, in slices of `slice` instructions.
fn run(engine: &mut dyn CpuBackend, code: &[u8], data: &[u8], slice: u64) -> End {
    let (_memory, mut vcpu) = vcpu(engine, code, data);
    while vcpu.run(&mut EmptyBoard::default(), slice) == VcpuExit::Budget {}
    let fallbacks = vcpu.statistics().into_iter().find(|(name, _)| name == "interpreter fallbacks");
    let mut after = vec![0; data.len()];
    assert_eq!(vcpu.read_linear(DATA, &mut after), data.len());
    End { state: vcpu.state(), data: after, fallbacks: fallbacks.map(|(_, n)| n) }
}

/// Runs `code` on both engines, and compares; returns how the translator's run ended.
fn check(code: &[u8], data: &[u8], slice: u64) -> End {
    let ours = run(&mut Translator::new().unwrap(), code, data, slice);
    let theirs = run(&mut Interpreter::new(), code, data, slice);
    assert_eq!(ours.state, theirs.state);
    assert_eq!(ours.data, theirs.data);
    assert_eq!(ours.state.activity, Activity::Halted);
    ours
}

/// An integer, a number, room for results, and the control words for truncation and for
/// division by zero unmasked.
fn data() -> Vec<u8> {
    let mut data = vec![0; 64];
    data[0..4].copy_from_slice(&7_i32.to_le_bytes());
    data[8..16].copy_from_slice(&1.1_f64.to_le_bytes());
    data[0x1A..0x1C].copy_from_slice(&0xF7F_u16.to_le_bytes());
    data[0x20..0x22].copy_from_slice(&0x37B_u16.to_le_bytes());
    data[0x22..0x24].copy_from_slice(&0x37F_u16.to_le_bytes());
    data
}

/// A thousand times: arithmetic, a conversion as compilers make it, comparisons.
const ARITHMETIC: &[u8] = &[
    0xDB, 0xE3, // FNINIT
    0xD9, 0xE8, 0xD9, 0xEE, // FLD1; FLDZ
    0xB9, 0xE8, 0x03, 0, 0, // MOV ECX, 1000
    0xD8, 0xC1, // FADD ST0, ST1
    0xDB, 0x05, 0x00, 0x20, 0, 0, // FILD dword [2000h]
    0xDC, 0x0D, 0x08, 0x20, 0, 0, // FMUL qword [2008h]
    0xDE, 0xC1, // FADDP
    0xDD, 0x15, 0x10, 0x20, 0, 0, // FST qword [2010h]
    0xD9, 0x3D, 0x18, 0x20, 0, 0, // FNSTCW [2018h]
    0xD9, 0x2D, 0x1A, 0x20, 0, 0, // FLDCW [201Ah]
    0xDB, 0x1D, 0x1C, 0x20, 0, 0, // FISTP dword [201Ch]
    0xD9, 0x2D, 0x18, 0x20, 0, 0, // FLDCW [2018h]
    0xDB, 0x05, 0x1C, 0x20, 0, 0, // FILD dword [201Ch]
    0xD9, 0xC1, 0xDF, 0xE9, // FLD ST1; FUCOMIP ST0, ST1
    0xDA, 0xC1, // FCMOVB ST0, ST1
    0xD8, 0xD1, 0xDF, 0xE0, 0x9E, // FCOM ST1; FNSTSW AX; SAHF
    0x0F, 0x92, 0xC2, // SETB DL
    0x49, 0x75, 0xBB, // DEC ECX; JNZ to the FADD
    0xF4, // HLT
];

fn arithmetic_runs_on_the_hosts_unit() {
    let end = check(ARITHMETIC, &data(), u64::MAX);
    assert_ne!(end.data[0x1C..0x20], [0; 4]);
    assert!(end.fallbacks.unwrap() < 50, "{:?} instructions fell back to the interpreter", end.fallbacks);
}

fn the_registers_survive_the_ends_of_slices() {
    for slice in [1, 5, 17, 100] {
        check(ARITHMETIC, &data(), slice);
    }
}

/// Three times: unmasks division by zero, divides, looks, and clears the exception.
const UNMASKED: &[u8] = &[
    0xB9, 3, 0, 0, 0, // MOV ECX, 3
    0xDB, 0xE3, 0xD9, 0xE8, // FNINIT; FLD1
    0xD9, 0x2D, 0x20, 0x20, 0, 0, // FLDCW [2020h]
    0xD9, 0xEE, 0xDE, 0xF9, // FLDZ; FDIVP
    0xB8, 5, 0, 0, 0, // MOV EAX, 5
    0xDF, 0xE0, 0xDB, 0xE2, // FNSTSW AX; FNCLEX
    0xD9, 0x2D, 0x22, 0x20, 0, 0, // FLDCW [2022h]
    0xD9, 0xE8, // FLD1
    0x49, 0x75, 0xDE, // DEC ECX; JNZ to the FNINIT
    0xF4, // HLT
];

fn the_host_never_sees_an_exception_unmasked() {
    let end = check(UNMASKED, &data(), u64::MAX);
    // ES, B and ZE.
    assert_eq!(end.state.gpr[0] & 0x8084, 0x8084);
    // The translator runs such code, too: each FDIVP fell back to the interpreter.
    assert!(end.fallbacks.unwrap() >= 12, "{:?} instructions fell back to the interpreter", end.fallbacks);
}

/// A hundred times: packed integers in the x87 registers.
const MMX: &[u8] = &[
    0xDB, 0xE3, 0xD9, 0xEB, // FNINIT; FLDPI
    0xB9, 100, 0, 0, 0, // MOV ECX, 100
    0x0F, 0x6F, 0x0D, 0x00, 0x20, 0, 0, // MOVQ MM1, [2000h]
    0x0F, 0xFC, 0xC8, // PADDB MM1, MM0
    0x0F, 0x6E, 0xD1, // MOVD MM2, ECX
    0x0F, 0xD5, 0xCA, // PMULLW MM1, MM2
    0x0F, 0x7E, 0xCB, // MOVD EBX, MM1
    0x0F, 0xD7, 0xD1, // PMOVMSKB EDX, MM1
    0x0F, 0xC4, 0xDB, 2, // PINSRW MM3, EBX, 2
    0x0F, 0x7F, 0x0D, 0x10, 0x20, 0, 0, // MOVQ [2010h], MM1
    0x0F, 0x6F, 0xC1, // MOVQ MM0, MM1
    0x49, 0x75, 0xD9, // DEC ECX; JNZ to the MOVQ
    0x0F, 0x77, 0xD9, 0xE8, // EMMS; FLD1
    0xF4, // HLT
];

fn mmx_runs_on_the_hosts_unit() {
    let end = check(MMX, &data(), u64::MAX);
    assert_ne!(end.data[0x10..0x18], [0; 8]);
    assert!(end.fallbacks.unwrap() < 20, "{:?} instructions fell back to the interpreter", end.fallbacks);
}
