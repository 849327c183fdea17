//! Memory as text: values, and instructions.

use crate::control::format::{Form, Format};
use crate::machine::Machine;
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use trimotor_bus::PhysAddr;
use trimotor_cpu::registers::Efer;
use trimotor_cpu::{ArchState, SegReg, Segment};

/// The longest instruction, in bytes.
const LONGEST_INSTRUCTION: usize = 15;
/// Columns of an instruction's bytes: most have no more than eight.
const BYTE_COLUMNS: usize = 24;
/// Bytes of a line of values.
const LINE_BYTES: usize = 16;

/// Reads memory at an address; how many bytes of it could be read, from the first one on.
type Read<'a> = dyn FnMut(u64, &mut [u8]) -> usize + 'a;

/// What is at an address, as `format` says.
///
/// # Errors
/// Nothing can be read at the very beginning. Later on the text says where it ends.
pub(super) fn dump(
    machine: &mut Machine,
    cpu: usize,
    at: u64,
    format: Format,
    physical: bool,
) -> Result<String, String> {
    let state = machine.vcpus[cpu].vcpu.state();
    let memory = machine.board.memory.clone();
    let vcpu = &mut machine.vcpus[cpu].vcpu;
    let mut physically = |addr: u64, into: &mut [u8]| {
        let mut read = 0;
        while read < into.len() {
            let Some(addr) = addr.checked_add(read as u64).map(PhysAddr) else { break };
            if memory.backing(addr).read.is_null() {
                break;
            }
            let length = (into.len() - read).min(4096 - addr.page_offset() as usize);
            memory.read(addr, &mut into[read..read + length]);
            read += length;
        }
        read
    };
    let mut linearly = |addr: u64, into: &mut [u8]| vcpu.read_linear(addr, into);
    let read: &mut Read<'_> = if physical { &mut physically } else { &mut linearly };
    let mut out = String::new();
    let end = match format.form {
        Form::Instructions => instructions(&mut out, read, &state, at, format.count),
        _ => values(&mut out, read, at, format),
    };
    let Some(end) = end else { return Ok(out.trim_end().to_owned()) };
    let what = match physical {
        true => format!("physical address {end:#x}: no memory is there, but a device or nothing"),
        false => format!("linear address {end:#x} is not mapped to memory"),
    };
    if out.is_empty() { Err(what) } else { Ok(out + &what) }
}

/// Lines of values; the address where reading ended early.
fn values(out: &mut String, read: &mut Read<'_>, at: u64, format: Format) -> Option<u64> {
    let size = format.size.unwrap_or(if format.form == Form::Character { 1 } else { 4 });
    let line_bytes = if format.form == Form::Character { LINE_BYTES / 2 } else { LINE_BYTES };
    let per_line = (line_bytes / size).max(1);
    let mut left = format.count as usize;
    let mut addr = at;
    while left > 0 {
        let count = left.min(per_line);
        let mut bytes = vec![0; count * size];
        let got = read(addr, &mut bytes) / size;
        if got > 0 {
            *out += &format!("{addr:016x}:");
            for value in bytes.chunks(size).take(got) {
                let value = value.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
                *out += &format!(" {}", format.value(value, size));
            }
            *out += "\n";
        }
        if got < count {
            return Some(addr.wrapping_add((got * size) as u64));
        }
        addr = addr.wrapping_add(bytes.len() as u64);
        left -= count;
    }
    None
}

/// Lines of instructions, as a vCPU in this state would decode them; the address where reading ended early.
fn instructions(
    out: &mut String,
    read: &mut Read<'_>,
    state: &ArchState,
    at: u64,
    count: u32,
) -> Option<u64> {
    let bits = code_bits(state);
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_hex_prefix("0x");
    formatter.options_mut().set_hex_suffix("");
    formatter.options_mut().set_uppercase_hex(false);
    formatter.options_mut().set_space_after_operand_separator(true);
    formatter.options_mut().set_branch_leading_zeros(false);
    let mut addr = at;
    for _ in 0..count {
        let mut bytes = [0; LONGEST_INSTRUCTION];
        let got = read(addr, &mut bytes);
        // In 16-bit code targets are offsets in the segment.
        let ip = if bits == 16 { addr.wrapping_sub(state.segments[SegReg::Cs as usize].base) } else { addr };
        let mut decoder = Decoder::with_ip(bits, &bytes[..got], ip, DecoderOptions::NONE);
        if !decoder.can_decode() {
            return Some(addr);
        }
        let instruction = decoder.decode();
        let length = instruction.len().max(1);
        let mut text = String::new();
        if instruction.is_invalid() {
            if got < LONGEST_INSTRUCTION {
                return Some(addr.wrapping_add(got as u64));
            }
            text += "(bad)";
        } else {
            formatter.format(&instruction, &mut text);
        }
        let bytes: Vec<_> = bytes[..length].iter().map(|byte| format!("{byte:02x}")).collect();
        *out += &format!("{addr:#018x}:  {:<BYTE_COLUMNS$} {text}\n", bytes.join(" "));
        addr = addr.wrapping_add(length as u64);
    }
    None
}

/// 16, 32 or 64: how code is decoded.
fn code_bits(state: &ArchState) -> u32 {
    let code = &state.segments[SegReg::Cs as usize];
    let long = state.efer & Efer::LMA.bits() != 0 && code.attributes & Segment::L != 0;
    match (long, code.is_32bit()) {
        (true, _) => 64,
        (false, true) => 32,
        (false, false) => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimotor_cpu::CpuState;

    fn reader(memory: &[u8]) -> impl FnMut(u64, &mut [u8]) -> usize {
        move |addr, into| {
            let rest = memory.get(addr as usize..).unwrap_or_default();
            let length = rest.len().min(into.len());
            into[..length].copy_from_slice(&rest[..length]);
            length
        }
    }

    #[test]
    fn values_stand_in_lines_of_sixteen_bytes() {
        let memory: Vec<u8> = (0..40).collect();
        let mut out = String::new();
        let end = values(&mut out, &mut reader(&memory), 0, Format::parse("5xw").unwrap());
        assert_eq!(end, None);
        assert_eq!(
            out,
            "0000000000000000: 0x03020100 0x07060504 0x0b0a0908 0x0f0e0d0c\n0000000000000010: 0x13121110\n"
        );
        out.clear();
        let end = values(&mut out, &mut reader(&memory), 32, Format::parse("4xg").unwrap());
        assert_eq!((end, &*out), (Some(40), "0000000000000020: 0x2726252423222120\n"));
    }

    #[test]
    fn instructions_are_those_of_the_mode() {
        let mut state = CpuState::at_reset(0x600).to_arch();
        state.segments[SegReg::Cs as usize].base = 0x10;
        let mut memory = vec![0; 0x10];
        // mov eax, 12345678h with a prefix in 16-bit code; jmp to itself; an instruction that none is
        memory.extend([0x66, 0xB8, 0x78, 0x56, 0x34, 0x12, 0xEB, 0xFE, 0x0F, 0xFF]);
        let mut out = String::new();
        let end = instructions(&mut out, &mut reader(&memory), &state, 0x10, 2);
        assert_eq!(end, None);
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines[0], "0x0000000000000010:  66 b8 78 56 34 12        mov eax, 0x12345678");
        assert!(lines[1].ends_with("jmp short 6"), "{out}");
        state.segments[SegReg::Cs as usize].attributes |= Segment::DB;
        out.clear();
        instructions(&mut out, &mut reader(&memory), &state, 0x10, 1);
        assert!(out.contains("mov ax, 0x5678"), "{out}");
        out.clear();
        assert_eq!(instructions(&mut out, &mut reader(&memory), &state, 0x1a, 1), Some(0x1a));
    }
}
