//! The commands of docs/switch-engines.md run as they stand there.

use crate::images::Folder;
use crate::images::documents::follow;
use crate::support::engines::JIT;
use crate::support::needs::{Need, Tests, program};

const SOCAT: Need = Need { name: "socat", check: || program("socat", "socat") };

pub fn tests() -> Tests {
    Tests::needing(&[JIT, SOCAT])
        .test(commands_of_the_document_about_engines_work)
        .test(commands_of_the_document_about_hosts_without_vt_x_work)
}

fn commands_of_the_document_about_engines_work() {
    let folder = Folder::new("engines");
    let printed = follow("switch-engines.md", 6, &folder).concat();
    for words in [
        "interp  yes: interpreter",
        "the guest runs on interp now: the switch from jit took ",
        "interp: runs the guest",
        "kvm: ",
        "interp and jit are the same for 20000000 instructions",
    ] {
        assert!(printed.contains(words), "no {words:?} in\n{printed}");
    }
}

fn commands_of_the_document_about_hosts_without_vt_x_work() {
    let folder = Folder::new("no-vt-x");
    let printed = follow("no-vt-x.md", 3, &folder).concat();
    for words in ["--accel auto takes ", "  kvm     ", "interp  yes: ", "/dev/kvm", "trimotor> "] {
        assert!(printed.contains(words), "no {words:?} in\n{printed}");
    }
}
