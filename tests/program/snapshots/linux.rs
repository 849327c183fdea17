//! Linux with work in its RAM is saved amid that, and goes on as if nothing had been.

use super::{Folder, Saver};
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use crate::support::program::Program;

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT]).test(linux_goes_on_amid_its_work)
}

/// Files in a RAM disk that grow from each other, with a sum after each step, and a check of them all at the end. The names of
/// marks are put together by the shell, so that the echo of the line does not have them.
const WORK: &str = "mount -t tmpfs t /mnt; cd /mnt; seq 20000 >a; \
    for i in $(seq 30); do sed s/1/$i/ a | sort -r >b; mv b a; cp a c$i; echo ST''EP $i $(md5sum <a); done; \
    echo SU''MS $(cat c* | md5sum); echo EN''D\n";

fn linux_goes_on_amid_its_work() {
    let (kernel, initrd) = (Guest::CloudKernel.path(), Guest::Shell.path());
    let boot = [
        "run",
        "--memory",
        "256M",
        "--kernel",
        &kernel,
        "--initrd",
        &initrd,
        "--append",
        "console=ttyS0 quiet",
    ];
    let folder = Folder::new("linux");
    let file = folder.file("m");
    let mut saver = Saver::start("# ", &boot);
    saver.program.send(WORK);
    let mut before = saver.program.expect("STEP 5 ");
    saver.client.obeys(&format!("save {file}"));
    // The guest that was saved goes on too: it says what is right.
    before += &saver.program.expect("END");
    let right: Vec<String> = lines(&before);
    assert_eq!(right.len(), 31, "{before}");
    saver.quit();
    for engine in ["jit", "interp"] {
        let mut program = Program::start(&["run", "--restore", &file, "--accel", engine]);
        let after = lines(&program.expect("END"));
        // The first line may have been cut by the save.
        assert!(after.len() > 2 && right.ends_with(&after[1..]), "{engine}: {after:?}\n{right:?}");
        assert!(right.iter().any(|line| line.ends_with(&after[0])), "{engine}: {after:?}");
        program.send("poweroff -f\n");
        let ended = program.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

/// The lines with sums.
fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim().to_owned());
    lines.filter(|line| line.ends_with('-') && line.len() > 2).collect()
}
