//! `--vmgenid`: Linux' own driver learns that its machine was cloned or went back, firmware of others says where it has put the ID.

use super::{Folder, Saver, refused, waits_for_a_byte};
use crate::monitor::client::Client;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::{Need, Tests};
use crate::support::program::{Program, run_to_end};
use std::path::Path;

const SEABIOS: &str = "/usr/share/seabios/bios-256k.bin";
const OVMF: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const FIRMWARE: Need = Need {
    name: "seabios and ovmf",
    check: || match [SEABIOS, OVMF].iter().find(|file| !Path::new(file).exists()) {
        None => Ok(()),
        Some(file) => Err(format!("{file} is not installed (Debian's packages seabios and ovmf)")),
    },
};
const ID: &str = "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87";
/// As it is in memory.
const BYTES: &str = "af 6e 4e 32 d1 d1 f6 4b bf 41 b9 bb 6c 91 fb 87";

pub fn tests() -> Tests {
    Tests::new()
        .test(each_clone_has_an_id_of_its_own)
        .test(ids_that_cannot_be_are_refused)
        .test_needing(&[DEBIAN, JIT], linux_seeds_its_random_numbers_anew)
        .test_needing(&[FIRMWARE, JIT], firmware_says_where_the_id_is)
}

fn id(client: &mut Client) -> String {
    let id = client.ask("info vm-generation-id");
    assert_eq!((id.len(), id.matches('-').count()), (36, 4), "{id}");
    id
}
/// A machine that goes on from a file, with a monitor.
fn go_on(folder: &Folder, file: &str, more: &[&str]) -> (Program, Client) {
    let socket = folder.file("again.sock");
    let monitor = format!("unix:{socket},server");
    let program = Program::start(&[&["run", "--restore", file, "--monitor", &monitor], more].concat());
    let client = Client::connect(&socket);
    (program, client)
}

fn each_clone_has_an_id_of_its_own() {
    let folder = Folder::new("generations");
    let guest = waits_for_a_byte("generations", 1 << 20, "before", "after");
    for more in [&[][..], &["--icount"]] {
        let file = folder.file("m");
        let fixed = ["run", "--memory", "16M", "--debug-exit", "--vmgenid", ID, "--kernel", &guest.path()];
        let mut saver = Saver::start("before", &[&fixed[..], more].concat());
        assert_eq!(id(&mut saver.client), ID);
        saver.client.obeys(&format!("save -m {file}"));
        saver.quit();
        let mut ids = Vec::new();
        for options in
            [&[][..], &["--clone"], &["--clone"], &["--clone", "--vmgenid", ID], &["--vmgenid", "auto"]]
        {
            let (mut program, mut client) = go_on(&folder, &file, options);
            ids.push(id(&mut client));
            program.send("x");
            assert_eq!(program.wait().code, Some(1));
        }
        let [alone, one, other, given, auto] = &ids[..] else { panic!("{ids:?}") };
        assert_eq!((alone.as_str(), given.as_str()), (ID, ID));
        assert!(one != ID && auto != ID);
        // With time that is counted, clones are the same.
        assert_eq!(one == other, !more.is_empty(), "{ids:?}");
    }
}

fn ids_that_cannot_be_are_refused() {
    let folder = Folder::new("no-generations");
    for wrong in ["1", "off", &ID[1..]] {
        refused(&["demo", "--vmgenid", wrong], &["--vmgenid", "write a GUID", "or auto"]);
    }
    refused(&["demo", "--vmgenid", ID, "--device", "vmgenid"], &["vmgenid", "a board has one"]);
    let guest = waits_for_a_byte("no-generations", 1 << 20, "before", "after");
    let file = folder.file("m");
    Saver::start("before", &["run", "--memory", "16M", "--kernel", &guest.path()]).save(&file);
    refused(&["run", "--restore", &file, "--vmgenid", "auto"], &["--vmgenid", "saved without the device"]);
}

/// Waits until the kernel has noticed so often that it is another machine, and sees that it was no more.
fn has_noticed(program: &mut Program, times: u32) {
    const COUNT: &str = "dmesg | grep -c 'crng reseeded due to virtual machine fork'";
    program
        .send(&format!("while [ $({COUNT}) -lt {times} ]; do sleep 0.1; done; echo FOR''KS $({COUNT}).\n"));
    program.expect(&format!("FORKS {times}."));
}

fn linux_seeds_its_random_numbers_anew() {
    let folder = Folder::new("linux-generations");
    let (disk, file) = (folder.file("disk.qcow2"), folder.file("m"));
    assert_eq!(run_to_end(&["img", "create", "-f", "qcow2", &disk, "16M"]).code, Some(0));
    let (kernel, initrd) = (Guest::FullKernel.path(), Guest::Shell.path());
    let drive = format!("file={disk}");
    let fixed = [
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
    let mut saver = Saver::start("# ", &[&fixed[..], &["--vmgenid", "auto", "--drive", &drive]].concat());
    has_noticed(&mut saver.program, 0);
    let first = id(&mut saver.client);
    saver.client.obeys("savevm then");
    saver.client.obeys("loadvm then");
    has_noticed(&mut saver.program, 1);
    assert_ne!(id(&mut saver.client), first);
    saver.client.obeys(&format!("save -m {file}"));
    saver.quit();
    // It goes on as the same machine, and as two others.
    for (times, options) in [(1, &[][..]), (2, &["--clone"]), (2, &["--clone"])] {
        let (mut program, _client) = go_on(&folder, &file, options);
        has_noticed(&mut program, times);
        program.send("poweroff -f\n");
        let ended = program.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

fn firmware_says_where_the_id_is() {
    for firmware in [&[][..], &["--bios", SEABIOS], &["--pflash", OVMF]] {
        let fixed = ["run", "--memory", "128M", "--accel", "jit", "--vmgenid", ID];
        let mut saver = Saver::start("", &[&fixed[..], firmware].concat());
        let devices = saver
            .client
            .ask_until("info devices", |devices| devices.contains(&format!("{ID}, in the page at")));
        let (_, page) = devices.split_once("in the page at ").expect("a page");
        let page: String = page.chars().take_while(char::is_ascii_alphanumeric).collect();
        let dump = saver.client.ask(&format!("xp/16xb {page}+40"));
        let bytes: Vec<_> = dump.split_whitespace().filter_map(|word| word.strip_prefix("0x")).collect();
        assert!(bytes.join(" ").ends_with(BYTES), "{firmware:?}: {page}: {dump}");
        saver.quit();
    }
}
