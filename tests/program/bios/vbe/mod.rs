//! The video BIOS: VBE beside that of SeaBIOS. One program makes the same calls with our ROM and with SeaBIOS's on QEMU's card.

mod calls;
mod differences;

use super::oracle::{self, Answers, Difference, Floppy};
use super::services::probe::Call;
use crate::support::engines::JIT;
use crate::support::needs::{QEMU, Tests};
use calls::{INFORMATION, INFORMATION_BYTES, calls};
use differences::{BIOS, CARD, CARD_SEABIOS, OURS};
use std::collections::BTreeSet;
use std::path::PathBuf;
use trimotor_firmware::vga_bios;

pub fn tests() -> Tests {
    Tests::needing(&[QEMU, JIT]).test(vbe_answers_as_that_of_seabios_on_the_card_of_qemu)
}

/// Our ROM in a file that goes with it.
struct Rom(PathBuf);
impl Rom {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("trimotor-vga-{}.bin", std::process::id()));
        std::fs::write(&path, vga_bios::build().unwrap().image).unwrap();
        Self(path)
    }
}
impl Drop for Rom {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What differs in the information on all modes, by its bytes, and why.
const IN_ALL_MODES: [(std::ops::Range<usize>, &str); 7] = [
    (
        0..1,
        "function 0Eh writes in all modes, and programs may set the DAC by its ports, which SeaVGABIOS does not say",
    ),
    (12..16, "the window function stands elsewhere"),
    (23..24, "characters have eight lines in modes with 200 lines"),
    (29..30, "pages need no border of 64 KiB"),
    (39..40, "the bits that are no colour may be used"),
    (40..44, "firmware chooses where the frame buffer is"),
    (50..54, "planar modes have the length of their lines here, and all how many pages there are"),
];
/// Modes that SeaVGABIOS has not: text, and those with numbers of our own.
fn only_here(number: u32) -> bool {
    (0x108..0x10D).contains(&number) || number >= 0x1A0
}

/// Takes out what [`IN_ALL_MODES`] and [`only_here`] are about.
fn without_known(answers: Answers) -> Answers {
    const FIRST_BYTE: usize = 9;
    let without = |(call, mut answer): (&Call, Vec<String>)| {
        if let Some(number) = call.name.strip_prefix(INFORMATION) {
            let number = u32::from_str_radix(number, 16).unwrap();
            answer.truncate(if only_here(number) { 0 } else { usize::MAX });
            for byte in IN_ALL_MODES.iter().flat_map(|(bytes, _)| bytes.clone()) {
                answer.iter_mut().skip(FIRST_BYTE + byte).take(1).for_each(|byte| "xx".clone_into(byte));
            }
            answer.resize(FIRST_BYTE + usize::from(INFORMATION_BYTES), String::new());
        }
        answer
    };
    calls().iter().zip(answers).map(without).collect()
}

/// Compares; a difference must be in the list, and what is in the list must be one. A name "*: what" is that of all modes' calls.
fn compare(what: &str, ours: Answers, theirs: Answers, allowed: &[Difference]) -> Vec<String> {
    let (calls, ours, theirs) = (calls(), without_known(ours), without_known(theirs));
    assert_eq!((ours.len(), theirs.len()), (calls.len(), calls.len()), "{what}: not every call was answered");
    let mut wrong = Vec::new();
    let mut unused: BTreeSet<(&str, &str)> =
        allowed.iter().flat_map(|(name, fields, _)| fields.iter().map(|field| (*name, *field))).collect();
    for (call, (ours, theirs)) in calls.iter().zip(ours.iter().zip(&theirs)) {
        let general = call.name.split_once(": ").map(|(_, what)| format!("*: {what}")).unwrap_or_default();
        let named = |name: &str| name == call.name || name == general;
        for field in oracle::differing(ours, theirs) {
            match allowed.iter().find(|(name, fields, _)| named(name) && fields.contains(&field)) {
                Some((name, ..)) => _ = unused.remove(&(*name, field)),
                None => wrong.push(format!(
                    "{}: {field} differs\n  ours {}\n  theirs {}",
                    call.name,
                    ours.join(" "),
                    theirs.join(" ")
                )),
            }
        }
    }
    wrong.extend(unused.iter().map(|(name, field)| format!("{name}: {field} does not differ")));
    if !wrong.is_empty() {
        wrong.insert(0, format!("{what}:"));
    }
    wrong
}

fn vbe_answers_as_that_of_seabios_on_the_card_of_qemu() {
    let rom = Rom::new();
    let card = format!("VGA,romfile={}", rom.0.display());
    let floppy = Floppy::new(&calls());
    let ours = oracle::under_qemu(&floppy, &["-vga", "none", "-device", &card]);
    let theirs = oracle::under_qemu(&floppy, &["-vga", "std"]);
    let mut wrong = compare("our ROM and SeaBIOS's on QEMU's card", ours.clone(), theirs.clone(), OURS);
    let here = oracle::here(&floppy, "interp", &[]);
    wrong.extend(compare("our ROM on our card and on QEMU's", here.clone(), ours, CARD));
    assert_eq!(oracle::here(&floppy, "jit", &[]), here, "translator and interpreter");
    let with_seabios = ["--bios", oracle::SEABIOS, "--vga-rom", oracle::VGA_ROM];
    let seabios = oracle::here(&floppy, "jit", &with_seabios);
    wrong.extend(compare("SeaBIOS's ROM on our card and on QEMU's", seabios, theirs, CARD_SEABIOS));
    let by_seabios = oracle::here(&floppy, "jit", &with_seabios[..2]);
    wrong.extend(compare("our ROM, called by SeaBIOS and by our BIOS", by_seabios, here, BIOS));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
