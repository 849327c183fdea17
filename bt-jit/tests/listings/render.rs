//! Guest code through the translator, and what comes out as text.

use super::names::Names;
use iced_x86::{
    Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, OpKind, Register, SymbolResolver,
    SymbolResult,
};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use trimotor_bt_jit::code_memory::{CodeMemory, CodeOffset};
use trimotor_bt_jit::thunks::{Runtime, Thunks};
use trimotor_bt_jit::translate::{HostFeatures, Source, Tools, Translation};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu_interp::core::mode;

/// Where guest code starts in its page.
pub const START: u16 = 0x100;
/// Where host code would be placed: somewhere behind the thunks.
const BASE: CodeOffset = CodeOffset(0x10_0000);

/// A kind of guest code.
#[derive(Clone, Copy)]
pub struct Setting {
    /// What the file says of it.
    pub name: &'static str,
    /// The decoder's bitness.
    pub bits: u32,
    mode: u32,
}

const OPEN: u32 = 0x3F << mode::OPEN_SHIFT;
const UNITS: u32 = mode::SSE | mode::AVX | mode::PROTECTED;

/// A 64-bit kernel.
pub const KERNEL64: Setting =
    Setting { name: "64-bit mode, CPL 0", bits: 64, mode: mode::CODE64 | OPEN | UNITS };
/// A 64-bit program.
pub const USER64: Setting =
    Setting { name: "64-bit mode, CPL 3", bits: 64, mode: mode::CODE64 | mode::USER | OPEN | UNITS };
/// A 32-bit program with flat segments.
pub const USER32: Setting = Setting {
    name: "32-bit protected mode, CPL 3, flat segments",
    bits: 32,
    mode: mode::CODE32 | mode::STACK32 | mode::USER | OPEN | UNITS,
};

/// A host instruction: place, length, text.
struct Line {
    at: u64,
    len: usize,
    text: String,
    /// Where it may jump to within the block.
    target: Option<u64>,
}

/// A translated block.
pub struct Listed {
    guest: Vec<(u16, usize, String)>,
    lines: Vec<Line>,
    translation: Translation,
    bytes: usize,
}

/// Turns guest code into listings.
pub struct Lister {
    setting: Setting,
    model: CpuModel,
    tools: Tools,
    thunks: Thunks,
}

impl Lister {
    /// For one kind of guest code. The listings are the same on all hosts.
    pub fn new(setting: Setting) -> Lister {
        let model = CpuModel::parse("max", 1_000_000_000).unwrap();
        let mut memory = CodeMemory::new(1 << 20).unwrap();
        let nowhere = Runtime {
            op: 0x1000,
            op_x87: 0x2000,
            load_x87: 0x3000,
            link: 0x4000,
            lookup: 0x5000,
            time_stamp: 0x6000,
            access_control: 0x7000,
            syscall: 0x8000,
            sysret: 0x9000,
        };
        let thunks = Thunks::place(&mut memory, &nowhere).unwrap();
        Lister { setting, model, tools: Tools::for_host(HostFeatures::all()), thunks }
    }

    /// Translates `code`, which stands at [`START`].
    pub fn list(&mut self, code: &[u8]) -> Listed {
        let page = [&[0; START as usize], code].concat();
        let source = Source {
            mode: self.setting.mode,
            model: &self.model,
            bytes: &page,
            offset: START,
            second_page: None,
            plain: false,
            x87_handed_over: false,
            base: BASE,
            first_site: 0,
            first_link: 0,
            first_slot: 0,
            counter: None,
        };
        let translation = self.tools.translate(&source, &self.thunks).unwrap().expect("a block");
        let host = self.tools.emitter.finish().unwrap().to_vec();
        let names = Names::new(&self.thunks, BASE);
        let guest =
            translation.ranges.iter().flat_map(|r| guest_lines(self.setting.bits, &page, r)).collect();
        Listed { guest, lines: host_lines(&host, names), translation, bytes: host.len() }
    }
}

/// The guest's instructions in `range`: offset, length, text.
fn guest_lines(bits: u32, page: &[u8], range: &Range<usize>) -> Vec<(u16, usize, String)> {
    let mut formatter = formatter(None);
    let decoder = Decoder::with_ip(bits, &page[range.clone()], range.start as u64, DecoderOptions::NONE);
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
                self.labels.get(&address).cloned().or_else(|| self.names.thunk(address))?
            }
            OpKind::Memory if i.memory_base() == Register::RSP => self.names.state(address)?,
            _ => return None,
        };
        Some(SymbolResult::with_string(address, name))
    }
}

fn host_lines(code: &[u8], names: Names) -> Vec<Line> {
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
    let line = |i: &Instruction| {
        assert!(!i.is_invalid(), "not an instruction at {:#x} of {code:02x?}", i.ip());
        Line { at: i.ip(), len: i.len(), text: text(&mut formatter, i), target: target(i) }
    };
    instructions.iter().map(line).collect()
}

impl Listed {
    /// How many guest instructions the block has.
    pub fn guest_instructions(&self) -> usize {
        self.translation.instructions
    }

    /// The whole block: entry, each guest instruction with its host code, and the cold code.
    pub fn block(&self) -> String {
        let cold = self.translation.cold as u64;
        let hot = self.lines.iter().filter(|l| l.at < cold).count();
        let mut out = format!(
            "; {} guest instructions in {} bytes: {} host instructions in {} bytes, and {} cold ones in {}\n",
            self.translation.instructions,
            self.translation.ranges.iter().map(Range::len).sum::<usize>(),
            hot,
            cold,
            self.lines.len() - hot,
            self.bytes as u64 - cold,
        );
        let mut starts = self.translation.positions.iter().zip(&self.guest).peekable();
        for line in &self.lines {
            while let Some(((_, at), (offset, _, text))) = starts.peek()
                && *at as u64 <= line.at
            {
                let _ = writeln!(out, "{offset:03x}  {text}");
                starts.next();
            }
            if line.at == cold {
                out += "cold:\n";
            }
            if line.at == self.translation.dead as u64 {
                out += "dead:\n";
            }
            self.put(&mut out, line);
        }
        out
    }

    /// The host code of the first instruction alone, as a row of a table: the guest's text, counts, the code, and
    /// its cold code. What follows in the block must be an instruction without host code.
    pub fn form(&self) -> String {
        let (cold, dead) = (self.translation.cold as u64, self.translation.dead as u64);
        let start = self.translation.positions[0].1 as u64;
        let end = self.translation.positions.get(1).map_or(cold, |second| second.1 as u64);
        let of = |from: u64, to: u64| self.lines.iter().filter(move |l| (from..to).contains(&l.at));
        let hot: Vec<_> = of(start, end).collect();
        let cold = self.reached(&hot, cold..dead);
        let bytes = |lines: &[&Line]| lines.iter().map(|l| l.len).sum::<usize>();
        let mut out =
            format!("{}\n    ; host instructions {}, bytes {}", self.guest[0].2, hot.len(), bytes(&hot));
        if !cold.is_empty() {
            let _ = write!(out, "; cold {}, {}", cold.len(), bytes(&cold));
        }
        out.push('\n');
        hot.iter().for_each(|line| self.put(&mut out, line));
        self.put_label(&mut out, end);
        if !cold.is_empty() {
            out += "  cold:\n";
            cold.iter().for_each(|line| self.put(&mut out, line));
        }
        out
    }
    /// The lines within `range` that `lines` lead to.
    fn reached(&self, lines: &[&Line], range: Range<u64>) -> Vec<&Line> {
        let mut open: Vec<_> = lines.iter().filter_map(|l| l.target).collect();
        let mut reached = BTreeMap::new();
        while let Some(at) = open.pop() {
            for line in self.lines.iter().filter(|l| l.at >= at && range.contains(&l.at)) {
                if !range.contains(&at) || reached.insert(line.at, line).is_some() {
                    break;
                }
                open.extend(line.target);
                if line.text.starts_with("jmp") {
                    break;
                }
            }
        }
        reached.into_values().collect()
    }

    /// A line of host code, after its label.
    fn put(&self, out: &mut String, line: &Line) {
        self.put_label(out, line.at);
        let _ = writeln!(out, "        {}", line.text);
    }
    /// The label of a place that is jumped to.
    fn put_label(&self, out: &mut String, at: u64) {
        let mut targets: Vec<_> = self.lines.iter().filter_map(|l| l.target).collect();
        targets.sort_unstable();
        targets.dedup();
        if let Ok(n) = targets.binary_search(&at) {
            let _ = writeln!(out, "  L{}:", n + 1);
        }
    }
}
