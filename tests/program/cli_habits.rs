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
        ("run -monitor stdio --kernel k", &["write --monitor, with two dashes"]),
        ("run --monitor telnet::4444,server,nowait --kernel k", &["--monitor tcp:HOST:PORT,server"]),
        ("run -mon chardev=m --kernel k", &["--monitor SPEC"]),
        ("run -display curses --kernel k", &["--display terminal"]),
        ("run -display gtk --kernel k", &["--display window"]),
        ("run -vnc :1 --kernel k", &["-vnc", "--display vnc=HOST:N"]),
        ("run -display vnc=:1 --kernel k", &["write --display"]),
        ("run -no-reboot --kernel k", &["--on-reset exit"]),
        ("run -device isa-debug-exit,iobase=0xf4 --kernel k", &["--device"]),
        ("run -device pc-testdev --kernel k", &["--device"]),
        ("run -hda d.img --kernel k", &["-hda", "--drive file=F,index=0"]),
        ("run -hdc d.iso", &["-hdc", "--drive file=F,index=2"]),
        ("run -cdrom d.iso --kernel k", &["write --cdrom"]),
        ("run -drive file=d.img --kernel k", &["write --drive"]),
        ("run --drive file=d.img,if=scsi --kernel k", &["if=scsi", "ide, virtio, floppy, pflash and none"]),
        ("run -fda f.img", &["--floppy F"]),
        ("run -boot d", &["write --boot"]),
        ("run --disk d.img", &["--drive file=F"]),
        ("run --device ide-cd,drive=d --kernel k", &["--cdrom F", "trimotor devices"]),
        ("run --device pci-serial --kernel k", &["--serial SPEC", "trimotor devices"]),
        ("run -machine q35 --kernel k", &["i440FX"]),
        ("run -rtc base=utc --kernel k", &["--rtc utc"]),
        ("run -vga std --kernel k", &["every machine has a VGA"]),
        ("run -pflash flash.bin", &["write --pflash"]),
        ("demo -nodefaults", &["not needed"]),
        ("run -netdev user,id=n --kernel k", &["write --netdev, with two dashes"]),
        ("run -s -S --kernel k", &["--gdb 1234"]),
        ("run -gdb tcp::1234 --kernel k", &["write --gdb, with two dashes"]),
        ("run -incoming tcp:0:4444 --kernel k", &["--restore FILE"]),
        ("run -loadvm booted --kernel k", &["write --loadvm, with two dashes"]),
        ("run -net none --kernel k", &["write --net, with two dashes"]),
        ("run -device e1000 --kernel k", &["write --device, with two dashes"]),
        ("run --device rtl8139 --kernel k", &["--nic user,model=e1000", "trimotor devices"]),
        ("lockstep -smp 2", &["--cpus"]),
    ] {
        check(line, words);
    }
}

fn what_comes_later_says_so() {
    for option in [
        "-virtfs local,path=/x",
        "--device nvme",
        "-device nvme,drive=d",
        "-qmp stdio",
        "-usb",
        "-audiodev none,id=a",
    ] {
        let name = option.split(' ').next().expect("a word");
        check(&format!("run {option}"), &[name, "later", "--kernel FILE"]);
        // The rest of a command line, in our way.
        check(&format!("run --kernel k {option}"), &[name, "later"]);
        check(option, &[name, "later"]);
    }
}

fn files_without_an_option_are_told_theirs() {
    check("x.iso", &["trimotor run x.iso"]);
    check("run x.qcow2 -smp 4", &["--cpus"]);
    check("run x.qcow2 --kernel /nonexistent/k", &["/nonexistent/k"]);
    check("run x.qcow2", &["x.qcow2", "No such file"]);
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
