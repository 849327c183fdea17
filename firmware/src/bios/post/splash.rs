//! What POST says on the screen, and the routines that say it.

use crate::bios::asm::{Build, Module, code};
use crate::bios::layout::SYSTEM_SEGMENT;
use crate::tables::Platform;
use iced_x86::code_asm::*;

pub(super) fn write(a: &mut Module, platform: &Platform) -> Build {
    let mib = (platform.memory.low_ram_bytes() + platform.memory.high_ram_bytes()) >> 20;
    let processors = if platform.vcpus == 1 { "processor" } else { "processors" };
    let text = format!(
        "Trimotor BIOS {}   {mib} MiB, {} {processors}\r\n",
        env!("CARGO_PKG_VERSION"),
        platform.vcpus
    );
    let text = a.text(&text);
    a.routine("splash")?;
    code!(a; mov(si, text); goto("say"));
    say(a)?;
    say_number(a)
}

/// `say`: the text at SI of the system BIOS. `say_es_bx`: the text at ES:BX. `say_character`: AL.
fn say(a: &mut Module) -> Build {
    let [next, end] = a.labels();
    code!(a;
        routine("say");
        push(u32::from(SYSTEM_SEGMENT) as i32 - 0x1_0000);
        pop(es);
        mov(bx, si);
        routine("say_es_bx");
        mov(si, bx);
        // A text of a service may have no end.
        mov(cx, 256);
        bind(next);
        mov(al, byte_ptr(si).es());
        inc(si);
        test(al, al);
        jz(end);
        invoke("say_character");
        loop_(next);
        bind(end);
        ret;
        routine("say_character");
        push(bx);
        push(si);
        push(cx);
        mov(ah, 0x0E);
        mov(bx, 7);
        int(0x10);
        pop(cx);
        pop(si);
        pop(bx);
        ret
    );
    Ok(())
}

/// AX in decimal digits.
fn say_number(a: &mut Module) -> Build {
    let [divide, digits] = a.labels();
    code!(a;
        routine("say_number");
        xor(cx, cx);
        bind(divide);
        xor(dx, dx);
        mov(bx, 10);
        div(bx);
        push(dx);
        inc(cx);
        test(ax, ax);
        jnz(divide);
        bind(digits);
        pop(ax);
        add(al, u32::from(b'0'));
        invoke("say_character");
        loop_(digits);
        ret
    );
    Ok(())
}
