//! Host code as text: thunks, the vCPU's state and places within the block have names.

mod block;
mod names;

pub use names::Names;

use iced_x86::{
    Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, OpKind, Register, SymbolResolver,
    SymbolResult,
};
use std::collections::BTreeMap;

/// A host instruction.
pub struct Line {
    /// Bytes from the block's start.
    pub at: u64,
    /// Its length.
    pub len: usize,
    /// As an assembler writes it.
    pub text: String,
    /// Where it may jump to within the block.
    pub target: Option<u64>,
}

/// A guest instruction: offset in its page, length, text.
pub type GuestLine = (u16, usize, String);

/// The guest instructions of `code`, which starts at `offset` in its page.
pub fn guest_lines(bits: u32, code: &[u8], offset: u16) -> Vec<GuestLine> {
    let mut formatter = formatter(None);
    let decoder = Decoder::with_ip(bits, code, offset as u64, DecoderOptions::NONE);
    decoder.into_iter().map(|i| (i.ip() as u16, i.len(), text(&mut formatter, &i))).collect()
}

fn formatter(symbols: Option<Box<dyn SymbolResolver>>) -> IntelFormatter {
    let mut formatter = IntelFormatter::with_options(symbols, None);
    let options = formatter.options_mut();
    options.set_first_operand_char_index(8);
    options.set_space_after_operand_separator(true);
    options.set_small_hex_numbers_in_decimal(true);
    options.set_show_symbol_address(false);
    options.set_rip_relative_addresses(true);
    options.set_branch_leading_zeros(false);
    formatter
}

fn text(formatter: &mut IntelFormatter, i: &Instruction) -> String {
    let mut text = String::new();
    formatter.format(i, &mut text);
    text.trim_end().to_owned()
}

/// Names of thunks, of the vCPU's state, and of places in the block.
struct Symbols {
    names: Names,
    labels: BTreeMap<u64, String>,
}

impl SymbolResolver for Symbols {
    fn symbol(
        &mut self,
        i: &Instruction,
        operand: u32,
        instruction_operand: Option<u32>,
        address: u64,
        _: u32,
    ) -> Option<SymbolResult<'_>> {
        let name = match i.op_kind(instruction_operand.unwrap_or(operand)) {
            OpKind::NearBranch64 => {
                self.labels.get(&address).cloned().or_else(|| self.names.code(address))?
            }
            OpKind::Memory if i.memory_base() == Register::RSP => self.names.state(address)?,
            _ => return None,
        };
        Some(SymbolResult::with_string(address, name))
    }
}

/// The host instructions of a block.
pub fn host_lines(code: &[u8], names: Names) -> Vec<Line> {
    let instructions: Vec<_> = Decoder::with_ip(64, code, 0, DecoderOptions::NONE).into_iter().collect();
    let target = |i: &Instruction| {
        let near = i.op_count() > 0 && i.op0_kind() == OpKind::NearBranch64;
        (near && i.near_branch64() < code.len() as u64).then(|| i.near_branch64())
    };
    let mut targets: Vec<_> = instructions.iter().filter_map(target).collect();
    targets.sort_unstable();
    targets.dedup();
    let labels = targets.into_iter().enumerate().map(|(n, at)| (at, format!("L{}", n + 1))).collect();
    let mut formatter = formatter(Some(Box::new(Symbols { names, labels })));
    let line =
        |i: &Instruction| Line { at: i.ip(), len: i.len(), text: text(&mut formatter, i), target: target(i) };
    instructions.iter().map(line).collect()
}

/// The label of the place `at`, where one of `lines` leads there.
pub fn label(lines: &[Line], at: u64) -> Option<String> {
    let mut targets: Vec<_> = lines.iter().filter_map(|line| line.target).collect();
    targets.sort_unstable();
    targets.dedup();
    targets.binary_search(&at).ok().map(|n| format!("  L{}:\n", n + 1))
}
