//! TAP interfaces, with and without privileges.

use crate::client;
use crate::services::Folder;
use crate::station::{NAMESPACES, PING, must, namespace};
use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use trimotor_net::{Frame, Hub, NetBackend, Tap, TapConfig};
use trimotor_test_needs::{Need, Tests};

pub fn tests() -> Tests {
    Tests::needing(&[NAMESPACES])
        .test_needing(&[PING], two_interfaces_on_a_hub_reach_each_other)
        .test(scripts_are_run_with_the_name)
        .test(an_interface_in_use_is_named)
        .test(flows_arrive_on_several_queues_and_where_the_guest_sends_them)
        .test(an_interface_comes_as_open_files)
        .test(what_is_wrong_with_queues_is_said)
        .test(a_bridge_that_is_not_there_is_named)
        .test_needing(&[HELPER], qemus_bridge_helper_makes_an_interface)
}

/// QEMU's bridge helper.
const HELPER: Need = Need {
    name: "bridge-helper",
    check: || match TapConfig::default().find_helper() {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    },
};

fn qemus_bridge_helper_makes_an_interface() {
    // In a namespace with a bridge and a configuration of our own.
    let script = "mkdir -p /etc/qemu && mount -t tmpfs none /etc/qemu && echo allow trimotorbr0 > /etc/qemu/bridge.conf && \
                  ip link add trimotorbr0 type bridge && exec \"$0\"";
    let mut command = Command::new("unshare");
    command.args(["-n", "-m", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
    let output = command.env(client::VARIABLE, "bridge 0.0.0.0:0").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.starts_with("tap"), "{output:?}");
}

fn open(options: &[(&str, &str)]) -> Result<Tap, trimotor_net::NetError> {
    Tap::open(&TapConfig::from_options(options.iter().copied())?)
}

/// Takes an interface into a namespace of its own.
fn take(tap: &Tap, address: &str) -> Child {
    let namespace = namespace();
    let id = namespace.id().to_string();
    must("ip", &["link", "set", tap.name(), "netns", &id]);
    must("nsenter", &["-t", &id, "-n", "ip", "addr", "add", address, "dev", tap.name()]);
    must("nsenter", &["-t", &id, "-n", "ip", "link", "set", tap.name(), "up"]);
    namespace
}

fn two_interfaces_on_a_hub_reach_each_other() {
    // One of them takes finished frames only.
    let with = Arc::new(open(&[("ifname", "trimotor%d")]).unwrap());
    let without = Arc::new(open(&[("ifname", "trimotor%d"), ("vnet_hdr", "off")]).unwrap());
    let hub = Hub::new();
    hub.join(with.clone());
    hub.join(without.clone());
    let (mut one, mut two) = (take(&with, "192.168.7.1/24"), take(&without, "192.168.7.2/24"));
    let id = one.id().to_string();
    must("nsenter", &["-t", &id, "-n", "ping", "-n", "-c", "3", "-i", "0.01", "-W", "10", "192.168.7.2"]);
    assert!(with.info().contains(with.name()), "{}", with.info());
    for namespace in [&mut one, &mut two] {
        namespace.kill().unwrap();
        namespace.wait().unwrap();
    }
}

fn scripts_are_run_with_the_name() {
    let folder = Folder::new("tap-scripts");
    let script = |name: &str, text: &str| {
        let path = folder.file(name, text.as_bytes());
        let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        path.display().to_string()
    };
    let out = folder.0.join("out");
    let up = script("up", &format!("#!/bin/sh\necho up $1 >> {}\nip link set $1 up\n", out.display()));
    let down = script("down", &format!("#!/bin/sh\necho down $1 >> {}\n", out.display()));
    let fails = script("fails", "#!/bin/sh\nexit 3\n");
    let tap = open(&[("ifname", "trimotor%d"), ("script", &up), ("downscript", &down)]).unwrap();
    let name = tap.name().to_owned();
    drop(tap);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), format!("up {name}\ndown {name}\n"));
    let error = open(&[("ifname", "trimotor%d"), ("script", &fails)]).err().unwrap().to_string();
    assert!(error.contains(&fails) && error.contains("exit status: 3"), "{error}");
    let error = open(&[("ifname", "trimotor%d"), ("script", "/nothing/here")]).err().unwrap().to_string();
    assert!(error.contains("/nothing/here") && error.contains("script=no"), "{error}");
}

fn an_interface_in_use_is_named() {
    let tap = open(&[("ifname", "trimotor%d")]).unwrap();
    let error = open(&[("ifname", tap.name())]).err().unwrap().to_string();
    assert!(error.contains(tap.name()) && error.contains("another program uses this interface"), "{error}");
    // The loopback is no TAP.
    let error = open(&[("ifname", "lo")]).err().unwrap().to_string();
    assert!(error.contains("another kind"), "{error}");
}

fn a_bridge_that_is_not_there_is_named() {
    let error = open(&[("br", "nobridge0"), ("helper", "/nothing/here")]).err().unwrap().to_string();
    assert!(error.contains("/nothing/here"), "{error}");
    let error = open(&[("br", "nobridge0"), ("helper", "/bin/false")]).err().unwrap().to_string();
    assert!(error.contains("nobridge0") && error.contains("bridge.conf"), "{error}");
}

/// Flows of the test, each from a port of its own.
const FLOWS: u16 = 64;
/// The port that they go to.
const DISCARD: u16 = 9;

/// Has a datagram of each flow sent, and takes them: by their ports, which queue each came by.
fn flows(namespace: &Child, tap: &Tap, woken: &Receiver<()>) -> BTreeMap<u16, (u16, Frame)> {
    let id = namespace.id().to_string();
    let mut client = Command::new("nsenter");
    client.args(["-t", &id, "-n"]).arg(std::env::current_exe().unwrap());
    client.env(client::VARIABLE, format!("flows 192.168.9.2:{DISCARD} {FLOWS}"));
    assert!(client.status().unwrap().success());
    let mut seen = BTreeMap::new();
    while seen.len() < usize::from(FLOWS) {
        let Some(frame) = tap.receive() else {
            woken.recv_timeout(Duration::from_secs(20)).expect("a frame of each flow");
            continue;
        };
        let port = |at: usize| u16::from_be_bytes([frame.bytes[at], frame.bytes[at + 1]]);
        // UDP over IPv4.
        if frame.bytes.len() > 42 && port(12) == 0x800 && frame.bytes[23] == 17 && port(36) == DISCARD {
            let queue = frame.queue.expect("one of several");
            seen.insert(port(34), (queue, frame));
        }
    }
    seen
}

fn flows_arrive_on_several_queues_and_where_the_guest_sends_them() {
    let tap = open(&[("ifname", "trimotor%d"), ("queues", "4")]).unwrap();
    assert_eq!(NetBackend::queues(&tap), 4);
    let (wake, woken) = channel();
    let wake = std::sync::Mutex::new(wake);
    tap.set_waker(Arc::new(move || _ = wake.lock().unwrap().send(())));
    let mut namespace = take(&tap, "192.168.9.1/24");
    let id = namespace.id().to_string();
    let neighbour = ["ip", "neigh", "add", "192.168.9.2", "lladdr", "02:00:00:00:00:02", "dev", tap.name()];
    must("nsenter", &[&["-t", &id, "-n"][..], &neighbour].concat());
    let first = flows(&namespace, &tap, &woken);
    let mut queues: Vec<u16> = first.values().map(|(queue, _)| *queue).collect();
    queues.sort_unstable();
    queues.dedup();
    assert!(queues.len() > 1 && queues.iter().all(|queue| *queue < 4), "{queues:?}");
    // The guest answers each by a queue of its choice: there the flow is from then on.
    for (port, (_, frame)) in &first {
        let mut answer = frame.clone();
        let bytes = &mut answer.bytes;
        let swap = |bytes: &mut Vec<u8>, one: usize, other: usize, length: usize| {
            (0..length).for_each(|at| bytes.swap(one + at, other + at));
        };
        swap(bytes, 0, 6, 6);
        swap(bytes, 26, 30, 4);
        swap(bytes, 34, 36, 2);
        // Without a checksum.
        bytes[40..42].fill(0);
        (answer.checksum, answer.queue) = (None, Some(port % 4));
        tap.send(answer);
    }
    let second = flows(&namespace, &tap, &woken);
    for (port, (queue, _)) in second {
        assert_eq!(queue, port % 4, "port {port}");
    }
    assert!(tap.info().contains("4 queues"), "{}", tap.info());
    namespace.kill().unwrap();
    namespace.wait().unwrap();
}

/// The numbers of this program's open files that are queues of an interface.
fn files_of(interface: &str) -> Vec<String> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fdinfo").unwrap() {
        let path = entry.unwrap().path();
        // Others open and close files meanwhile.
        let info = std::fs::read_to_string(&path).unwrap_or_default();
        if info.lines().any(|line| line.split_whitespace().eq(["iff:", interface])) {
            numbers.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    numbers
}

fn an_interface_comes_as_open_files() {
    // Names of no other interface, in whatever namespace that is.
    let [name, other_name] = ["fd", "of"].map(|name| format!("tri{name}{}", std::process::id()));
    let made = open(&[("ifname", &name), ("queues", "2")]).unwrap();
    let files = files_of(made.name());
    assert_eq!(files.len(), 2, "{files:?}");
    let handed = open(&[("fds", &files.join(":"))]).unwrap();
    assert_eq!((handed.name(), NetBackend::queues(&handed)), (made.name(), 2));
    drop(handed);
    let handed = open(&[("fd", &files[0])]).unwrap();
    assert_eq!(NetBackend::queues(&handed), 1);
    assert!(handed.info().contains("offloads"), "{}", handed.info());
    let other = open(&[("ifname", &other_name)]).unwrap();
    let both = [files[0].clone(), files_of(other.name())[0].clone()].join(":");
    let error = open(&[("fds", &both)]).err().unwrap().to_string();
    assert!(error.contains(other.name()) && error.contains(made.name()), "{error}");
    let file = std::fs::File::open("/dev/null").unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&file).to_string();
    let error = open(&[("fd", &number)]).err().unwrap().to_string();
    assert!(error.contains("no TAP interface's"), "{error}");
    let error = open(&[("fd", "1000000")]).err().unwrap().to_string();
    assert!(error.contains("no such file is open"), "{error}");
}

fn what_is_wrong_with_queues_is_said() {
    let one = open(&[("ifname", "trimotor%d")]).unwrap();
    let error = open(&[("ifname", one.name()), ("queues", "2")]).err().unwrap().to_string();
    assert!(error.contains("one queue") && error.contains("multi_queue"), "{error}");
    // One queue of several is used too.
    let several = open(&[("ifname", "trimotor%d"), ("queues", "2")]).unwrap();
    let third = open(&[("ifname", several.name())]).unwrap();
    assert_eq!((third.name(), NetBackend::queues(&third)), (several.name(), 1));
}
