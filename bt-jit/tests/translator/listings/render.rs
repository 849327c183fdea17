//! Guest code through the translator, and what comes out as text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use trimotor_bt_jit::code_memory::{CodeMemory, CodeOffset};
use trimotor_bt_jit::listing::{GuestLine, Line, Names, guest_lines, host_lines, label};
use trimotor_bt_jit::thunks::{Runtime, Thunks};
use trimotor_bt_jit::translate::{HostFeatures, Source, Tools, Translation};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu_interp::core::mode;
use trimotor_cpu_interp::debugger::PageOffsets;

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

/// A translated block.
pub struct Listed {
    guest: Vec<GuestLine>,
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
        trimotor_bt_jit::host_flags::assume_on_this_thread(true);
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
            cuts: &PageOffsets::NONE,
            uncoalesced: false,
            x87_fallback: false,
            base: BASE,
            first_fallback: 0,
            first_link: 0,
            first_ic: 0,
            counter: None,
        };
        let translation = self.tools.translate(&source, &self.thunks).unwrap().expect("a block");
        let host = self.tools.emitter.finish().unwrap().to_vec();
        let names = Names::new(&self.thunks, BASE);
        let lines =
            |r: &std::ops::Range<usize>| guest_lines(self.setting.bits, &page[r.clone()], r.start as u16);
        let guest = translation.ranges.iter().flat_map(lines).collect();
        Listed { guest, lines: host_lines(&host, names), translation, bytes: host.len() }
    }
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
        out.push_str(&label(&self.lines, at).unwrap_or_default());
    }
}
