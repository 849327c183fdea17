//! PCI BIOS as programs call it, by interrupt and from 32-bit code, on every engine.

use super::chips::{assemble, engines};
use super::*;
use iced_x86::code_asm::*;
use trimotor_bus::{PhysAddr, board};
use trimotor_firmware::pci_bios;

/// Where results go: a row of eight dwords for each call.
const RESULTS: u32 = 0x9000;
/// The buffer of function 0Eh: its size, and a pointer to where entries go.
const BUFFER: u32 = 0xA000;
const ENTRIES: u32 = 0xA100;
const BUFFER_BYTES: u32 = 31 * 16;

/// A call and its result: AX, EBX, ECX, EDX, SI, DI, and then AH, EBX, ECX, EDX.
struct Call {
    given: [u32; 6],
    result: [u32; 4],
}
const fn call(given: [u32; 6], result: [u32; 4]) -> Call {
    Call { given, result }
}

/// The functions of a board without cards: host bridge, ISA bridge, power management.
const CALLS: [Call; 23] = [
    call([0xB101, 0xAAAA, 0xBBBB, 0, 0, 0], [0, 0x0210, 0xBB00, 0x2049_4350]),
    call([0xB181, 0xAAAA, 0xBBBB, 0, 0, 0], [0, 0x0210, 0xBB00, 0x2049_4350]),
    call([0xB102, 0xFFFF, 0x7000, 0x8086, 0, 0], [0, 0x0008, 0x7000, 0x8086]),
    call([0xB102, 0xFFFF, 0x7000, 0x8086, 1, 0], [0x86, 0xFFFF, 0x7000, 0x8086]),
    call([0xB102, 0xFFFF, 0x7000, 0xFFFF, 0, 0], [0x83, 0xFFFF, 0x7000, 0xFFFF]),
    call([0xB102, 0xFFFF, 0x7000, 0x8087, 0, 0], [0x86, 0xFFFF, 0x7000, 0x8087]),
    call([0xB103, 0xFFFF, 0x06_0100, 0, 0, 0], [0, 0x0008, 0x06_0100, 0]),
    call([0xB103, 0xFFFF, 0x06_0000, 0, 0, 0], [0, 0x0000, 0x06_0000, 0]),
    call([0xB103, 0xFFFF, 0xFF_FFFF, 0, 0, 0], [0x86, 0xFFFF, 0xFF_FFFF, 0]),
    call([0xB108, 0x0008, 0x1234_5678, 0, 0, 0x0E], [0, 0x0008, 0x1234_5680, 0]),
    call([0xB109, 0x0008, 0x1234_5678, 0, 0, 2], [0, 0x0008, 0x1234_7000, 0]),
    call([0xB10A, 0x0008, 0x1234_5678, 0, 0, 0], [0, 0x0008, 0x7000_8086, 0]),
    call([0xB10A, 0x0108, 0x1234_5678, 0, 0, 0], [0, 0x0108, 0xFFFF_FFFF, 0]),
    call([0xB109, 0x0008, 0x1234_5678, 0, 0, 1], [0x87, 0x0008, 0x1234_5678, 0]),
    call([0xB10A, 0x0008, 0x1234_5678, 0, 0, 2], [0x87, 0x0008, 0x1234_5678, 0]),
    call([0xB108, 0x0008, 0x1234_5678, 0, 0, 0x100], [0x87, 0x0008, 0x1234_5678, 0]),
    call([0xB10B, 0x0008, 0x1234_5609, 0, 0, 0x61], [0, 0x0008, 0x1234_5609, 0]),
    call([0xB108, 0x0008, 0x1234_5678, 0, 0, 0x61], [0, 0x0008, 0x1234_5609, 0]),
    // INTA# of slot 3 is link C.
    call([0xB10F, 0x0018, 0x0B0A, 0, 0, 0], [0, 0x0018, 0x0B0A, 0]),
    call([0xB10A, 0x0008, 0, 0, 0, 0x60], [0, 0x0008, 0x0B0B_090A, 0]),
    call([0xB10F, 0x0018, 0x020A, 0, 0, 0], [0x88, 0x0018, 0x020A, 0]),
    call([0xB10F, 0x0018, 0x0B0E, 0, 0, 0], [0x88, 0x0018, 0x0B0E, 0]),
    call([0xB104, 1, 2, 3, 0, 0], [0x81, 1, 2, 3]),
];

/// Makes all calls, the routing options with a buffer that is too small and one that is not, and leaves with code 3.
fn caller(a: &mut CodeAssembler, entry: CodeLabel, call: impl Fn(&mut CodeAssembler, CodeLabel)) {
    let options = [0xB10E, 0, 0, 0, 0, BUFFER];
    let sizes = [Some(BUFFER_BYTES - 1), Some(BUFFER_BYTES)];
    let given = CALLS.iter().map(|call| (call.given, None)).chain(sizes.map(|size| (options, size)));
    for (row, (given, size)) in given.enumerate() {
        let at = RESULTS + 32 * row as u32;
        if let Some(size) = size {
            a.mov(word_ptr(BUFFER), size).unwrap();
        }
        for (register, value) in [eax, ebx, ecx, edx, esi, edi].into_iter().zip(given) {
            a.mov(register, value).unwrap();
        }
        a.stc().unwrap();
        call(a, entry);
        // MOV keeps the carry flag.
        for (index, register) in [eax, ebx, ecx, edx, esi, edi].into_iter().enumerate() {
            a.mov(dword_ptr(at + 4 * index as u32), register).unwrap();
        }
        a.setc(byte_ptr(at + 24)).unwrap();
    }
    a.mov(al, 1u32).unwrap();
    a.out(0xF4, al).unwrap();
    a.hlt().unwrap();
}

fn check(mut machine: Machine, name: &str) {
    assert_eq!(machine.run(), ExitReason::DebugExit(1), "{name}");
    let memory = &machine.board().memory;
    let dword = |at: u32| memory.read_u32(PhysAddr(at.into()));
    let row = |row: u32| -> [u32; 7] { std::array::from_fn(|n| dword(RESULTS + 32 * row + 4 * n as u32)) };
    for (n, Call { given, result }) in (0..).zip(&CALLS) {
        let got = row(n);
        assert_eq!([got[0] >> 8 & 0xFF, got[1], got[2], got[3]], *result, "{name}: {given:X?}");
        assert_eq!(got[4..6], given[4..], "{name}: {given:X?}");
        assert_eq!(got[6] & 0xFF, u32::from(result[0] != 0), "{name}: {given:X?}");
    }
    let options = CALLS.len() as u32;
    assert_eq!((row(options)[0] >> 8 & 0xFF, dword(BUFFER) & 0xFFFF), (0x89, BUFFER_BYTES), "{name}");
    assert_eq!((row(options + 1)[0] >> 8 & 0xFF, row(options + 1)[1]), (0, 1 << 10 | 1 << 11), "{name}");
    let mut entries = vec![0; BUFFER_BYTES as usize];
    memory.read(PhysAddr(ENTRIES.into()), &mut entries);
    assert_eq!(entries, pci_bios::routing_table()[32..], "{name}");
    // The interrupt of function 0Fh is level triggered now.
    assert_eq!(
        machine.board().fabric.pic_read(board::ELCR.0.checked_add(1).map(trimotor_bus::Port).unwrap()) & 8,
        8
    );
}

#[test]
fn int_1ah_answers_as_the_specification_says() {
    let code = assemble(|a| {
        let (mut handler, mut start) = (a.create_label(), a.create_label());
        a.jmp(start).unwrap();
        a.set_label(&mut handler).unwrap();
        pci_bios::interrupt_16(a).unwrap();
        a.set_label(&mut start).unwrap();
        a.xor(ax, ax).unwrap();
        a.mov(ds, ax).unwrap();
        a.mov(es, ax).unwrap();
        a.mov(ss, ax).unwrap();
        a.mov(sp, 0x7000u32).unwrap();
        a.mov(dword_ptr(BUFFER + 2), ENTRIES).unwrap();
        caller(a, handler, |a, handler| {
            a.pushf().unwrap();
            a.push(cs).unwrap();
            a.call(handler).unwrap();
        });
    });
    for engine in engines() {
        let config = MachineConfig { engine: Some(engine), ..config() };
        check(machine(config, &code).0, &format!("16 bits, {engine}"));
    }
}

#[test]
fn the_32_bit_entry_answers_alike() {
    let image = super::cards::multiboot(|a| {
        let (mut entry, mut start) = (a.create_label(), a.create_label());
        a.jmp(start).unwrap();
        a.set_label(&mut entry).unwrap();
        a.db(&pci_bios::entry_32().unwrap()).unwrap();
        a.set_label(&mut start).unwrap();
        a.mov(esp, 0x20_F000u32).unwrap();
        a.mov(dword_ptr(BUFFER + 2), ENTRIES).unwrap();
        a.mov(word_ptr(BUFFER + 6), ds).unwrap();
        caller(a, entry, |a, entry| {
            a.push(cs).unwrap();
            a.call(entry).unwrap();
        });
    });
    for engine in engines() {
        let config = MachineConfig { engine: Some(engine), ..config() };
        let request = BootRequest::new(BootFile { name: "test".into(), bytes: image.clone() });
        let plan = boot::load(request, &config.platform()).unwrap();
        let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
        let services = HostServices::new(Arc::new(NoClock));
        check(Machine::new(config, model, services, Box::new(plan)).unwrap(), &format!("32 bits, {engine}"));
    }
}

#[test]
fn the_directory_knows_pci_and_nothing_else() {
    const ENTRY: u16 = 0x4321;
    let code = pci_bios::directory_32(ENTRY).unwrap();
    let image = super::cards::multiboot(|a| {
        let (mut entry, mut start) = (a.create_label(), a.create_label());
        a.jmp(start).unwrap();
        a.set_label(&mut entry).unwrap();
        a.db(&code).unwrap();
        a.set_label(&mut start).unwrap();
        a.mov(esp, 0x20_F000u32).unwrap();
        for (row, (service, function)) in
            [(*b"$PCI", 0u32), (*b"$PNP", 0), (*b"$PCI", 1)].into_iter().enumerate()
        {
            a.mov(eax, u32::from_le_bytes(service)).unwrap();
            a.mov(ebx, function).unwrap();
            a.push(cs).unwrap();
            a.call(entry).unwrap();
            for (index, register) in [eax, ebx, ecx, edx].into_iter().enumerate() {
                let at = RESULTS + 16 * row as u32 + 4 * index as u32;
                a.mov(dword_ptr(at), register).unwrap();
            }
        }
        a.mov(al, 1u32).unwrap();
        a.out(0xF4, al).unwrap();
        a.hlt().unwrap();
    });
    let request = BootRequest::new(BootFile { name: "test".into(), bytes: image });
    let plan = boot::load(request, &config().platform()).unwrap();
    let model = Arc::new(CpuModel::parse("max", 1_000_000_000).unwrap());
    let services = HostServices::new(Arc::new(NoClock));
    let mut machine = Machine::new(config(), model, services, Box::new(plan)).unwrap();
    assert_eq!(machine.run(), ExitReason::DebugExit(1));
    let memory = &machine.board().memory;
    let dword = |at: u32| memory.read_u32(PhysAddr(at.into()));
    let found: [u32; 4] = std::array::from_fn(|n| dword(RESULTS + 4 * n as u32));
    assert_eq!([found[0] & 0xFF, found[1], found[2], found[3]], [0, 0xF_0000, 0x1_0000, ENTRY.into()]);
    assert_eq!([dword(RESULTS + 16) & 0xFF, dword(RESULTS + 32) & 0xFF], [0x80, 0x81]);
}
