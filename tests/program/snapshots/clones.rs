//! Clones: many machines that go on from one file, without seeing each other.

use super::{Folder, Saver, refused, waits_for_a_byte};
use crate::monitor::client::Client;
use crate::support::needs::Tests;
use crate::support::program::Program;
use std::fs::{self, File};

pub fn tests() -> Tests {
    Tests::new()
        .test(clones_go_on_side_by_side)
        .test(disks_of_clones_stay_as_they_were)
        .test(clones_have_addresses_of_their_own)
        .test(a_file_to_be_mapped_is_checked_where_it_is_read)
}

/// What the guest fills with numbers.
const FILLED: u32 = 8 << 20;

/// A guest that waits, saved in the form that clones map.
fn saved(folder: &Folder, more: &[&str]) -> String {
    let guest = waits_for_a_byte("clones", FILLED, "filled", "after");
    let fixed = ["run", "--memory", "32M", "--debug-exit", "--kernel", &guest.path()];
    let file = folder.file("m");
    let mut saver = Saver::start("filled", &[&fixed[..], more].concat());
    saver.client.obeys(&format!("save -m {file}"));
    saver.quit();
    file
}
/// Starts a clone with a monitor.
fn clone(folder: &Folder, file: &str, number: usize) -> (Program, Client) {
    let socket = folder.file(&format!("s{number}"));
    let program =
        Program::start(&["run", "--restore", file, "--clone", "--monitor", &format!("unix:{socket},server")]);
    let client = Client::connect(&socket);
    (program, client)
}
#[track_caller]
fn ends_well(mut program: Program) {
    program.send("x");
    let ended = program.wait();
    assert_eq!((ended.code, ended.output.as_str()), (Some(1), "after"), "{ended:?}");
}

fn clones_go_on_side_by_side() {
    let folder = Folder::new("clones");
    let file = saved(&folder, &[]);
    let content = fs::read(&file).unwrap();
    let clones: Vec<_> = (0..4).map(|number| clone(&folder, &file, number)).collect();
    for (program, mut client) in clones {
        assert!(client.ask("info status").starts_with("VM status: running"));
        // A clone can be kept itself.
        let again = folder.file("again");
        client.obeys(&format!("save -m {again}"));
        ends_well(program);
        ends_well(Program::start(&["run", "--restore", &again, "--clone"]));
    }
    // By its own account it is a machine like others.
    ends_well(Program::start(&["run", "--restore", &file]));
    assert!(fs::read(&file).unwrap() == content, "nobody writes to the file");
    refused(&["run", "--clone", "disk.img"], &["--restore"]);
}

fn disks_of_clones_stay_as_they_were() {
    let folder = Folder::new("clone-disks");
    let image = folder.file("disk.img");
    File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let file = saved(&folder, &["--drive", &format!("file={image},format=raw,id=root")]);
    // Two have the disk at a time; without --clone one would be refused.
    let ((one, mut first), (two, mut second)) = (clone(&folder, &file, 1), clone(&folder, &file, 2));
    for client in [&mut first, &mut second] {
        assert!(client.ask("info block").contains("root"));
        client.refuses(&format!("save {}", folder.file("n")), &["drive root", "goes with this run"]);
    }
    ends_well(one);
    ends_well(two);
    ends_well(Program::start(&["run", "--restore", &file]));
}

fn clones_have_addresses_of_their_own() {
    let folder = Folder::new("addresses");
    let file = saved(&folder, &["--nic", "user,mac=52:54:00:00:00:07"]);
    let mut seen: Vec<String> = Vec::new();
    for number in 0..3 {
        let (program, mut client) = clone(&folder, &file, number);
        let networks = client.ask("info network");
        let (_, address) = networks.split_once("52:54:00:00:00:07 is seen as ").expect("its address");
        seen.push(address.chars().take(17).collect());
        ends_well(program);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3, "{seen:?}");
}

fn a_file_to_be_mapped_is_checked_where_it_is_read() {
    let folder = Folder::new("mapped");
    let bytes = fs::read(saved(&folder, &[])).unwrap();
    let bad = folder.file("bad");
    let mut flipped = bytes.clone();
    // Amid the numbers that fill the guest's memory.
    let at = bytes.len() - (32 << 20) + (6 << 20);
    flipped[at] ^= 1;
    fs::write(&bad, &flipped).unwrap();
    refused(&["run", "--restore", &bad], &[&bad, "section \"mapped ram\"", "checksum"]);
    for part in 0..20 {
        fs::write(&bad, &bytes[..bytes.len() * part / 20]).unwrap();
        let what = if part == 0 { "no saved machine" } else { "truncated" };
        refused(&["run", "--restore", &bad, "--clone"], &[&bad, what]);
    }
    fs::write(&bad, &bytes[..bytes.len() - 1]).unwrap();
    refused(&["run", "--restore", &bad, "--clone"], &[&bad, "truncated"]);
}
