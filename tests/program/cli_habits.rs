//! Command lines as QEMU takes them: each is refused with code 2, and told what to write here.

use crate::support::needs::Tests;
use crate::support::program::run_to_end;

pub fn tests() -> Tests {
    Tests::new()
        .test(options_of_qemu_name_ours)
        .test(what_comes_later_says_so)
        .test(files_without_an_option_are_told_theirs)
        .test(letters_behind_one_dash_are_no_request_for_help)
}

/// Runs with the words of `line`, which must be refused with a message that has all of `words`.
#[track_caller]
fn check(line: &str, words: &[&str]) {
    let arguments: Vec<_> = line.split(' ').collect();
    let ended = run_to_end(&arguments);
    assert_eq!(ended.code, Some(2), "{line}: {ended:?}");
    assert_eq!(ended.output, "", "{line} printed something");
    for word in words {
        assert!(ended.errors.contains(word), "{line}: no {word:?} in {:?}", ended.errors);
    }
}

fn options_of_qemu_name_ours() {
    for (line, words) in [
        ("run -kernel k", &["-kernel", "--kernel"][..]),
        ("run -initrd i --kernel k", &["--initrd"]),
        ("run -append x --kernel k", &["--append"]),
        ("run -nographic --kernel k", &["--nographic"]),
        ("run -smp 4 --kernel k", &["-smp", "--cpus"]),
        ("run --smp 4 --kernel k", &["--smp", "--cpus"]),
        ("run -accel kvm --kernel k", &["--accel"]),
        ("run -accel tcg --kernel k", &["--accel jit"]),
        ("run --accel tcg --kernel k", &["tcg", "--accel jit"]),
        ("run -enable-kvm --kernel k", &["--accel auto"]),
        ("run -cpu host --kernel k", &["host", "--cpu max"]),
        ("run --cpu host --kernel k", &["host", "--cpu max"]),
        ("run --cpu qemu64,+x2apic --kernel k", &["--cpu x86-64-v1"]),
        ("run -serial stdio --kernel k", &["--serial"]),
        ("run --serial mon:stdio --kernel k", &["--serial stdio"]),
        ("run -serial none --kernel k", &["--serial null"]),
        ("run -display curses --kernel k", &["--display terminal"]),
        ("run -display gtk --kernel k", &["later", "--display terminal"]),
        ("run -no-reboot --kernel k", &["--on-reset exit"]),
        ("run -device isa-debug-exit,iobase=0xf4 --kernel k", &["--device"]),
        ("run -device pc-testdev --kernel k", &["--device"]),
        ("run --device pci-serial --kernel k", &["--serial SPEC", "trimotor devices"]),
        ("run -machine q35 --kernel k", &["i440FX"]),
        ("run -rtc base=utc --kernel k", &["--rtc utc"]),
        ("demo -nodefaults", &["not needed"]),
        ("lockstep -smp 2", &["--cpus"]),
    ] {
        check(line, words);
    }
}

fn what_comes_later_says_so() {
    for option in [
        "-hda d.img",
        "-cdrom d.iso",
        "--cdrom d.iso",
        "-drive file=d.img,if=virtio",
        "--disk d.img",
        "-netdev user,id=n",
        "-net none",
        "-device e1000",
        "--device virtio-blk-pci",
        "-device virtio-blk-pci,drive=d",
        "-vga std",
        "-s",
        "-S",
        "-gdb tcp::1234",
        "-monitor stdio",
        "-qmp stdio",
        "-usb",
        "-bios bios.bin",
        "-loadvm x",
        "-audiodev none,id=a",
        "-boot d",
    ] {
        let name = option.split(' ').next().expect("a word");
        check(&format!("run {option}"), &[name, "later", "--kernel FILE"]);
        // The rest of a command line, in our way.
        check(&format!("run --kernel k {option}"), &[name, "later"]);
        check(option, &[name, "later"]);
    }
}

fn files_without_an_option_are_told_theirs() {
    check("x.iso", &["x.iso", "later", "--kernel FILE"]);
    check("run x.qcow2", &["x.qcow2", "later"]);
    check("./vmlinuz", &["run --kernel ./vmlinuz"]);
    check("run vmlinuz", &["run --kernel vmlinuz"]);
    check("--kernel vmlinuz", &["--kernel", "trimotor run --kernel"]);
    check("-m 2G --kernel vmlinuz", &["trimotor run -m", "trimotor run --kernel"]);
}

fn letters_behind_one_dash_are_no_request_for_help() {
    check("run -hfoo", &["-hfoo"]);
    check("run -Vfoo", &["-Vfoo"]);
    for line in ["run -h", "run -help", "run --help"] {
        let ended = run_to_end(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
    }
}
