//! The assembler with what the demo adds: named routines, a pool of texts with known addresses.

use super::layout::vars;
use super::real::PLAIN;
use iced_x86::IcedError;
use iced_x86::code_asm::{CodeAssembler, CodeLabel, byte_ptr, esi, rsi};
use std::ops::{Deref, DerefMut};

/// The result of writing a piece of the demo.
pub type Build = Result<(), IcedError>;

/// The characters beyond ASCII that texts may use: in Unicode, in the screen's code page 437, and
/// what stands for them on the serial line.
pub const SPECIAL: [(char, u8, u8); 8] = [
    ('╔', 0xC9, b'+'),
    ('╗', 0xBB, b'+'),
    ('╚', 0xC8, b'+'),
    ('╝', 0xBC, b'+'),
    ('═', 0xCD, b'='),
    ('║', 0xBA, b'|'),
    ('─', 0xC4, b'-'),
    ('·', 0xFA, b'.'),
];

/// Text in code page 437, NUL-terminated.
pub fn code_page_437(text: &str) -> Vec<u8> {
    let byte = |c: char| match SPECIAL.iter().find(|s| s.0 == c) {
        Some(special) => special.1,
        None if c.is_ascii() => c as u8,
        None => b'?',
    };
    text.chars().map(byte).chain([0]).collect()
}

/// Texts and tables that stand at a fixed address, so that code may name them by number.
#[derive(Debug)]
pub struct Pool {
    base: u64,
    bytes: Vec<u8>,
}

impl Pool {
    /// An empty pool at `base`.
    pub fn new(base: u64) -> Self {
        Self { base, bytes: Vec::new() }
    }
    /// Adds a text; its address.
    pub fn text(&mut self, text: &str) -> u64 {
        self.data(&code_page_437(text))
    }
    /// Adds bytes; their address.
    pub fn data(&mut self, data: &[u8]) -> u64 {
        let at = self.base + self.bytes.len() as u64;
        self.bytes.extend_from_slice(data);
        at
    }
    /// All bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The routines of the long-mode part that are called from more than one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is described where it is written")]
pub enum Routine {
    PutChar,
    Print,
    PrintHex,
    PrintDec,
    PrintDecPadded,
    PutDigits,
    Space,
    ClearScreen,
    SyncCursor,
    SerialOut,
    InitInterrupts,
    InitClock,
    Seconds,
    Pause,
    InitInput,
    GetChar,
    PushChar,
    ReadLine,
    ParseHex,
    MatchWord,
    Shell,
    CpuSummary,
    CpuLeaf,
    Features,
    MemoryMap,
    DumpMemory,
    PciList,
    PciRead,
    Checks,
    Report,
    FaultOnPurpose,
    DivideOnPurpose,
    FaultStory,
    Ticks,
    Reboot,
    PowerOff,
    Halt,
    Tour,
    Help,
}

/// As many labels as routines.
const ROUTINES: usize = Routine::Help as usize + 1;

/// A 64-bit assembler for the long-mode part.
pub struct Asm {
    code: CodeAssembler,
    routines: Vec<CodeLabel>,
    /// Texts and tables.
    pub pool: Pool,
    bound_at: Option<usize>,
}

impl Deref for Asm {
    type Target = CodeAssembler;
    fn deref(&self) -> &CodeAssembler {
        &self.code
    }
}
impl DerefMut for Asm {
    fn deref_mut(&mut self) -> &mut CodeAssembler {
        &mut self.code
    }
}

impl Asm {
    /// An empty program of `bitness` 16, 32 or 64 with its texts at `texts`.
    pub fn new(bitness: u32, texts: u64) -> Result<Self, IcedError> {
        let mut code = CodeAssembler::new(bitness)?;
        let routines = (0..ROUTINES).map(|_| code.create_label()).collect();
        Ok(Self { code, routines, pool: Pool::new(texts), bound_at: None })
    }

    /// Puts `label` here. Several labels may stand at one place.
    pub fn bind(&mut self, mut label: CodeLabel) -> Build {
        if self.bound_at == Some(self.code.instructions().len()) {
            self.code.zero_bytes()?;
        }
        self.bound_at = Some(self.code.instructions().len());
        self.code.set_label(&mut label)
    }
    /// A new label that stands here.
    pub fn here(&mut self) -> Result<CodeLabel, IcedError> {
        let label = self.code.create_label();
        self.bind(label)?;
        Ok(label)
    }
    /// Starts a routine.
    pub fn routine(&mut self, routine: Routine) -> Build {
        self.bind(self.routines[routine as usize])
    }
    /// The label of a routine.
    pub fn label_of(&self, routine: Routine) -> CodeLabel {
        self.routines[routine as usize]
    }
    /// Calls a routine.
    pub fn invoke(&mut self, routine: Routine) -> Build {
        let label = self.label_of(routine);
        self.code.call(label)
    }
    /// Long mode: prints `text`.
    pub fn say(&mut self, text: &str) -> Build {
        let at = self.pool.text(text);
        self.code.mov(esi, at as u32)?;
        self.invoke(Routine::Print)
    }
    /// Long mode: prints `text` and keeps RSI.
    pub fn say_keeping_rsi(&mut self, text: &str) -> Build {
        self.code.push(rsi)?;
        self.say(text)?;
        self.code.pop(rsi)
    }
    /// Sets the colour of what is printed from now on.
    pub fn colour(&mut self, attribute: u8) -> Build {
        self.code.mov(byte_ptr(vars::ATTRIBUTE), u32::from(attribute))
    }
    /// Long mode: prints `text` in a colour of its own.
    pub fn say_in(&mut self, attribute: u8, text: &str) -> Build {
        self.colour(attribute)?;
        self.say(text)?;
        self.colour(PLAIN)
    }
    /// The assembled bytes at `base`, and the texts.
    pub fn finish(mut self, base: u64) -> Result<(Vec<u8>, Vec<u8>), IcedError> {
        Ok((self.code.assemble(base)?, self.pool.into_bytes()))
    }
}
