//! What the processor says about itself: the CPUID instruction.
//!
//! CPUID takes a leaf number in EAX (and for some leaves a subleaf in ECX) and answers in EAX,
//! EBX, ECX and EDX: strings, numbers, and bits that each stand for a feature.
//!
//! Source: SDM Vol. 2A, CPUID; AMD64 APM Vol. 3 for leaves from 80000000h on.

use super::colour;
use crate::demo::asm::{Asm, Build, Routine};
use crate::demo::layout::*;
use iced_x86::code_asm::*;

/// The feature words that are kept in [`vars::FEATURES`]: leaf and register (EBX 0, ECX 1, EDX 2).
const WORDS: [(u32, u8); 7] = [(1, 2), (1, 1), (7, 0), (7, 1), (7, 2), (0x8000_0001, 2), (0x8000_0001, 1)];
/// Word, bit and name of what is listed.
const FEATURES: &[(u8, u8, &str)] = &[
    (0, 0, "fpu"),
    (0, 3, "pse"),
    (0, 4, "tsc"),
    (0, 6, "pae"),
    (0, 9, "apic"),
    (0, 13, "pge"),
    (0, 15, "cmov"),
    (0, 23, "mmx"),
    (0, 25, "sse"),
    (0, 26, "sse2"),
    (1, 0, "sse3"),
    (1, 9, "ssse3"),
    (1, 19, "sse4.1"),
    (1, 20, "sse4.2"),
    (1, 23, "popcnt"),
    (1, 25, "aes"),
    (1, 1, "pclmul"),
    (2, 29, "sha"),
    (1, 28, "avx"),
    (2, 5, "avx2"),
    (2, 16, "avx512f"),
    (1, 12, "fma"),
    (1, 29, "f16c"),
    (2, 3, "bmi1"),
    (2, 8, "bmi2"),
    (2, 19, "adx"),
    (1, 22, "movbe"),
    (1, 13, "cx16"),
    (1, 26, "xsave"),
    (1, 17, "pcid"),
    (1, 21, "x2apic"),
    (1, 24, "tsc-deadline"),
    (1, 30, "rdrand"),
    (2, 18, "rdseed"),
    (2, 0, "fsgsbase"),
    (2, 7, "smep"),
    (2, 20, "smap"),
    (3, 2, "umip"),
    (3, 3, "pku"),
    (3, 16, "la57"),
    (2, 9, "erms"),
    (2, 10, "invpcid"),
    (3, 22, "rdpid"),
    (5, 20, "nx"),
    (5, 26, "1g-pages"),
    (5, 27, "rdtscp"),
    (5, 29, "long-mode"),
    (6, 0, "lahf"),
    (6, 5, "lzcnt"),
    (1, 31, "hypervisor"),
];
/// Where the feature list goes on in a new row.
const LAST_COLUMN: u32 = 66;

pub(super) fn routines(s: &mut Asm) -> Build {
    summary(s)?;
    features(s)?;
    leaf(s)
}

/// Vendor, brand, family, model and stepping. Changes registers.
fn summary(s: &mut Asm) -> Build {
    let (no_brand, skip, start) = (s.create_label(), s.create_label(), s.create_label());
    s.routine(Routine::CpuSummary)?;
    s.say_in(colour::CYAN, "CPU      ")?;
    s.xor(eax, eax)?;
    s.cpuid()?;
    for (i, register) in [ebx, edx, ecx].into_iter().enumerate() {
        s.mov(dword_ptr(vars::NAME + 4 * i as u64), register)?;
    }
    s.mov(byte_ptr(vars::NAME + 12), 0)?;
    s.mov(esi, vars::NAME as u32)?;
    s.invoke(Routine::Print)?;
    s.mov(eax, 0x8000_0000u32)?;
    s.cpuid()?;
    s.cmp(eax, 0x8000_0004u32)?;
    s.jb(no_brand)?;
    for part in 0..3u32 {
        s.mov(eax, 0x8000_0002 + part)?;
        s.cpuid()?;
        for (i, register) in [eax, ebx, ecx, edx].into_iter().enumerate() {
            s.mov(dword_ptr(vars::NAME + 16 * u64::from(part) + 4 * i as u64), register)?;
        }
    }
    s.mov(byte_ptr(vars::NAME + 48), 0)?;
    s.mov(esi, vars::NAME as u32)?;
    s.bind(skip)?;
    s.cmp(byte_ptr(rsi), u32::from(b' '))?;
    s.jne(start)?;
    s.inc(esi)?;
    s.jmp(skip)?;
    s.bind(start)?;
    s.say_keeping_rsi(", ")?;
    s.invoke(Routine::Print)?;
    s.bind(no_brand)?;
    s.say("\n         family ")?;
    signature(s)?;
    s.ret()
}

/// Family, model and stepping from leaf 1 EAX: the extended parts count for some families only.
fn signature(s: &mut Asm) -> Build {
    let (plain_family, plain_model, extend) = (s.create_label(), s.create_label(), s.create_label());
    s.mov(eax, 1)?;
    s.cpuid()?;
    s.mov(esi, eax)?;
    s.mov(ebx, eax)?;
    s.shr(ebx, 8)?;
    s.and(ebx, 15)?;
    s.mov(eax, ebx)?;
    s.cmp(ebx, 15)?;
    s.jne(plain_family)?;
    s.mov(eax, esi)?;
    s.shr(eax, 20)?;
    s.and(eax, 0xFF)?;
    s.add(eax, 15)?;
    s.bind(plain_family)?;
    s.invoke(Routine::PrintDec)?;
    s.mov(eax, esi)?;
    s.shr(eax, 4)?;
    s.and(eax, 15)?;
    s.cmp(ebx, 6)?;
    s.je(extend)?;
    s.cmp(ebx, 15)?;
    s.jne(plain_model)?;
    s.bind(extend)?;
    s.mov(ecx, esi)?;
    s.shr(ecx, 12)?;
    s.and(ecx, 0xF0)?;
    s.add(eax, ecx)?;
    s.bind(plain_model)?;
    s.say_keeping_rsi(", model ")?;
    s.invoke(Routine::PrintDec)?;
    s.say_keeping_rsi(", stepping ")?;
    s.mov(eax, esi)?;
    s.and(eax, 15)?;
    s.invoke(Routine::PrintDec)?;
    s.say("\n")
}

/// The feature list, in rows. Changes registers.
fn features(s: &mut Asm) -> Build {
    let mut table = Vec::new();
    for &(word, bit, name) in FEATURES {
        table.extend_from_slice(&[word, bit]);
        table.extend_from_slice(name.as_bytes());
        table.push(0);
    }
    table.push(0xFF);
    let table = s.pool.data(&table);
    s.routine(Routine::Features)?;
    read_words(s)?;
    s.say_in(colour::CYAN, "features ")?;
    s.mov(ebx, table as u32)?;
    let (next, absent, same_row, end) =
        (s.create_label(), s.create_label(), s.create_label(), s.create_label());
    s.bind(next)?;
    s.movzx(eax, byte_ptr(rbx))?;
    s.cmp(al, 0xFFu32)?;
    s.je(end)?;
    s.movzx(ecx, byte_ptr(rbx + 1))?;
    s.add(ebx, 2)?;
    s.mov(edx, dword_ptr(rax * 4 + vars::FEATURES as i32))?;
    s.bt(edx, ecx)?;
    s.jae(absent)?;
    s.movzx(eax, word_ptr(vars::CURSOR))?;
    s.xor(edx, edx)?;
    s.mov(ecx, COLUMNS as u32)?;
    s.div(ecx)?;
    s.cmp(edx, LAST_COLUMN)?;
    s.jb(same_row)?;
    s.say("\n         ")?;
    s.bind(same_row)?;
    s.mov(esi, ebx)?;
    s.invoke(Routine::Print)?;
    s.invoke(Routine::Space)?;
    s.bind(absent)?;
    let skip = s.here()?;
    s.inc(ebx)?;
    s.cmp(byte_ptr(rbx - 1), 0)?;
    s.jne(skip)?;
    s.jmp(next)?;
    s.bind(end)?;
    s.say("\n")?;
    s.ret()
}

/// Puts the words of [`WORDS`] into memory, zero for leaves that are not there.
fn read_words(s: &mut Asm) -> Build {
    for (i, (leaf, register)) in WORDS.into_iter().enumerate() {
        let missing = s.create_label();
        let at = vars::FEATURES + 4 * i as u64;
        s.mov(dword_ptr(at), 0)?;
        s.mov(eax, leaf & 0x8000_0000)?;
        s.cpuid()?;
        s.cmp(eax, leaf)?;
        s.jb(missing)?;
        s.mov(eax, leaf)?;
        s.xor(ecx, ecx)?;
        s.cpuid()?;
        s.mov(dword_ptr(at), [ebx, ecx, edx][usize::from(register)])?;
        s.bind(missing)?;
    }
    Ok(())
}

/// RSI: the argument. One leaf in hexadecimal, or the summary. Changes registers.
fn leaf(s: &mut Asm) -> Build {
    let all = s.create_label();
    s.routine(Routine::CpuLeaf)?;
    s.invoke(Routine::ParseHex)?;
    s.jb(all)?;
    s.xor(ecx, ecx)?;
    s.cpuid()?;
    for register in [rdx, rcx, rbx, rax] {
        s.push(register)?;
    }
    for name in ["  EAX ", "  EBX ", "  ECX ", "  EDX "] {
        s.say(name)?;
        s.pop(rax)?;
        s.mov(cl, 8)?;
        s.invoke(Routine::PrintHex)?;
    }
    s.say("\n")?;
    s.ret()?;
    s.bind(all)?;
    s.invoke(Routine::CpuSummary)?;
    let features = s.label_of(Routine::Features);
    s.jmp(features)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_names_a_word_that_is_read() {
        for (word, bit, name) in FEATURES {
            assert!(usize::from(*word) < WORDS.len() && *bit < 32, "{name}");
        }
        const { assert!(vars::FEATURES + 4 * WORDS.len() as u64 <= vars::HPET_COUNTS_A_SECOND) };
    }
}
