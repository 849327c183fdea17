//! What people and scripts type: escapes of terminals, the console's own keys, names of serial ports.

#![no_main]

use libfuzzer_sys::fuzz_target;
use trimotor_console::decode::Decoder;
use trimotor_console::escape::{Escape, Typed};
use trimotor_console::serial::SerialSpec;
use trimotor_fuzz::Input;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut escape = Escape::new(Some(Escape::CTRL_A));
    let mut decoder = Decoder::default();
    while !input.is_empty() {
        // As reads of a terminal cut it.
        let length = 1 + input.below(8);
        for typed in escape.push(input.bytes(length)) {
            if let Typed::Bytes(bytes) = typed {
                decoder.push(&bytes).into_iter().for_each(|stroke| _ = stroke.transitions().count());
            }
        }
        if decoder.is_waiting() && length == 1 {
            decoder.idle();
            assert!(!decoder.is_waiting(), "nothing is kept after a pause");
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        _ = text.parse::<SerialSpec>();
    }
});
