//! Kernels of the shape that books and courses on operating systems teach, through the Multiboot loaders.
//!
//! They rely on more than the protocols promise: that the loader's GDT stays usable with code in selector 8 and data in
//! 10h, that there is a stack, that memory under 640 KiB is theirs. Results come out of port E9h.

use crate::support::engines::ENGINE_NAMES;
use crate::support::needs::Tests;
use crate::support::program::run_to_end;
use crate::support::small_guest::{CODE, Scratch, small_guest};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINE_NAMES, a_kernel_keeps_the_gdt_and_the_stack_of_its_loader)
        .each(&ENGINE_NAMES, a_kernel_reads_the_multiboot_information)
        .each(&ENGINE_NAMES, a_kernel_moves_to_the_upper_half_as_xv6_does)
}

const DEBUG_PORT: u32 = 0xE9;
const EXIT_PORT: u32 = 0xF4;

/// Runs the kernel; what it wrote to the debug port, up to its end by the exit port.
fn run(engine: &str, kernel: &Scratch, more: &[&str]) -> String {
    let path = kernel.path();
    let machine = ["run", "--accel", engine, "--memory", "64M", "--display", "none", "--serial", "null"];
    let debug = ["--debugcon", "stdio", "--debug-exit", "--on-reset", "exit", "--kernel", &path];
    let ended = run_to_end(&[&machine[..], &debug, more].concat());
    assert_eq!(ended.code, Some(1), "{engine}: {} {}", ended.output, ended.errors);
    ended.output
}

fn say(a: &mut CodeAssembler, letter: char) -> Result<(), IcedError> {
    a.mov(al, u32::from(letter))?;
    a.out(DEBUG_PORT, al)
}

fn end(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.xor(eax, eax)?;
    a.out(EXIT_PORT, al)?;
    a.hlt()
}

/// EAX: the address of `data`, which stands among the code. 32-bit code has no address relative to itself but that
/// which CALL pushes.
fn address_of(
    a: &mut CodeAssembler,
    data: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Result<(), IcedError> {
    let mut behind = a.create_label();
    a.call(behind)?;
    data(a)?;
    a.set_label(&mut behind)?;
    a.pop(eax)
}

/// A far return to what follows, with `selector`.
fn load_cs(a: &mut CodeAssembler, selector: i32) -> Result<(), IcedError> {
    let (mut there, mut here) = (a.create_label(), a.create_label());
    a.push(selector)?;
    a.call(there)?;
    a.jmp(here)?;
    a.set_label(&mut there)?;
    a.retf()?;
    a.set_label(&mut here)?;
    a.nop()
}

/// Neither GDT nor stack of its own: a call, a far return to selector 8, segments loaded with 10h, an IDT gate with
/// selector 8, and stacks where small kernels have them.
fn gdt_kernel(a: &mut CodeAssembler) -> Result<(), IcedError> {
    const IDT: u32 = 0x20_0000;
    const VECTOR: u32 = 0x30;
    let mut called = a.create_label();
    a.call(called)?;
    a.mov(eax, 0x10)?;
    for segment in [ds, es, fs, gs, ss] {
        a.mov(segment, eax)?;
    }
    say(a, 'D')?;
    for stack in [0x7C00, 0x9_0000, 0x9_FC00u32] {
        a.mov(esp, stack)?;
        a.mov(ecx, 0x400)?;
        let mut fill = a.create_label();
        a.set_label(&mut fill)?;
        a.push(ecx)?;
        a.loop_(fill)?;
    }
    load_cs(a, 8)?;
    say(a, 'C')?;
    address_of(a, |a| {
        say(a, 'K')?;
        a.iretd()
    })?;
    a.mov(edi, IDT + 8 * VECTOR)?;
    a.mov(word_ptr(edi), ax)?;
    a.mov(dword_ptr(edi + 2), 8)?;
    a.shr(eax, 16)?;
    a.mov(byte_ptr(edi + 5), 0x8E)?;
    a.mov(word_ptr(edi + 6), ax)?;
    address_of(a, |a| a.db(&[&0x7FFu16.to_le_bytes()[..], &IDT.to_le_bytes()].concat()))?;
    a.lidt(ptr(eax))?;
    a.int(VECTOR as i32)?;
    say(a, '.')?;
    end(a)?;
    a.set_label(&mut called)?;
    say(a, 'S')?;
    a.ret()
}

fn a_kernel_keeps_the_gdt_and_the_stack_of_its_loader(engine: &str) {
    let mut a = CodeAssembler::new(32).unwrap();
    gdt_kernel(&mut a).unwrap();
    let kernel = small_guest(&format!("gdt-{engine}"), &a.assemble(u64::from(CODE)).unwrap());
    assert_eq!(run(engine, &kernel, &[]), "SDCK.");
}

/// Prints loader name, command line, and each module's string with its content; `M` for a memory map that has this
/// kernel in available memory; `P` for modules on page borders.
fn information_kernel(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut print, mut printed) = (a.create_label(), a.create_label());
    let (mut bad, mut next_module, mut no_module) = (a.create_label(), a.create_label(), a.create_label());
    let (mut next_entry, mut skip, mut found) = (a.create_label(), a.create_label(), a.create_label());
    a.cmp(eax, 0x2BAD_B002u32)?;
    a.jne(bad)?;
    // Memory sizes, command line, modules, map, loader's name.
    a.mov(eax, dword_ptr(ebx))?;
    a.and(eax, 0b10_0100_1101)?;
    a.cmp(eax, 0b10_0100_1101)?;
    a.jne(bad)?;
    for field in [64, 16] {
        a.mov(esi, dword_ptr(ebx + field))?;
        a.call(print)?;
    }
    a.mov(ecx, dword_ptr(ebx + 20))?;
    a.mov(edi, dword_ptr(ebx + 24))?;
    a.set_label(&mut next_module)?;
    a.jecxz(no_module)?;
    a.mov(esi, dword_ptr(edi + 8))?;
    a.call(print)?;
    // Modules of this test end with a NUL.
    a.mov(esi, dword_ptr(edi))?;
    a.test(esi, 0xFFF)?;
    a.jne(bad)?;
    a.call(print)?;
    a.add(edi, 16)?;
    a.dec(ecx)?;
    a.jmp(next_module)?;
    a.set_label(&mut no_module)?;
    say(a, 'P')?;
    // The entry that has 1 MiB: available, and it holds the end of what KiB above 1 MiB the sizes give.
    a.mov(edi, dword_ptr(ebx + 48))?;
    a.mov(edx, dword_ptr(ebx + 44))?;
    a.add(edx, edi)?;
    a.set_label(&mut next_entry)?;
    a.cmp(edi, edx)?;
    a.jae(bad)?;
    a.cmp(dword_ptr(edi + 20), 1)?;
    a.jne(skip)?;
    a.cmp(dword_ptr(edi + 4), 0x10_0000)?;
    a.je(found)?;
    a.set_label(&mut skip)?;
    a.add(edi, dword_ptr(edi))?;
    a.add(edi, 4)?;
    a.jmp(next_entry)?;
    a.set_label(&mut found)?;
    a.mov(eax, dword_ptr(ebx + 8))?;
    a.shl(eax, 10)?;
    a.cmp(eax, dword_ptr(edi + 12))?;
    a.ja(bad)?;
    say(a, 'M')?;
    end(a)?;
    a.set_label(&mut bad)?;
    say(a, '!')?;
    end(a)?;
    a.set_label(&mut print)?;
    a.lodsb()?;
    a.test(al, al)?;
    a.je(printed)?;
    a.out(DEBUG_PORT, al)?;
    a.jmp(print)?;
    a.set_label(&mut printed)?;
    say(a, ';')?;
    a.ret()
}

fn a_kernel_reads_the_multiboot_information(engine: &str) {
    let mut a = CodeAssembler::new(32).unwrap();
    information_kernel(&mut a).unwrap();
    let kernel = small_guest(&format!("information-{engine}"), &a.assemble(u64::from(CODE)).unwrap());
    let name = kernel.0.file_name().unwrap().to_string_lossy().into_owned();
    let modules = [("one", "first\0"), ("two", "second\0")].map(|(name, text)| {
        let file = Scratch::new(&format!("module-{name}-{engine}"));
        std::fs::write(&file.0, text).unwrap();
        file
    });
    let strings = modules.each_ref().map(|file| format!("{} root={engine}", file.path()));
    let [one, two] =
        modules.each_ref().map(|file| file.0.file_name().unwrap().to_string_lossy().into_owned());
    let more = ["--append", "a=b c", "--module", &strings[0], "--module", &strings[1]];
    let wanted = format!("Trimotor;{name} a=b c;{one} root={engine};first;{two} root={engine};second;PM");
    assert_eq!(run(engine, &kernel, &more), wanted);
}

/// An ELF file that is linked at 2 GiB and loaded at 1 MiB, as xv6 is: it maps itself there with 4 MiB pages, loads a
/// GDT of its own, and finds the MP floating pointer in the BIOS area.
fn upper_half_kernel(a: &mut CodeAssembler) -> Result<(), IcedError> {
    const UPPER: u32 = 0x8000_0000;
    let (mut to_upper, mut look, mut found, mut bad) =
        (a.create_label(), a.create_label(), a.create_label(), a.create_label());
    // The directory stands in the last page of the segment, which the loader has cleared.
    let directory = 0x10_1000i32;
    a.cmp(dword_ptr(directory + 8), 0)?;
    a.jne(bad)?;
    for entry in [0, 4 * (UPPER >> 22) as i32] {
        a.mov(dword_ptr(directory + entry), 0x83)?;
    }
    a.mov(eax, cr4)?;
    a.or(eax, 1 << 4)?;
    a.mov(cr4, eax)?;
    a.mov(eax, directory)?;
    a.mov(cr3, eax)?;
    a.mov(eax, cr0)?;
    a.or(eax, 0x8001_0000u32 as i32)?;
    a.mov(cr0, eax)?;
    a.mov(esp, UPPER + 0x10_3000)?;
    a.call(to_upper)?;
    say(a, 'H')?;
    // Null, code, data; the operand of LGDT is put together on the stack.
    address_of(a, |a| a.dq(&[0, 0x00CF_9A00_0000_FFFF, 0x00CF_9200_0000_FFFF]))?;
    a.push(eax)?;
    a.sub(esp, 2)?;
    a.mov(word_ptr(esp), 23)?;
    a.lgdt(ptr(esp))?;
    load_cs(a, 8)?;
    say(a, 'G')?;
    a.mov(esi, UPPER + 0xF_0000)?;
    a.set_label(&mut look)?;
    a.cmp(dword_ptr(esi), u32::from_le_bytes(*b"_MP_") as i32)?;
    a.je(found)?;
    a.add(esi, 16)?;
    a.cmp(esi, UPPER + 0x10_0000)?;
    a.jb(look)?;
    a.set_label(&mut bad)?;
    say(a, '!')?;
    end(a)?;
    a.set_label(&mut found)?;
    a.mov(esi, dword_ptr(esi + 4))?;
    a.cmp(dword_ptr(esi + UPPER as i32), u32::from_le_bytes(*b"PCMP") as i32)?;
    a.jne(bad)?;
    say(a, 'P')?;
    end(a)?;
    a.set_label(&mut to_upper)?;
    a.add(dword_ptr(esp), UPPER as i32)?;
    a.ret()
}

/// An ELF32 file of one segment with a Multiboot header in front of `code`, which stands at 1 MiB + 12.
fn elf_kernel(name: &str, code: &[u8]) -> Scratch {
    const SEGMENT: u32 = 0x1000;
    let mut file = b"\x7FELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2u16, 3].iter().flat_map(|v| v.to_le_bytes()));
    file.extend([1u32, 0x10_000C, 52, 0, 0].iter().flat_map(|v| v.to_le_bytes()));
    file.extend([52u16, 32, 1, 40, 0, 0].iter().flat_map(|v| v.to_le_bytes()));
    let bytes = code.len() as u32 + 12;
    let program = [1, SEGMENT, 0x8010_0000, 0x10_0000, bytes, 0x3000, 7, 0x1000];
    file.extend(program.iter().flat_map(|v: &u32| v.to_le_bytes()));
    file.resize(SEGMENT as usize, 0);
    file.extend([0x1BAD_B002u32, 0, 0u32.wrapping_sub(0x1BAD_B002)].iter().flat_map(|v| v.to_le_bytes()));
    file.extend(code);
    let scratch = Scratch::new(name);
    std::fs::write(&scratch.0, file).unwrap();
    scratch
}

fn a_kernel_moves_to_the_upper_half_as_xv6_does(engine: &str) {
    let mut a = CodeAssembler::new(32).unwrap();
    upper_half_kernel(&mut a).unwrap();
    // Assembled where it starts: its jumps are relative.
    let code = a.assemble(0x10_000C).unwrap();
    let kernel = elf_kernel(&format!("upper-half-{engine}"), &code);
    assert_eq!(run(engine, &kernel, &[]), "HGP");
}
