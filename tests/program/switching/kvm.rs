//! Guests on this host's KVM, with the interpreter's help, from which they go to the other engines and back.

use crate::monitor::client::Client;
use crate::support::engines::{JIT, KVM};
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use crate::support::program::{Program, run_to_end};
use crate::support::small_guest::Scratch;

pub fn tests() -> Tests {
    Tests::needing(&[KVM])
        .test(the_demo_passes_its_checks)
        .test_needing(&[DEBIAN, JIT], linux_goes_from_engine_to_engine_and_into_a_file)
}

fn the_demo_passes_its_checks() {
    let ended = run_to_end(&["demo", "--accel", "kvm", "--nographic", "--exit-on", "trimotor> "]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.contains("and wrote this: hello"), "two-level paging: {}", ended.output);
    let checks = ended.output.matches("[ ok ]").count();
    assert!(checks >= 10 && !ended.output.contains("[fail]"), "{}", ended.output);
}

/// A command in the guest's shell; what it prints.
fn run(program: &mut Program, command: &str) -> String {
    program.send(&format!("echo BE''GIN; {command}; echo EN''DED\n"));
    program.expect("BEGIN\r\n");
    program.expect("ENDED")
}

fn linux_goes_from_engine_to_engine_and_into_a_file() {
    let (socket, file) = (Scratch::new("kvm.sock"), Scratch::new("kvm.machine"));
    let (kernel, initrd) = (Guest::CloudKernel.path(), Guest::Shell.path());
    let monitor = format!("unix:{},server", socket.path());
    let machine = ["run", "--accel", "kvm", "--memory", "256M", "--nographic", "--monitor", &monitor];
    let guest = ["--kernel", &kernel, "--initrd", &initrd, "--append", "console=ttyS0 quiet"];
    let mut program = Program::start(&[&machine[..], &guest].concat());
    program.expect("A shell of busybox");
    program.expect("# ");
    let mut client = Client::connect(&socket.path());
    let sum = "head -c 1000000 /dev/zero | md5sum; echo '3 k 2 v 3 * p' | dc";
    let expected = run(&mut program, sum);
    assert!(
        expected.contains("879f4bba57ed37c9ec5e5aedf9864698") && expected.contains("4.242"),
        "{expected}"
    );
    for to in ["jit", "kvm", "interp", "kvm"].into_iter().cycle().take(12) {
        let answer = client.ask(&format!("accel {to}"));
        assert!(answer.starts_with(&format!("the guest runs on {to} now")), "{answer}");
        assert_eq!(run(&mut program, sum), expected, "on {to}");
    }
    let exits = client.ask("info exits");
    assert!(exits.contains("interpreter: instructions"), "{exits}");
    client.obeys(&format!("save {}", file.path()));
    client.send(b"quit\n");
    assert_eq!(program.wait().code, Some(0));
    for engine in ["jit", "kvm"] {
        let mut program = Program::start(&["run", "--restore", &file.path(), "--accel", engine]);
        program.send("\n");
        program.expect("# ");
        assert_eq!(run(&mut program, sum), expected, "restored on {engine}");
        program.send("poweroff -f\n");
        assert_eq!(program.wait().code, Some(0), "{engine}");
    }
}
