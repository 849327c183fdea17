//! A block that was placed, as a listing.

use super::{GuestLine, Line, Names, guest_lines, host_lines, label};
use crate::cache::TranslatedCode;
use crate::positions::{NO_INSTRUCTION, Piece};
use crate::region::{Block, Region};
use std::fmt::Write;
use trimotor_cpu_interp::core::mode;

impl TranslatedCode {
    /// The block whose guest code starts at host address `host`, the newest where there are more, as text: each
    /// guest instruction and its host code, with links as they stand.
    pub fn listing(&self, host: usize) -> Option<String> {
        let here = |region: &Region| region.blocks.iter().rposition(|block| block.key.0 == host);
        let living =
            |region: &Region| region.blocks.iter().rposition(|block| block.key.0 == host && block.alive);
        let find = |n: &dyn Fn(&Region) -> Option<usize>| {
            self.regions().iter().find_map(|region| n(region).map(|n| (region, n)))
        };
        let (region, n) = find(&living).or_else(|| find(&here))?;
        Some(self.list(region, &region.blocks[n]))
    }

    fn list(&self, region: &Region, block: &Block) -> String {
        let code = self.code_of(block);
        let bits = if block.key.1 & mode::CODE_SIZE == mode::CODE64 { 64 } else { 32 };
        let code_of = self.guest_code_of(block);
        let guest: Vec<_> = code_of.iter().flat_map(|(at, code)| guest_lines(bits, code, *at)).collect();
        let lines = host_lines(&code, Names::new(self.thunks(), block.entry).with_blocks());
        let mut pieces = region.pieces(block).peekable();
        let life = if block.alive { "" } else { ", dead: its guest code was written to" };
        let mut out = format!("{} host bytes{life}\n", code.len());
        for line in &lines {
            while let Some(piece) = pieces.next_if(|piece| piece.host as u64 <= line.at) {
                out += &heading(&piece, &guest);
            }
            out += &label(&lines, line.at).unwrap_or_default();
            out += &host_line(line, &code);
        }
        out
    }
}

/// What stands before the host code of a piece.
fn heading(piece: &Piece, guest: &[GuestLine]) -> String {
    let Some((offset, _, text)) = guest.get(piece.number as usize).filter(|_| piece.number != NO_INSTRUCTION)
    else {
        return "cold, of the block:\n".to_owned();
    };
    format!("{}{offset:03x}  {text}\n", if piece.cold { "cold, of " } else { "" })
}

fn host_line(line: &Line, code: &[u8]) -> String {
    let at = line.at as usize;
    let mut bytes = String::new();
    for byte in &code[at..at + line.len] {
        let _ = write!(bytes, "{byte:02x}");
    }
    format!("        {:<40} ; {at:04x} {bytes}\n", line.text)
}
