//! Lines, filters, and what is kept.

use super::record::XCR0;
use super::*;
use crate::fault::Fault;
use std::sync::Mutex;
use trimotor_bus::{Label, PhysAddr, Port, Width};

fn place(retired: u64) -> Place {
    let rip = 0xffff_ffff_8100_0123;
    Place { retired, rip, linear: rip, selector: 0x10, cpl: 0 }
}

fn line(what: What) -> String {
    let mut trace = VcpuTrace::new(0, Kinds::all(), Filter::default(), None);
    trace.push(Record { place: place(1234567), what });
    trace.last().remove(0)
}

#[test]
fn lines_read_like_the_manual() {
    let port = |port, write, string, width, value, label| What::Port {
        port: Port(port),
        write,
        string,
        width,
        value,
        label: Label::from(label),
    };
    let mmio = |address, write, width, value, label| What::Mmio {
        address: PhysAddr(address),
        write,
        width,
        value,
        label: Label::from(label),
    };
    let mut bytes = [0; 15];
    bytes[..3].copy_from_slice(&[0x48, 0x89, 0xC8]);
    let cases = [
        (
            What::Exception { fault: Fault::pf(2), cr2: 0xdead_0000 },
            "#PF(0002) page fault, write, not present, cr2=00000000dead0000",
        ),
        (
            What::Exception { fault: Fault::pf(0x15), cr2: 0x1000 },
            "#PF(0015) page fault, instruction fetch, user, protection, cr2=0000000000001000",
        ),
        (What::Exception { fault: Fault::UD, cr2: 0 }, "#UD invalid opcode"),
        (What::Exception { fault: Fault::gp(0x6A), cr2: 0 }, "#GP(006a) general protection, IDT entry dh"),
        (What::Interrupt(InterruptKind::External(0xEC)), "external interrupt, vector ech"),
        (What::Interrupt(InterruptKind::Software(0x80)), "int 80h"),
        (port(0x60, false, false, Width::Byte, 0x1c, "i8042"), "in al, 60h = 1c (i8042)"),
        (port(0xCF8, true, false, Width::Dword, 0x8000_0000, ""), "out cf8h, eax = 80000000"),
        (port(0x1F0, false, true, Width::Word, 0x55AA, "ide"), "insw 1f0h = 55aa (ide)"),
        (
            mmio(0xfee0_00b0, true, Width::Dword, 0, "local APIC EOI"),
            "mmio write 4 fee000b0 = 0 (local APIC EOI)",
        ),
        (mmio(0x10_0000_0000, false, Width::Qword, 7, ""), "mmio read 8 0000001000000000 = 7"),
        (
            What::Msr { index: 0xC000_0080, write: true, value: 0xD01 },
            "wrmsr IA32_EFER = d01 (SCE LME LMA NXE)",
        ),
        (What::Msr { index: 0x80B, write: true, value: 0 }, "wrmsr IA32_X2APIC_EOI = 0"),
        (What::Msr { index: 0x401, write: false, value: 0 }, "rdmsr IA32_MC0_STATUS = 0"),
        (What::Msr { index: 0x1234, write: false, value: 0 }, "rdmsr 1234h = 0"),
        (What::Control { mnemonic: "mov", register: 3, value: 0x1000 }, "mov cr3, 1000"),
        (What::Control { mnemonic: "mov", register: 0, value: 0x8000_0011 }, "mov cr0, 80000011 (PE ET PG)"),
        (What::Control { mnemonic: "xsetbv", register: XCR0, value: 7 }, "xsetbv xcr0 = 7"),
        (What::Instruction { bytes, len: 3, bits: 64 }, "mov rax, rcx"),
        (What::Instruction { bytes, len: 0, bits: 64 }, "code that cannot be read"),
    ];
    for (what, text) in cases {
        assert_eq!(line(what), format!("cpu0 1234567 0010:ffffffff81000123 cpl0 {text}"));
    }
}

#[test]
fn text_that_is_kept_is_that_of_the_bytes() {
    let mut listing = Listing::default();
    let mut text = |bytes: &[u8], bits, place: &Place| {
        let mut out = Text::default();
        listing.push(&mut out, place, bytes, bits);
        String::from_utf8(out.as_bytes().to_vec()).unwrap()
    };
    let here = place(0);
    for _ in 0..2 {
        assert!(text(&[0x90], 64, &here).ends_with("cpl0 nop\n"));
        assert!(text(&[0x40], 32, &here).ends_with("inc eax\n"));
        assert!(text(&[0x40], 16, &here).ends_with("inc ax\n"));
        assert!(text(&[0x90], 64, &Place { cpl: 3, ..here }).ends_with("cpl3 nop\n"));
        assert!(text(&[0x0F, 0xFF], 64, &here).ends_with('\n'));
    }
}

/// Takes so many writes.
struct Room(Mutex<(usize, Vec<u8>)>);

impl TraceSink for Room {
    fn write(&self, lines: &[u8]) -> Result<(), SinkEnded> {
        let mut room = self.0.lock().unwrap();
        room.0 = room.0.checked_sub(1).ok_or(SinkEnded)?;
        room.1.extend_from_slice(lines);
        Ok(())
    }
    fn ended(&self) -> Option<String> {
        None
    }
}

#[test]
fn the_last_records_are_kept_and_a_sink_that_ends_ends_the_trace() {
    let sink = Arc::new(Room(Mutex::new((1, Vec::new()))));
    let mut trace = VcpuTrace::new(3, Kinds::IO, Filter::default(), Some(sink.clone()));
    let record = |retired| Record { place: place(retired), what: What::Interrupt(InterruptKind::Nmi) };
    (0..500).for_each(|retired| trace.push(record(retired)));
    trace.flush();
    assert_eq!(trace.kinds(), Kinds::IO);
    let last = trace.last();
    assert_eq!((last.len(), last[0].split(' ').nth(1)), (LAST, Some("300")));
    assert!(last[LAST - 1].starts_with("cpu3 499 "));
    assert_eq!(sink.0.lock().unwrap().1.iter().filter(|byte| **byte == b'\n').count(), 500);
    trace.push(record(500));
    trace.flush();
    assert_eq!(trace.kinds(), Kinds::empty());
    // What was kept goes on with the next trace.
    let next = VcpuTrace::new(3, Kinds::IO, Filter::default(), None).after(trace);
    assert!(next.last()[LAST - 1].starts_with("cpu3 500 "));
}

#[test]
fn filters_take_what_is_within() {
    let filter = Filter { addresses: 0x1000..=0x1FFF, cpl: Some(3) };
    let at = |linear, cpl| Place { linear, cpl, ..place(0) };
    assert!(filter.takes(&at(0x1000, 3)) && filter.takes(&at(0x1FFF, 3)));
    assert!(!filter.takes(&at(0x2000, 3)) && !filter.takes(&at(0x1000, 0)));
    assert!(Filter::default().takes(&at(u64::MAX, 0)));
}

#[test]
fn words_name_kinds() {
    assert_eq!(Kinds::named("mmio"), Some(Kinds::MMIO));
    assert_eq!(Kinds::named("all"), None);
    assert_eq!((Kinds::EXC | Kinds::INSN).words(), "exc,insn");
}
