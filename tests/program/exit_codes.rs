//! How small guests end the program: exit codes, the triple-fault report, the debug ports.

use crate::support::needs::Tests;
use crate::support::program::run_to_end;
use crate::support::small_guest::{CODE, Scratch, small_guest};

pub fn tests() -> Tests {
    Tests::new()
        .test(isa_debug_exit_chooses_the_exit_code)
        .test(the_debug_port_comes_out_where_it_is_told)
        .test(serial_output_goes_to_a_file)
        .test(a_triple_fault_is_told_and_ends_with_code_3)
        .test(the_reset_register_ends_the_program_where_it_is_told_so)
}

/// A guest of a few instructions.
struct Image(Scratch);

impl Image {
    fn new(name: &str, code: &[u8]) -> Self {
        Image(small_guest(name, code))
    }
    /// Runs the image; returns exit code, output and messages.
    fn run(&self, more: &[&str]) -> (Option<i32>, String, String) {
        let kernel = self.0.path();
        let fixed = ["run", "--accel", "interp", "--memory", "16M", "--nographic", "--kernel", &kernel];
        let ended = run_to_end(&[&fixed[..], more].concat());
        (ended.code, ended.output, ended.errors)
    }
}

fn isa_debug_exit_chooses_the_exit_code() {
    // mov al, 5; out 0f4h, al; hlt
    let image = Image::new("exit", &[0xb0, 5, 0xe6, 0xf4, 0xf4]);
    assert_eq!(image.run(&["--debug-exit"]).0, Some(5 << 1 | 1));
    // mov al, 3; mov dx, 501h; out dx, al; hlt
    let image = Image::new("exit-port", &[0xb0, 3, 0x66, 0xba, 0x01, 0x05, 0xee, 0xf4]);
    assert_eq!(image.run(&["--debug-exit=0x501"]).0, Some(3 << 1 | 1));
}

fn the_debug_port_comes_out_where_it_is_told() {
    // mov al, 'O'; out 0e9h, al; mov al, 'K'; out 0e9h, al; xor al, al; out 0f4h, al; hlt
    let code = [0xb0, b'O', 0xe6, 0xe9, 0xb0, b'K', 0xe6, 0xe9, 0x30, 0xc0, 0xe6, 0xf4, 0xf4];
    let image = Image::new("debugcon", &code);
    let (code, output, _) = image.run(&["--debug-exit", "--debugcon", "stdio"]);
    assert_eq!((code, output.as_str()), (Some(1), "OK"));
}

fn serial_output_goes_to_a_file() {
    // mov dx, 3fbh; mov al, 3; out dx, al: eight data bits
    // mov dx, 3f8h; mov al, '!'; out dx, al; xor al, al; out 0f4h, al; hlt
    let mut code = vec![0x66, 0xba, 0xfb, 0x03, 0xb0, 3, 0xee];
    code.extend([0x66, 0xba, 0xf8, 0x03, 0xb0, b'!', 0xee, 0x30, 0xc0, 0xe6, 0xf4, 0xf4]);
    let image = Image::new("serial", &code);
    let log = std::env::temp_dir().join(format!("trimotor-serial-{}.log", std::process::id()));
    let (code, output, _) = image.run(&["--debug-exit", "--serial", &format!("file:{}", log.display())]);
    let written = std::fs::read_to_string(&log).expect("the log");
    let _ = std::fs::remove_file(&log);
    assert_eq!((code, output.as_str(), written.as_str()), (Some(1), "", "!"));
}

fn a_triple_fault_is_told_and_ends_with_code_3() {
    // lidt [eip of the zeros]; ud2; then six zeros: an IDT with room for nothing
    let mut code = vec![0x0f, 0x01, 0x1d];
    code.extend((CODE + 9).to_le_bytes());
    code.extend([0x0f, 0x0b, 0, 0, 0, 0, 0, 0]);
    let image = Image::new("triple", &code);
    let (code, _, report) = image.run(&[]);
    assert_eq!(code, Some(3), "{report}");
    for word in ["triple fault", "#UD", "#GP", "#DF", "RIP=0000000000100027", "0f 0b"] {
        assert!(report.contains(word), "no {word:?} in {report}");
    }
}

fn the_reset_register_ends_the_program_where_it_is_told_so() {
    // mov dx, 0cf9h; mov al, 6; out dx, al; hlt
    let image = Image::new("reset", &[0x66, 0xba, 0xf9, 0x0c, 0xb0, 6, 0xee, 0xf4]);
    assert_eq!(image.run(&["--on-reset", "exit"]).0, Some(0));
}
