//! A record as a line of text.
//!
//! ```text
//! cpu0 1234567 0010:ffffffff81000123 cpl0 #PF(0002) page fault, write, not present, cr2=00007ffd12345678
//! ```
//! The vCPU, the instructions that it has retired, CS:RIP, the CPL, and what happened. Written by hand rather than with
//! `format!`: an instruction's line takes some tens of nanoseconds.

use super::listing::Listing;
use super::names;
use super::record::{InterruptKind, Place, Record, What, XCR0};
use crate::fault::Fault;
use trimotor_bus::{Label, Width};

/// Bytes of text that grow.
#[derive(Default)]
pub struct Text(Vec<u8>);

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Text {
    /// Empty, with room for so many bytes.
    pub fn with_room(bytes: usize) -> Text {
        Text(Vec::with_capacity(bytes))
    }
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Drops all of it; the room stays.
    pub fn clear(&mut self) {
        self.0.clear();
    }
    /// Adds text.
    #[inline]
    pub fn push(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }
    /// Adds bytes that are text.
    #[inline]
    pub fn push_bytes(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }
    /// Adds a number in decimal.
    #[inline]
    pub fn decimal(&mut self, mut value: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[at..]);
    }
    /// Adds a number in so many hexadecimal digits.
    #[inline]
    pub fn hex(&mut self, value: u64, digits: usize) {
        let mut text = [0; 16];
        for (place, digit) in text.iter_mut().enumerate() {
            *digit = HEX[(value >> (60 - 4 * place) & 15) as usize];
        }
        self.0.extend_from_slice(&text[16 - digits..]);
    }
    /// Adds a number in as many hexadecimal digits as it needs.
    pub fn short_hex(&mut self, value: u64) {
        let digits = (64 - value.leading_zeros()).div_ceil(4).max(1);
        self.hex(value, digits as usize);
    }
    /// Adds the names of what is in a value, in brackets.
    fn bits(&mut self, names: impl Iterator<Item = &'static str>) {
        let mut before = " (";
        for name in names {
            self.push(before);
            self.push(name);
            before = " ";
        }
        if before == " " {
            self.push(")");
        }
    }
    fn label(&mut self, label: &Label) {
        if !label.as_str().is_empty() {
            self.push(" (");
            self.push(label.as_str());
            self.push(")");
        }
    }
}

/// Adds a record of vCPU `cpu` as a line.
pub fn line(out: &mut Text, cpu: u32, record: &Record, listing: &mut Listing) {
    out.push("cpu");
    out.decimal(cpu.into());
    out.push(" ");
    out.decimal(record.place.retired);
    match &record.what {
        What::Instruction { bytes, len, bits } => {
            listing.push(out, &record.place, &bytes[..usize::from(*len).min(bytes.len())], *bits);
            return;
        }
        what => {
            place(out, &record.place);
            happening(out, what);
        }
    }
    out.push("\n");
}

/// CS:RIP and the CPL.
pub(super) fn place(out: &mut Text, place: &Place) {
    out.push(" ");
    out.hex(place.selector.into(), 4);
    out.push(":");
    out.hex(place.rip, if place.rip >> 32 == 0 { 8 } else { 16 });
    out.push(" cpl");
    out.decimal(place.cpl.into());
    out.push(" ");
}

fn happening(out: &mut Text, what: &What) {
    match what {
        What::Instruction { .. } => {}
        What::Exception { fault, cr2 } => exception(out, *fault, *cr2),
        What::Interrupt(kind) => interrupt(out, *kind),
        What::Port { port, write, string, width, value, label } => {
            port_access(out, port.0, (*write, *string), *width, *value);
            out.label(label);
        }
        What::Mmio { address, write, width, value, label } => {
            out.push(if *write { "mmio write " } else { "mmio read " });
            out.decimal(width.bytes() as u64);
            out.push(" ");
            out.hex(address.0, if address.0 >> 32 == 0 { 8 } else { 16 });
            out.push(" = ");
            out.short_hex(*value);
            out.label(label);
        }
        What::Msr { index, write, value } => {
            out.push(if *write { "wrmsr " } else { "rdmsr " });
            match names::msr(*index) {
                Some(name) => out.push(&name),
                None => {
                    out.short_hex((*index).into());
                    out.push("h");
                }
            }
            out.push(" = ");
            out.short_hex(*value);
            out.bits(names::msr_bits(*index, *value));
        }
        What::Control { mnemonic, register, value } => control(out, mnemonic, *register, *value),
    }
}

fn exception(out: &mut Text, fault: Fault, cr2: u64) {
    out.push(Fault::name(fault.vector()));
    if let Some(code) = fault.error_code() {
        out.push("(");
        out.hex(code.into(), 4);
        out.push(")");
    }
    out.push(" ");
    out.push(names::exception(fault.vector()));
    let Some(code) = fault.error_code() else { return };
    match fault.vector() {
        14 => {
            let access = match code & 0x12 {
                0x10 => ", instruction fetch",
                2 => ", write",
                _ => ", read",
            };
            out.push(access);
            out.push(if code & 4 != 0 { ", user" } else { "" });
            out.push(if code & 1 != 0 { ", protection" } else { ", not present" });
            out.push(if code & 8 != 0 { ", reserved bit" } else { "" });
            out.push(if code & 32 != 0 { ", protection key" } else { "" });
            out.push(", cr2=");
            out.hex(cr2, 16);
        }
        10..=13 if code != 0 => {
            let table = match code & 6 {
                0 => ", GDT entry ",
                4 => ", LDT entry ",
                _ => ", IDT entry ",
            };
            out.push(table);
            out.short_hex((code >> 3).into());
            out.push("h");
            out.push(if code & 1 != 0 { ", external event" } else { "" });
        }
        _ => {}
    }
}

fn interrupt(out: &mut Text, kind: InterruptKind) {
    let (name, vector) = match kind {
        InterruptKind::External(vector) => ("external interrupt, vector ", Some(vector)),
        InterruptKind::Software(vector) => ("int ", Some(vector)),
        InterruptKind::Nmi => ("NMI", None),
        InterruptKind::Smi => ("SMI", None),
        InterruptKind::Init => ("INIT", None),
        InterruptKind::Startup(vector) => ("SIPI, vector ", Some(vector)),
    };
    out.push(name);
    if let Some(vector) = vector {
        out.short_hex(vector.into());
        out.push("h");
    }
}

/// `in al, 60h = 1c`, `outsb 1f0h = 12`.
fn port_access(out: &mut Text, port: u16, (write, string): (bool, bool), width: Width, value: u32) {
    let (accumulator, letter) = match width {
        Width::Byte => ("al", "b"),
        Width::Word => ("ax", "w"),
        _ => ("eax", "d"),
    };
    let number = |out: &mut Text| {
        out.short_hex(port.into());
        out.push("h");
    };
    match (write, string) {
        (false, false) => {
            out.push("in ");
            out.push(accumulator);
            out.push(", ");
            number(out);
        }
        (true, false) => {
            out.push("out ");
            number(out);
            out.push(", ");
            out.push(accumulator);
        }
        (_, true) => {
            out.push(if write { "outs" } else { "ins" });
            out.push(letter);
            out.push(" ");
            number(out);
        }
    }
    out.push(" = ");
    out.short_hex(value.into());
}

fn control(out: &mut Text, mnemonic: &str, register: u8, value: u64) {
    out.push(mnemonic);
    out.push(" ");
    if register == XCR0 {
        out.push("xcr0");
    } else {
        out.push("cr");
        out.decimal(register.into());
    }
    out.push(if mnemonic == "mov" { ", " } else { " = " });
    out.short_hex(value);
    out.bits(names::control_bits(register, value));
}
