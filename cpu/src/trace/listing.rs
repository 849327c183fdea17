//! Instructions as text, which is kept: a program spends its time in few of them.

use super::record::Place;
use super::text::{self, Text};
use iced_x86::{Decoder, DecoderOptions, Formatter, FormatterOutput, FormatterTextKind, IntelFormatter};
use std::cell::RefCell;

/// Instructions whose text is kept.
const KEPT: usize = 1 << 14;
/// The longest text that is kept, with its place, in bytes.
const LONGEST: usize = 120;

/// The text of one instruction at one place.
#[derive(Clone)]
struct Kept {
    rip: u64,
    selector: u16,
    cpl: u8,
    bits: u8,
    bytes: [u8; 15],
    /// Of `bytes`; 0: the entry is free.
    len: u8,
    text_len: u8,
    text: [u8; LONGEST],
}

/// Instructions as text.
#[derive(Default)]
pub struct Listing {
    /// By the place; empty until the first instruction comes.
    kept: Vec<Kept>,
}

impl Kept {
    const FREE: Kept = Kept {
        rip: 0,
        selector: 0,
        cpl: 0,
        bits: 0,
        bytes: [0; 15],
        len: 0,
        text_len: 0,
        text: [0; LONGEST],
    };
    #[inline]
    fn is(&self, place: &Place, bytes: &[u8], bits: u8) -> bool {
        self.rip == place.rip
            && usize::from(self.len) == bytes.len()
            && self.bytes[..bytes.len()] == *bytes
            && (self.selector, self.cpl, self.bits) == (place.selector, place.cpl, bits)
    }
}

thread_local! {
    /// Cannot go from thread to thread with a vCPU.
    static FORMATTER: RefCell<IntelFormatter> = RefCell::new(formatter());
}

/// Formats in the style of all listings here: Intel's syntax, `0x` before hexadecimal numbers.
pub fn formatter() -> IntelFormatter {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_space_after_operand_separator(true);
    options.set_branch_leading_zeros(false);
    formatter
}

impl FormatterOutput for Text {
    fn write(&mut self, text: &str, _kind: FormatterTextKind) {
        self.push(text);
    }
}

impl Listing {
    /// Adds the place, the instruction that `bytes` are, and the end of the line. No bytes: they cannot be read.
    #[inline]
    pub fn push(&mut self, out: &mut Text, place: &Place, bytes: &[u8], bits: u8) {
        let index = (place.rip ^ place.rip >> 14) as usize % KEPT;
        match self.kept.get(index) {
            Some(kept) if kept.len != 0 && kept.is(place, bytes, bits) => {
                out.push_bytes(&kept.text[..usize::from(kept.text_len)]);
            }
            _ => self.make(out, place, bytes, bits, index),
        }
    }
    #[cold]
    fn make(&mut self, out: &mut Text, place: &Place, bytes: &[u8], bits: u8, index: usize) {
        let from = out.len();
        text::place(out, place);
        if bytes.is_empty() {
            out.push("code that cannot be read");
        } else {
            let mut decoder = Decoder::with_ip(bits.into(), bytes, place.rip, DecoderOptions::NONE);
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                out.push("(bad)");
            } else {
                FORMATTER.with_borrow_mut(|formatter| formatter.format(&instruction, out));
            }
        }
        out.push("\n");
        let text = &out.as_bytes()[from..];
        if text.len() > LONGEST || bytes.is_empty() {
            return;
        }
        if self.kept.is_empty() {
            self.kept = vec![Kept::FREE; KEPT];
        }
        let kept = &mut self.kept[index];
        (kept.rip, kept.selector, kept.cpl, kept.bits) = (place.rip, place.selector, place.cpl, bits);
        kept.bytes[..bytes.len()].copy_from_slice(bytes);
        (kept.len, kept.text_len) = (bytes.len() as u8, text.len() as u8);
        kept.text[..text.len()].copy_from_slice(text);
    }
}
