//! The tour: how the demo came here, page by page.

use super::colour;
use crate::demo::asm::{Asm, Build, Routine};
use iced_x86::code_asm::*;

/// Title and text of each page; a page fits on the screen below the header.
const PAGES: [(&str, &str); 6] = [
    (
        "Real mode",
        "A PC wakes up as a 16-bit machine of 1978. An address is a segment times 16\n\
         plus an offset, so a program sees one megabyte, and it may write everywhere.\n\n\
         The demo's first 512 bytes ran like that, from 0000:7C00. They wrote the blue\n\
         box above by storing characters and colours at B8000h: that is video memory,\n\
         and the screen is nothing but what stands there. Try: mem B8000\n\n\
         Before it went on, it opened the A20 gate (bit 1 of port 92h). While that is\n\
         closed, address line 20 is held at zero, for programs of 1981 that relied on\n\
         it.\n",
    ),
    (
        "Protected mode",
        "I made a table of segments, the GDT, loaded its address with LGDT, set bit 0\n\
         of CR0 and jumped far away, because only a far jump loads CS. From then on a\n\
         segment has a base, a limit and rights, and the processor checks each access\n\
         against them.\n\n\
         My segments all start at 0 and have 4 GiB, as everybody's do today:\n\
         protection is done by paging instead.\n",
    ),
    (
        "Paging",
        "With bit 31 of CR0 each address is looked up in tables first. Two levels of\n\
         1024 entries, each for 4 KiB pages, cover 4 GiB: 10 bits, 10 bits, and 12 in\n\
         the page.\n\n\
         The tables are only memory. I wrote the address of video memory into the\n\
         entry for 400000h as well, and the word that was stored there came up on the\n\
         screen.\n\n\
         An entry has bits for rights too. Page 7A000h has no W bit, page 7B000h no P\n\
         bit, page 7C000h has NX. Try: fault\n",
    ),
    (
        "Long mode",
        "64-bit code needs deeper tables: four levels of 512 entries of 8 bytes. So\n\
         paging went off for a moment, CR4.PAE and EFER.LME went on, CR3 got the new\n\
         tables, and with CR0.PG the processor was in long mode. Another far jump, to\n\
         a segment with the L bit, and the code was 64-bit.\n\n\
         Registers grew to 64 bits and there are eight more of them. Segments nearly\n\
         disappeared. Try: cpuid, and cpuid 80000001\n",
    ),
    (
        "Interrupts",
        "Devices call for attention over wires. Two chips of type 8259, the PICs,\n\
         collect 16 of them and give each a number, the vector; the IDT has an address\n\
         for each. I told the PICs to start at vector 32, because 0 to 31 are\n\
         exceptions.\n\n\
         The timer chip ticks 100 times a second: then I look at the HPET, a counter,\n\
         and move the clock in the blue box. A key raises wire 1, a character on COM1\n\
         wire 4. In between the processor sleeps in HLT, and an emulator that is asked\n\
         to do nothing does nothing. Try: ticks\n",
    ),
    (
        "Exceptions",
        "When an instruction cannot be done, the processor stops before it, pushes\n\
         where it was and (for some) an error code, and goes through the IDT. Nothing\n\
         of the instruction has happened, so it can be tried again once the cause is\n\
         mended.\n\n\
         Operating systems live from this: a page fault is how memory is lent, copied\n\
         when it is written, and fetched from disk when it is needed. Try: fault,\n\
         divide\n\n\
         That was all. The code of the demo is in firmware/src/demo of Trimotor.\n",
    ),
];

pub(super) fn routines(s: &mut Asm) -> Build {
    let (leave, end) = (s.create_label(), s.create_label());
    s.routine(Routine::Tour)?;
    for (i, (title, text)) in PAGES.into_iter().enumerate() {
        s.say_in(colour::CYAN, &format!("\n─── {} of {} ─── {title}\n\n", i + 1, PAGES.len()))?;
        s.say(text)?;
        if i + 1 < PAGES.len() {
            s.say_in(colour::YELLOW, "\nA key goes on, q leaves. ")?;
            s.invoke(Routine::GetChar)?;
            s.cmp(al, u32::from(b'q'))?;
            s.je(leave)?;
            s.say("\n")?;
        }
    }
    s.jmp(end)?;
    s.bind(leave)?;
    s.say("\n")?;
    s.bind(end)?;
    s.ret()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_fit_on_the_screen() {
        for (title, text) in PAGES {
            assert!(text.lines().count() <= 15, "{title}");
            for line in text.lines() {
                assert!(line.chars().count() < 80, "{title}: {line}");
            }
        }
    }
}
