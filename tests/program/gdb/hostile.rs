//! Peers that send garbage, vanish, or read nothing: the guest runs on, and the next peer is served.

use super::remote::{Remote, packet};
use super::{Debugged, GDB, assert_in_order};
use crate::support::needs::{Tests, free_port};
use crate::support::program::run_to_end;
use crate::support::small_guest::{Scratch, prints, runs_on, small_guest};
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::time::Duration;

pub fn tests() -> Tests {
    Tests::new()
        .test(garbage_harms_nobody)
        .test(who_vanishes_is_not_missed)
        .test(who_never_reads_is_let_go)
        .test(what_is_asked_for_is_bounded)
        .test(bad_places_are_refused)
        .test_needing(&[GDB], gdb_comes_and_goes_while_the_guest_runs)
}

fn start(name: &str) -> (Debugged, Scratch) {
    let image = small_guest(name, &prints(b"ready", runs_on));
    let mut guest = Debugged::start("", &["--memory", "16M", "--serial", "stdio", "--kernel", &image.path()]);
    guest.program.expect("ready");
    (guest, image)
}

/// A peer that behaves finds a guest that runs, and ends the run.
fn ends_well(guest: Debugged) {
    let path = guest.place();
    let mut remote = Remote::connect(&path);
    assert!(remote.ask("?").starts_with("T05thread:"));
    let retired = |remote: &mut Remote| {
        // `info status`, in hexadecimal.
        let command: String = "info status".bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut text = String::new();
        remote.send(&format!("qRcmd,{command}"));
        loop {
            let packet = remote.receive();
            let Some(digits) = packet.strip_prefix('O').filter(|digits| *digits != "K") else { return text };
            text += digits;
        }
    };
    let before = retired(&mut remote);
    assert_eq!(retired(&mut remote), before, "it stands still for the debugger");
    remote.send("vCont;c");
    remote.0.write_all(&[3]).expect("the stub reads");
    assert!(remote.receive().starts_with("T02thread:"));
    assert_ne!(retired(&mut remote), before, "it ran");
    remote.send("k");
    guest.ends_with(0);
}

fn garbage_harms_nobody() {
    let (guest, _image) = start("gdb-garbage");
    let path = guest.place();
    let mut state = 0x1234_5678_9ABC_DEFFu64;
    let mut noise = |count: usize| -> Vec<u8> {
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..count).map(|_| byte()).collect()
    };
    let long = [b"$".to_vec(), vec![b'm'; 1 << 16]].concat();
    for bytes in [noise(1 << 16), noise(100), long, packet("qSupported:\u{fffd};;=+"), packet("vCont;x:zz")] {
        let mut remote = Remote::connect(&path);
        // It may be let go of in the middle.
        let _ = remote.0.write_all(&bytes);
    }
    // Packets that gdb would not send: each is answered, or ends the session.
    for text in
        ["", "G00", "g", "m,", "m0,1", "Z9,0,0", "Z2,ffffffffffffffff,2", "P0=", "pffffffff", "Hg-1", "vKill"]
    {
        let mut remote = Remote::connect(&path);
        remote.0.write_all(&packet(text)).expect("the stub reads");
    }
    ends_well(guest);
}

fn who_vanishes_is_not_missed() {
    let (guest, _image) = start("gdb-vanishes");
    let path = guest.place();
    // In the middle of a packet.
    Remote::connect(&path).0.write_all(b"$vCon").expect("the stub reads");
    // With a breakpoint where the guest runs, while it is stopped there.
    let mut remote = Remote::connect(&path);
    assert!(remote.ask("?").starts_with("T05"));
    assert_eq!(remote.ask("Hg1"), "OK");
    // While it runs.
    remote.send("vCont;c");
    drop(remote);
    let mut remote = Remote::connect(&path);
    remote.send("vCont;c");
    remote.0.write_all(&[3, 3, 3]).expect("the stub reads");
    drop(remote);
    ends_well(guest);
}

fn who_never_reads_is_let_go() {
    let (guest, _image) = start("gdb-deaf");
    let path = guest.place();
    let mut deaf = Remote::connect(&path);
    deaf.0.set_write_timeout(Some(Duration::from_secs(2))).expect("a time");
    while deaf.0.write_all(&packet("m100000,2000").repeat(100)).is_ok() {}
    drop(deaf);
    ends_well(guest);
}

fn what_is_asked_for_is_bounded() {
    let (guest, _image) = start("gdb-bounds");
    let path = guest.place();
    let mut remote = Remote::connect(&path);
    assert_eq!(remote.ask("Hg1"), "OK");
    for text in
        ["m100000,ffffffffffffffff", "m100000,100000", "m0fffffffffffffff,8", "Z2,0,100000000", "Z2,0,0"]
    {
        assert!(remote.ask(text).starts_with('E'), "{text}");
    }
    assert_eq!(remote.ask("m100000,4"), "02b0ad1b");
    // Breakpoints up to the bound, and beyond.
    let set = (0..5000).filter(|n| remote.ask(&format!("Z0,{n:x},1")) == "OK").count();
    assert_eq!(set, 4096);
    drop(remote);
    // What a session cannot go on from ends it.
    let mut remote = Remote::connect(&path);
    remote.0.write_all(b"-").expect("the stub reads");
    assert!(remote.is_let_go());
    ends_well(guest);
}

fn bad_places_are_refused() {
    let taken = Scratch::new("taken.sock");
    let _listener = UnixListener::bind(&taken.0).expect("a socket");
    let image = small_guest("gdb-places", &prints(b"ready", runs_on));
    for (spec, words) in [
        ("stdio", &["--gdb", "unix:PATH"][..]),
        ("unix:/nonexistent/folder/s", &["--gdb", "/nonexistent/folder/s"]),
        (&format!("tcp:0.0.0.0:{}", free_port()), &["--gdb", "127.0.0.1", "tunnel"]),
        ("1234,bits=12", &["--gdb", "16, 32 or 64"]),
        (&format!("unix:{}", taken.path()), &["--gdb", &taken.path()]),
    ] {
        let ended = run_to_end(&["run", "--kernel", &image.path(), "--display", "none", "--gdb", spec]);
        let says = |word: &&str| ended.errors.contains(word);
        assert!(ended.code == Some(2) && words.iter().all(says), "{spec}: {ended:?}");
    }
}

fn gdb_comes_and_goes_while_the_guest_runs() {
    let (guest, _image) = start("gdb-comes");
    for _ in 0..3 {
        let shown = guest.gdb(&["print $eip", "stepi", "print/x $cs", "detach"]);
        assert_in_order(&shown, &["0x10", "$2 = 0x", "detached"]);
    }
    // gdb's own end detaches too.
    let shown = guest.gdb(&["info threads"]);
    assert_in_order(&shown, &["Thread 1", "CPU#0 [running]"]);
    ends_well(guest);
}
