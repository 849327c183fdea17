//! The commands of docs/trace.md run as they stand there.

use crate::images::Folder;
use crate::images::documents::follow;
use crate::support::engines::JIT;
use crate::support::needs::Tests;

pub fn tests() -> Tests {
    Tests::needing(&[JIT]).test(commands_of_the_document_work)
}

fn commands_of_the_document_work() {
    let folder = Folder::new("trace-document");
    let shown = follow("trace.md", 5, &folder).concat();
    for wanted in ["#PF", "insn: the guest runs on the interpreter meanwhile", "in al, "] {
        assert!(shown.contains(wanted), "no {wanted:?} in {shown}");
    }
}
