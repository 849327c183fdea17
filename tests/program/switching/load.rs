//! Switches while Linux reads and writes disks and gets files from a network, by the host's clock.

use crate::monitor::client::Client;
use crate::networks::files::{bytes, http, md5};
use crate::networks::guest::Shell;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::Tests;
use crate::support::small_guest::Scratch;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT])
        .test(a_processor_under_load_is_switched_a_thousand_times)
        .test(four_processors_under_load_are_switched_a_thousand_times)
}

const SWITCHES: usize = 1000;
/// Bytes of the disks.
const BYTES: usize = 4 << 20;
/// For what the kernel would say if something went wrong.
const COMPLAINTS: &str =
    "dmesg | grep -E 'BUG:|Oops|soft lockup|rcu.*stall|segfault|I/O error|NETDEV WATCHDOG'";

fn a_processor_under_load_is_switched_a_thousand_times() {
    check("1");
}
fn four_processors_under_load_are_switched_a_thousand_times() {
    check("4");
}

/// Somebody who switches between two engines without end.
struct Switcher {
    made: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Switcher {
    /// Begins, at a guest that runs on the translator.
    fn start(mut client: Client) -> Self {
        let (made, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (made.clone(), stop.clone());
        let thread = thread::spawn(move || {
            for to in ["interp", "jit"].into_iter().cycle() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let answer = client.ask(&format!("accel {to}"));
                assert!(
                    answer.starts_with(&format!("the guest runs on {to} now: the switch from ")),
                    "{answer}"
                );
                assert!(client.ask("info status").contains(&format!("engine: {to}\n")));
                count.fetch_add(1, Ordering::SeqCst);
                // The guest is to get on too.
                thread::sleep(Duration::from_millis(8));
            }
        });
        Self { made, stop, thread }
    }
    fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("all were answered");
    }
}

fn check(cpus: &str) {
    let content = bytes(BYTES);
    let port = http(vec![("/same".to_owned(), content.clone())]);
    let (socket, from, to) = (Scratch::new("m.sock"), Scratch::new("from.img"), Scratch::new("to.img"));
    fs::write(&from.0, &content).expect("a temporary file");
    fs::write(&to.0, vec![0; BYTES]).expect("a temporary file");
    let drive = |file: &Scratch| format!("file={},if=virtio,format=raw", file.path());
    let (first, second) = (drive(&from), drive(&to));
    let monitor = format!("unix:{},server", socket.path());
    let machine = ["--accel", "jit", "--cpus", cpus, "--monitor", &monitor, "--nic", "user,model=virtio"];
    let drives = ["--drive", &first, "--drive", &second];
    let mut shell = Shell::start_with(Guest::Virtio, &[&machine[..], &drives].concat());
    shell.must("ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up; ip route add default via 10.0.2.2");
    let switcher = Switcher::start(Client::connect(&socket.path()));
    let (sum, mut rounds) = (md5(&content), 0);
    while rounds == 0 || switcher.made.load(Ordering::SeqCst) < SWITCHES {
        rounds += 1;
        let printed = shell.must(&format!(
            "echo 3 > /proc/sys/vm/drop_caches; for n in 1 2 3; do md5sum < /dev/vda & done; \
             wget -q -O - http://10.0.2.2:{port}/same | cmp - /dev/vda && echo SA''ME; \
             dd if=/dev/vda of=/dev/vdb bs=64k conv=fsync 2>/dev/null && cmp /dev/vda /dev/vdb && echo WRIT''TEN; wait"
        ));
        assert_eq!(printed.matches(&sum).count(), 3, "{printed}");
        assert!(printed.contains("SAME") && printed.contains("WRITTEN"), "{printed}");
    }
    switcher.end();
    assert_eq!(shell.run(COMPLAINTS), "");
    shell.power_off();
    assert!(fs::read(&to.0).expect("the disk") == content, "what was written is not what was read");
}
