//! Golden listings: which host code each guest instruction becomes, as text that a person can review.
//!
//! A change of code quality shows as a difference of the files beside this one. `TRIMOTOR_BLESS=1 cargo test
//! -p trimotor-bt-jit --test translator listings` writes them anew; look at the difference before it is committed.
//!
//! Files of *forms* have each instruction alone, without the block around it; files of *blocks* have whole blocks
//! as they are placed. Thunks and the vCPU's state have names, and host addresses do not appear.

mod alu;
mod blocks;
mod forms;
mod render;
mod vector_forms;

use self::render::{KERNEL64, Lister, START, Setting, USER32};
use crate::TRANSLATOR;
use iced_x86::code_asm::CodeAssembler;
use iced_x86::{Decoder, DecoderOptions, IcedError};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use trimotor_test_needs::Tests;

pub fn tests() -> Tests {
    Tests::needing(&[TRANSLATOR])
        .test(instruction_forms)
        .test(alu_instructions_are_emitted_as_they_are)
        .test(whole_blocks)
        .test(a_block_ends_where_the_listing_says)
}

/// Assembles guest code.
type Assemble = fn(&mut CodeAssembler) -> Result<(), IcedError>;

/// What all files begin with.
const LEGEND: &str = "\
; The host's RSP is at the vCPU's state. Guest RAX is in r8, RSP in r9, R8 to R11 are in memory (guest_r8...),
; the others are in the registers of their names; rax, r10 and r11 are the translator's.
";

fn assemble(setting: Setting, code: Assemble) -> Vec<u8> {
    let mut a = CodeAssembler::new(setting.bits).unwrap();
    code(&mut a).unwrap();
    a.assemble(START as u64).unwrap()
}

fn head(title: &str, setting: Setting) -> String {
    format!("; {title}: {}.\n{LEGEND}", setting.name)
}

/// A listing of each instruction of `code` alone.
fn list_forms(title: &str, setting: Setting, code: Assemble) -> String {
    const NOP: u8 = 0x90;
    let code = assemble(setting, code);
    let mut lister = Lister::new(setting);
    let mut out = head(title, setting);
    for i in Decoder::with_ip(setting.bits, &code, START as u64, DecoderOptions::NONE) {
        let at = i.ip() as usize - START as usize;
        let mut alone = code[at..at + i.len()].to_vec();
        alone.push(NOP);
        let _ = write!(out, "\n{}", lister.list(&alone).form());
    }
    out
}

/// Listings of whole blocks.
fn list_blocks(title: &str, setting: Setting, blocks: &[(&str, Assemble)]) -> String {
    let mut lister = Lister::new(setting);
    let mut out = head(title, setting);
    for (what, code) in blocks {
        let code = assemble(setting, *code);
        let _ = write!(out, "\n==== {what}\n{}", lister.list(&code).block());
    }
    out
}

/// Compares with the golden file, or writes it.
fn check(name: &str, listing: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/translator/listings").join(name);
    if std::env::var_os("TRIMOTOR_BLESS").is_some() {
        return fs::write(&path, listing).expect("the golden file can be written");
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let Some(n) = (0..golden.lines().count().max(listing.lines().count()))
        .find(|&n| golden.lines().nth(n) != listing.lines().nth(n))
    else {
        return;
    };
    let part = |text: &str| text.lines().skip(n.saturating_sub(8)).take(16).collect::<Vec<_>>().join("\n");
    panic!(
        "{name} differs from line {} on; TRIMOTOR_BLESS=1 writes it anew\n---- the file\n{}\n---- now\n{}",
        n + 1,
        part(&golden),
        part(listing)
    );
}

fn instruction_forms() {
    for (name, title, setting, code) in forms::ALL.iter().chain(vector_forms::ALL) {
        check(name, &list_forms(title, *setting, *code));
    }
}

fn alu_instructions_are_emitted_as_they_are() {
    alu::each_row_is_emitted_as_it_is(&list_forms("ALU", KERNEL64, alu::all));
}

fn whole_blocks() {
    for (name, title, setting, blocks) in blocks::ALL {
        check(name, &list_blocks(title, *setting, blocks));
    }
}

fn a_block_ends_where_the_listing_says() {
    let code = assemble(KERNEL64, |a| {
        use iced_x86::code_asm::*;
        a.add(rax, rcx)?;
        a.ret()?;
        a.nop()
    });
    let listed = Lister::new(KERNEL64).list(&code);
    assert_eq!(listed.guest_instructions(), 2);
    let text = listed.block();
    assert!(text.contains("100  add     rax, rcx\n        add     r8, rcx\n"), "{text}");
    let code32 = assemble(USER32, |a| a.ret());
    assert!(Lister::new(USER32).list(&code32).block().contains("jmp     lookup"));
}
