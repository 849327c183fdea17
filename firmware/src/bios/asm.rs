//! The assembler with what ROM modules need: named routines, data at known addresses, tables of routines.
//!
//! A *module* is a piece of code and data with a segment of its own: the system BIOS at F000h, the video BIOS at
//! C000h. Its data start at a known offset, so that code can name data by number; its code starts at another one, or
//! follows the data. Routines have names; the names with their addresses come out as a symbol table.

use super::BiosError;
use iced_x86::code_asm::{CodeAssembler, CodeLabel};
use iced_x86::{BlockEncoderOptions, IcedError};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

/// The result of writing a piece of a module.
pub type Build = Result<(), IcedError>;

/// Writes instructions: `code!(a; mov(ax, 1); push(ax); hlt);` is `a.mov(ax, 1)?; a.push(ax)?; a.hlt()?;`.
macro_rules! code {
    ($a:ident; $($op:ident $(($($arg:expr),* $(,)?))?);* $(;)?) => {
        $( $a.$op($($($arg),*)?)?; )*
    };
}
pub(crate) use code;

/// Where a module's code starts.
enum CodeBase {
    At(u32),
    BehindData,
}

/// A module while it is written.
pub struct Module {
    code: CodeAssembler,
    code_base: CodeBase,
    data_base: u32,
    data: Vec<u8>,
    names: BTreeMap<&'static str, CodeLabel>,
    defined: Vec<&'static str>,
    /// Words of the data that are addresses of routines.
    addresses: Vec<(usize, &'static str)>,
    bound_at: Option<usize>,
}

impl Deref for Module {
    type Target = CodeAssembler;
    fn deref(&self) -> &CodeAssembler {
        &self.code
    }
}
impl DerefMut for Module {
    fn deref_mut(&mut self) -> &mut CodeAssembler {
        &mut self.code
    }
}

/// A module that is done.
pub struct Assembled {
    /// The offset of the code.
    pub code_base: u32,
    /// The code.
    pub code: Vec<u8>,
    /// The data, which stand at its data base.
    pub data: Vec<u8>,
    /// The offsets of routines, by their names.
    pub symbols: BTreeMap<&'static str, u32>,
}

impl Assembled {
    /// Names of routines and their physical addresses in a segment, in ascending order.
    pub fn addresses(&self, segment: u16) -> Vec<(u32, String)> {
        let base = u32::from(segment) << 4;
        let mut all: Vec<_> = self.symbols.iter().map(|(name, at)| (base + at, (*name).to_owned())).collect();
        all.sort();
        all
    }
    /// The offset of a routine.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn offset(&self, name: &'static str) -> Result<u16, BiosError> {
        self.symbols.get(name).map(|offset| *offset as u16).ok_or(BiosError::Missing { routine: name })
    }
}

impl Module {
    /// A module whose code starts at one offset of its segment and whose data start at another.
    pub fn new(code_base: u32, data_base: u32) -> Result<Self, IcedError> {
        Self::with(CodeBase::At(code_base), data_base)
    }
    /// A module whose data start at an offset of its segment, with the code behind them.
    pub fn data_first(data_base: u32) -> Result<Self, IcedError> {
        Self::with(CodeBase::BehindData, data_base)
    }
    fn with(code_base: CodeBase, data_base: u32) -> Result<Self, IcedError> {
        Ok(Self {
            code: CodeAssembler::new(16)?,
            code_base,
            data_base,
            data: Vec::new(),
            names: BTreeMap::new(),
            defined: Vec::new(),
            addresses: Vec::new(),
            bound_at: None,
        })
    }
    /// Puts `label` here. Several labels may stand at one place.
    pub fn bind(&mut self, label: CodeLabel) -> Build {
        self.place(label).map(|_| ())
    }
    /// The label that is returned knows its place.
    fn place(&mut self, mut label: CodeLabel) -> Result<CodeLabel, IcedError> {
        if self.bound_at == Some(self.code.instructions().len()) {
            self.code.zero_bytes()?;
        }
        self.bound_at = Some(self.code.instructions().len());
        self.code.set_label(&mut label)?;
        Ok(label)
    }
    /// A new label that stands nowhere yet.
    pub fn label(&mut self) -> CodeLabel {
        self.code.create_label()
    }
    /// So many of them.
    pub fn labels<const N: usize>(&mut self) -> [CodeLabel; N] {
        std::array::from_fn(|_| self.label())
    }
    /// A new label that stands here.
    pub fn here(&mut self) -> Result<CodeLabel, IcedError> {
        let label = self.label();
        self.bind(label)?;
        Ok(label)
    }
    /// The label of a routine, written already or not.
    pub fn at(&mut self, name: &'static str) -> CodeLabel {
        match self.names.get(name) {
            Some(label) => *label,
            None => {
                let label = self.label();
                self.names.insert(name, label);
                label
            }
        }
    }
    /// Starts a routine.
    pub fn routine(&mut self, name: &'static str) -> Build {
        let label = self.at(name);
        let label = self.place(label)?;
        self.names.insert(name, label);
        self.defined.push(name);
        Ok(())
    }
    /// Calls a routine.
    pub fn invoke(&mut self, name: &'static str) -> Build {
        let label = self.at(name);
        self.code.call(label)
    }
    /// Calls a routine that ends with IRET.
    pub fn call_interrupt(&mut self, name: &'static str) -> Build {
        self.code.pushf()?;
        self.code.push(iced_x86::code_asm::cs)?;
        self.invoke(name)
    }
    /// Jumps to a routine.
    pub fn goto(&mut self, name: &'static str) -> Build {
        let label = self.at(name);
        self.code.jmp(label)
    }
    /// Adds bytes to the data; their offset.
    pub fn bytes(&mut self, bytes: &[u8]) -> u32 {
        let at = self.data_base + self.data.len() as u32;
        self.data.extend_from_slice(bytes);
        at
    }
    /// Lets the next data start on a border of so many bytes.
    pub fn align_data(&mut self, bytes: usize) {
        self.data.resize(self.data.len().next_multiple_of(bytes), 0);
    }
    /// Adds words to the data; their offset.
    pub fn words(&mut self, words: &[u16]) -> u32 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.bytes(&bytes)
    }
    /// Adds a NUL-terminated text to the data; its offset.
    pub fn text(&mut self, text: &str) -> u32 {
        let bytes: Vec<u8> = text.bytes().chain([0]).collect();
        self.bytes(&bytes)
    }
    /// Adds a table of routines' offsets to the data; its offset.
    pub fn table(&mut self, routines: &[&'static str]) -> u32 {
        let at = self.bytes(&[]);
        for routine in routines {
            self.addresses.push((self.data.len(), routine));
            self.bytes(&[0, 0]);
        }
        at
    }
    /// A far jump to `segment:offset`.
    pub fn jump_far(&mut self, segment: u16, offset: u16) -> Build {
        let [o0, o1] = offset.to_le_bytes();
        let [s0, s1] = segment.to_le_bytes();
        self.code.db(&[0xEA, o0, o1, s0, s1])
    }
    /// A far call to `segment:offset`.
    pub fn call_far(&mut self, segment: u16, offset: u16) -> Build {
        let [o0, o1] = offset.to_le_bytes();
        let [s0, s1] = segment.to_le_bytes();
        self.code.db(&[0x9A, o0, o1, s0, s1])
    }
    /// Writes the byte in AL to a port below 100h.
    pub fn out_al(&mut self, port: u32) -> Build {
        self.code.out(port, iced_x86::code_asm::al)
    }
    /// Writes a byte to a port below 100h; AL is lost.
    pub fn out_byte(&mut self, port: u16, value: u8) -> Build {
        self.code.mov(iced_x86::code_asm::al, u32::from(value))?;
        self.code.out(u32::from(port), iced_x86::code_asm::al)
    }
    /// LOCK INC of a word in memory.
    pub fn lock_inc(&mut self, at: u32) -> Build {
        self.code.lock().inc(iced_x86::code_asm::word_ptr(at))
    }
    /// REP INSB.
    pub fn rep_insb(&mut self) -> Build {
        self.code.rep().insb()
    }
    /// REP MOVSB.
    pub fn rep_movsb(&mut self) -> Build {
        self.code.rep().movsb()
    }
    /// REP MOVSW.
    pub fn rep_movsw(&mut self) -> Build {
        self.code.rep().movsw()
    }
    /// REP MOVSD.
    pub fn rep_movsd(&mut self) -> Build {
        self.code.rep().movsd()
    }
    /// REP STOSB.
    pub fn rep_stosb(&mut self) -> Build {
        self.code.rep().stosb()
    }
    /// REP STOSW.
    pub fn rep_stosw(&mut self) -> Build {
        self.code.rep().stosw()
    }
    /// REP STOSD.
    pub fn rep_stosd(&mut self) -> Build {
        self.code.rep().stosd()
    }

    /// The assembled module.
    ///
    /// # Errors
    /// A routine that is used and not written, and what the assembler refuses.
    pub fn finish(mut self) -> Result<Assembled, BiosError> {
        if let Some(routine) = self.names.keys().find(|name| !self.defined.contains(name)) {
            return Err(BiosError::Missing { routine });
        }
        let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
        let code_base = match self.code_base {
            CodeBase::At(offset) => offset,
            CodeBase::BehindData => (self.data_base + self.data.len() as u32).next_multiple_of(16),
        };
        let result = self.code.assemble_options(u64::from(code_base), options)?;
        let mut symbols = BTreeMap::new();
        for (name, label) in &self.names {
            symbols.insert(*name, result.label_ip(label)? as u32);
        }
        for (at, routine) in self.addresses {
            let offset = symbols.get(routine).ok_or(BiosError::Missing { routine })?;
            self.data[at..at + 2].copy_from_slice(&(*offset as u16).to_le_bytes());
        }
        Ok(Assembled { code_base, code: result.inner.code_buffer, data: self.data, symbols })
    }
}
