//! Random programs: straight code with skips, loops, calls, jumps to another page, code that is
//! changed while it runs, page tables that are edited, and everything that a board sees.

use crate::board::{PORT_DMA, PORT_INTR, PORT_KICK, PORT_NMI, PORT_WITHDRAW};
use crate::forms::Forms;
use crate::instructions::{FAR, Maker, POINTERS, wanders};
use crate::map::{self, linear, selector};
use crate::world::Paging;
use iced_x86::{Code, Encoder, IcedError, Instruction, MemoryOperand, Register};
use trimotor_bt_jit::engine_area::InlineCache;

/// An instruction at an offset from the first code byte. Those of a group make sense together only.
#[derive(Clone)]
pub struct Item {
    pub at: u64,
    pub bytes: Vec<u8>,
    pub group: u32,
    /// The program's end: no handler goes on after it.
    pub last: bool,
}

/// Where called functions lie: another page than the main program.
const FUNCTIONS: u64 = 0x2000;
/// The main program ends before.
const MAIN_END: u64 = 0x1F80;
/// Offset in the data pages of the counter of the whole program's repetition.
pub const COUNTER: u64 = 6 * map::PAGE + 0xFF0;
/// Condition codes.
const CONDITIONS: u64 = 16;

pub struct Builder<'a> {
    pub maker: Maker<'a>,
    pub forms: &'a Forms,
    pub items: Vec<Item>,
    at: u64,
    group: u32,
    functions: Vec<u64>,
}

impl<'a> Builder<'a> {
    pub fn new(maker: Maker<'a>, forms: &'a Forms) -> Builder<'a> {
        Builder { maker, forms, items: Vec::new(), at: 0, group: 0, functions: Vec::new() }
    }

    /// The whole program; returns where it begins.
    pub fn build(&mut self) -> u64 {
        for n in 0..2 {
            self.at = FUNCTIONS + n * 0x800 + self.below(0x80);
            self.functions.push(self.at);
            for _ in 0..1 + self.below(5) {
                self.plain();
            }
            self.group += 1;
            self.emit(&[0xC3]);
        }
        let crosses = self.percent(60);
        self.at = if crosses { map::PAGE - self.below(100) } else { self.below(0xE00) };
        let entry = self.at;
        let most = if self.percent(20) { 40 } else { 12 };
        let units = 2 + self.below(most);
        for _ in 0..units {
            if self.at < MAIN_END - 0x180 {
                self.unit();
            }
        }
        if self.percent(35) {
            self.group += 1;
            let at = self.data(COUNTER);
            self.absolute(&[0xFF], 1, at, Register::None, &[]);
            let back = entry.wrapping_sub(self.at + 6 - if self.bits() == 16 { 2 } else { 0 });
            self.jump(&[0x0F, 0x85], back);
        }
        self.group += 1;
        self.emit(&[0xF4]);
        if let Some(item) = self.items.last_mut() {
            item.last = true;
        }
        entry
    }

    fn bits(&self) -> u32 {
        self.maker.world.bits
    }
    fn below(&mut self, n: u64) -> u64 {
        self.maker.random.below(n)
    }
    fn percent(&mut self, n: u64) -> bool {
        self.maker.random.percent(n)
    }
    /// The offset in DS of a data byte.
    fn data(&self, at: u64) -> u64 {
        self.maker.world.data + at
    }
    fn emit(&mut self, bytes: &[u8]) -> usize {
        self.items.push(Item { at: self.at, bytes: bytes.to_vec(), group: self.group, last: false });
        self.at += bytes.len() as u64;
        self.items.len() - 1
    }
    /// An opcode with a relative target of the full size.
    fn jump(&mut self, opcode: &[u8], relative: u64) -> usize {
        let mut bytes = opcode.to_vec();
        bytes.extend_from_slice(&relative.to_le_bytes()[..if self.bits() == 16 { 2 } else { 4 }]);
        self.emit(&bytes)
    }
    /// An opcode with /`digit` and a memory operand at an absolute address, and what follows it.
    fn absolute(&mut self, opcode: &[u8], digit: u8, at: u64, segment: Register, rest: &[u8]) -> usize {
        let mut bytes = Vec::new();
        match segment {
            Register::ES => bytes.push(0x26),
            Register::FS => bytes.push(0x64),
            _ => {}
        }
        bytes.extend_from_slice(opcode);
        let at = (at as u32).to_le_bytes();
        match self.bits() {
            64 => bytes.extend_from_slice(&[digit << 3 | 4, 0x25]),
            32 => bytes.push(digit << 3 | 5),
            _ => bytes.push(digit << 3 | 6),
        }
        bytes.extend_from_slice(&at[..if self.bits() == 16 { 2 } else { 4 }]);
        bytes.extend_from_slice(rest);
        self.emit(&bytes)
    }
    /// MOV of a constant of the code size (32 bits in 64-bit code) to EAX or EDX; returns the item.
    fn constant(&mut self, register: u8, value: u64) -> usize {
        let mut bytes = vec![0xB8 + register];
        bytes.extend_from_slice(&value.to_le_bytes()[..if self.bits() == 16 { 2 } else { 4 }]);
        self.emit(&bytes)
    }

    /// One unit of the main program.
    fn unit(&mut self) {
        match self.below(100) {
            0..52 => self.plain(),
            52..62 => self.skip(),
            62..68 => self.repeat(),
            68..73 => self.call(),
            73..78 => self.indirect(),
            78..84 => self.change_code(),
            84..87 => self.edit_tables(),
            87..91 => self.port(),
            91..95 => self.flags(),
            95 => self.segment(),
            96 => self.far_pointer(),
            _ => self.far_away(),
        }
    }

    /// One instruction of any form.
    fn plain(&mut self) {
        self.group += 1;
        let forms = self.forms;
        for _ in 0..4 {
            let family = match self.below(100) {
                0..55 => &forms.integer,
                55..61 => &forms.strings,
                61..70 => &forms.x87,
                70..73 => &forms.mmx,
                73..95 => &forms.vector,
                _ => &forms.system,
            };
            let code = self.maker.random.pick(family);
            let rare = wanders(code) || matches!(code, Code::Hlt);
            if rare && !self.percent(10) {
                continue;
            }
            let ip = self.maker.world.code + self.at;
            if let Some(bytes) = self.maker.encode(code, ip) {
                self.emit(&bytes);
                return;
            }
        }
    }

    /// A conditional jump over a few instructions.
    fn skip(&mut self) {
        self.group += 1;
        let condition = self.below(CONDITIONS) as u8;
        let item = match self.below(4) {
            0 | 1 => self.emit(&[0x70 | condition, 0]),
            2 => self.jump(&[0x0F, 0x80 | condition], 0),
            _ => self.emit(&[0xEB, 0]),
        };
        let from = self.at;
        for _ in 0..1 + self.below(3) {
            self.plain();
        }
        let distance = self.at - from;
        self.set_target(item, distance);
    }
    /// Sets the relative target, which is the instruction's last bytes.
    fn set_target(&mut self, item: usize, relative: u64) {
        let bytes = &mut self.items[item].bytes;
        let size = match bytes.len() {
            2 => 1,
            _ if self.maker.world.bits == 16 => 2,
            _ => 4,
        };
        let start = bytes.len() - size;
        bytes[start..].copy_from_slice(&relative.to_le_bytes()[..size]);
    }

    /// A loop that ECX counts.
    fn repeat(&mut self) {
        if self.maker.kept & 2 != 0 {
            return self.plain();
        }
        self.group += 1;
        let group = self.group;
        let count = 1 + self.below(12);
        self.constant(1, count);
        let head = self.at;
        self.maker.kept |= 2;
        for _ in 0..1 + self.below(4) {
            if self.percent(80) { self.plain() } else { self.skip() }
        }
        self.maker.kept &= !2;
        let later = std::mem::replace(&mut self.group, group);
        let short = self.at + 4 - head < 0x80;
        if short && self.percent(40) {
            let back = head.wrapping_sub(self.at + 2);
            self.emit(&[0xE2, back as u8]);
        } else {
            self.emit(if self.bits() == 64 { &[0xFF, 0xC9] } else { &[0x49] });
            let length = if self.bits() == 16 { 4 } else { 6 };
            let back = head.wrapping_sub(self.at + length);
            self.jump(&[0x0F, 0x85], back);
        }
        self.group = later;
    }

    /// A pointer that is moved by a large constant, accesses by it with displacements that make up for that, and back
    /// again. Seldom it leads to the page that translated code takes for one of an empty inline cache.
    fn far_pointer(&mut self) {
        if self.bits() == 16 || self.maker.moved.is_some() {
            return self.plain();
        }
        self.group += 1;
        let group = self.group;
        let long = self.bits() == 64;
        let n = POINTERS[self.below(if long { 8 } else { 4 }) as usize];
        let constant = self.maker.random.pick(&FAR);
        if long && self.percent(20) {
            let nowhere = InlineCache::NOWHERE + self.below(map::PAGE);
            self.push(Instruction::with2(Code::Mov_r64_imm64, Register::RAX + n as u32, nowhere));
        } else {
            self.move_pointer(n, constant);
            self.maker.moved = Some((n, -i64::from(constant)));
        }
        let kept = self.maker.kept;
        self.maker.kept |= 1 << n;
        for _ in 0..1 + self.below(4) {
            self.plain();
        }
        self.maker.kept = kept;
        let later = std::mem::replace(&mut self.group, group);
        if self.maker.moved.take().is_some() {
            self.move_pointer(n, constant.wrapping_neg());
        }
        self.group = later;
    }
    /// ADD or LEA of a constant to a pointer.
    fn move_pointer(&mut self, n: usize, by: i32) {
        let long = self.bits() == 64;
        let register = if long { Register::RAX } else { Register::EAX } + n as u32;
        let width = if long { 8 } else { 4 };
        let moved = MemoryOperand::with_base_displ_size(register, by.into(), width);
        let made = match (self.percent(50), long) {
            (true, true) => Instruction::with2(Code::Add_rm64_imm32, register, by),
            (true, false) => Instruction::with2(Code::Add_rm32_imm32, register, by),
            (false, true) => Instruction::with2(Code::Lea_r64_m, register, moved),
            (false, false) => Instruction::with2(Code::Lea_r32_m, register, moved),
        };
        self.push(made);
    }
    /// An instruction that does not depend on where it is.
    fn push(&mut self, i: Result<Instruction, IcedError>) {
        let mut encoder = Encoder::new(self.bits());
        if i.is_ok_and(|i| encoder.encode(&i, 0).is_ok()) {
            let bytes = encoder.take_buffer();
            self.emit(&bytes);
        }
    }

    fn call(&mut self) {
        self.group += 1;
        let n = self.below(2) as usize;
        let length = if self.bits() == 16 { 3 } else { 5 };
        let relative = self.functions[n].wrapping_sub(self.at + length);
        self.jump(&[0xE8], relative);
    }

    /// A jump, call or return by a register or the stack.
    fn indirect(&mut self) {
        self.group += 1;
        let register = [0, 2][self.below(2) as usize];
        let pick = self.below(2) as usize;
        let function = self.maker.world.code + self.functions[pick];
        match self.below(3) {
            0 => {
                self.constant(register, function);
                self.emit(&[0xFF, 0xD0 | register]);
            }
            kind => {
                let item = self.constant(register, 0);
                if kind == 1 {
                    self.emit(&[0xFF, 0xE0 | register]);
                } else {
                    self.emit(&[0x50 | register]);
                    self.emit(&[0xC3]);
                }
                if self.percent(50) {
                    self.plain();
                }
                let target = self.maker.world.code + self.at;
                let bytes = &mut self.items[item].bytes;
                let size = bytes.len() - 1;
                bytes[1..].copy_from_slice(&target.to_le_bytes()[..size]);
            }
        }
    }

    /// A store into code: behind, ahead, into another page, or beside it; by one of its mappings.
    fn change_code(&mut self) {
        self.group += 1;
        let (base, segment) = if self.maker.world.code == 0 {
            (0, Register::ES)
        } else {
            ([linear::CODE, linear::ALIAS][self.below(2) as usize], Register::None)
        };
        if self.percent(35) {
            // The constant of the instruction after it.
            let prefix = u64::from(segment != Register::None);
            let length = prefix
                + if self.bits() == 64 {
                    11
                } else if self.bits() == 32 {
                    10
                } else {
                    6
                };
            let value = self.maker.random.next().to_le_bytes();
            let size = if self.bits() == 16 { 2 } else { 4 };
            self.absolute(&[0xC7], 0, base + self.at + length + 1, segment, &value[..size]);
            self.constant(0, 1);
            return;
        }
        let count = self.items.len() as u64;
        let pick = self.below(count) as usize;
        let (at, length) = (self.items[pick].at, self.items[pick].bytes.len() as u64);
        let at = match self.below(4) {
            0 => self.at + 8 + self.below(60),
            1 => at + self.below(length),
            2 => at,
            _ => self.below(map::CODE_BYTES),
        };
        let other = self.below(count) as usize;
        let mut bytes = self.items[other].bytes.clone();
        bytes.resize(8, 0x90);
        if self.percent(60) {
            self.absolute(&[0xC6], 0, base + at, segment, &bytes[..1]);
        } else {
            let size = if self.bits() == 16 { 2 } else { 4 };
            self.absolute(&[0xC7], 0, base + at, segment, &bytes[..size]);
        }
    }

    /// An edit of a page-table entry, and what makes it valid.
    fn edit_tables(&mut self) {
        if !self.maker.edits_tables() {
            return self.plain();
        }
        self.group += 1;
        let page = self.below(linear::PLAY_PAGES);
        let index = (linear::PLAY - linear::BASE) / map::PAGE + page;
        let size = if self.maker.world.paging == Paging::TwoLevel { 4 } else { 8 };
        let at = linear::TABLE + size * index;
        if size == 8 && self.percent(20) {
            let no_execute = [0, 0, 0, self.maker.random.pick(&[0, 0x80])];
            self.absolute(&[0xC7], 0, at + 4, Register::None, &no_execute);
        } else {
            let places = [
                map::SPARE,
                map::SPARE + map::PAGE,
                map::DATA,
                map::DATA + map::PAGE,
                map::CODE,
                map::DEVICE,
            ];
            let physical = self.maker.random.pick(&places);
            let rights = self.maker.random.pick(&[3, 3, 3, 7, 1, 0, 2, 0x63, 0x23]);
            let entry = (physical | rights) as u32;
            self.absolute(&[0xC7], 0, at, Register::None, &entry.to_le_bytes());
        }
        if self.percent(70) {
            self.absolute(&[0x0F, 0x01], 7, linear::PLAY + page * map::PAGE + 0x123, Register::None, &[]);
        } else {
            self.emit(&[0x0F, 0x20, 0xD8]);
            self.emit(&[0x0F, 0x22, 0xD8]);
        }
        let place = linear::PLAY + page * map::PAGE + self.below(map::PAGE - 8);
        if self.percent(50) {
            self.absolute(&[0x8B], 2, place, Register::None, &[]);
        } else {
            self.absolute(&[0x89], 2, place, Register::None, &[]);
        }
    }

    fn port(&mut self) {
        self.group += 1;
        let effects = [PORT_INTR, PORT_WITHDRAW, PORT_KICK, PORT_DMA, PORT_NMI, 0x20, 0x38];
        let port = self.maker.random.pick(&effects);
        match self.below(5) {
            0 => {
                let wide = self.below(2) as u8;
                self.emit(&[0xE4 | wide, port]);
            }
            1 => {
                self.constant(2, port.into());
                self.emit(&[0xEF]);
            }
            _ => {
                if port == PORT_DMA {
                    let at = self.at;
                    let value = at + self.below(0x40);
                    self.constant(0, value);
                }
                let wide = self.below(2) as u8;
                self.emit(&[0xE6 | wide, port]);
            }
        }
    }

    /// STI, CLI, and TF by POPF.
    fn flags(&mut self) {
        self.group += 1;
        match self.below(8) {
            0..4 => {
                self.emit(&[0xFB]);
            }
            4 | 5 => {
                self.emit(&[0xFA]);
            }
            n => {
                // PUSHF; OR or AND of [RSP + 1], which holds TF; POPF.
                self.emit(&[0x9C]);
                let (digit, value) = if n == 6 { (1, 1) } else { (4, 0xFE) };
                if self.bits() == 16 {
                    // MOV BP, SP and [BP + 1].
                    self.emit(&[0x89, 0xE5]);
                    self.emit(&[0x80, 0x46 | digit << 3, 1, value]);
                } else {
                    self.emit(&[0x80, 0x44 | digit << 3, 0x24, 1, value]);
                }
                self.emit(&[0x9D]);
            }
        }
    }

    /// A load of a segment register with a value that may do.
    fn segment(&mut self) {
        self.group += 1;
        let register = [0, 2, 3, 4, 5][self.below(5) as usize];
        let world = self.maker.world;
        let all = [
            world.base.segments[0].selector,
            world.base.segments[2].selector,
            world.base.segments[3].selector,
            selector::USER_DATA,
            selector::DATA,
            selector::ODD_DATA,
            0,
        ];
        let value = if self.percent(60) {
            world.base.segments[register as usize].selector
        } else {
            self.maker.random.pick(&all)
        };
        self.constant(0, value.into());
        self.emit(&[0x8E, 0xC0 | register << 3]);
    }

    /// What few programs do: HLT, INT n, a jump into the middle of an instruction, CPUID, RDTSC.
    fn far_away(&mut self) {
        self.group += 1;
        match self.below(8) {
            0 => self.emit(&[0xF4]),
            1 => self.emit(&[0xCC]),
            2 => self.emit(&[0xCD, 0x80]),
            3 => self.emit(&[0x0F, 0x31]),
            4 => {
                let count = self.items.len() as u64;
                let pick = self.below(count) as usize;
                let target = self.items[pick].at + self.below(3);
                let length = if self.bits() == 16 { 4 } else { 6 };
                let condition = self.below(CONDITIONS) as u8;
                let relative = target.wrapping_sub(self.at + length);
                self.jump(&[0x0F, 0x80 | condition], relative)
            }
            5 => self.emit(&[0x0F, 0x05]),
            6 => self.emit(&[0x0F, 0x0B]),
            _ => {
                let relative = self.below(0x80) as u8 & 0x3F;
                self.emit(&[0xE3, relative])
            }
        };
    }
}
