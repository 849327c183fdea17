//! Linux's driver of virtio network cards.

use super::files::{self, bytes, md5};
use super::guest::Shell;
use super::linux::transfer;
use crate::support::engines::{ENGINE_NAMES, JIT};
use crate::support::guests::DEBIAN;
use crate::support::needs::Tests;

const MIB: usize = 1 << 20;
const COMPLAINTS: &str = "dmesg | grep -iE 'virtio.*(error|fail|broken|unexpected)|NETDEV WATCHDOG|bad gso'";
/// Rings and registers that the driver may use.
const CARDS: [&str; 3] = ["packed=on", "packed=off,queue-size=512", "disable-modern=on"];

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN])
        .each(&ENGINE_NAMES, a_virtio_card_carries_a_little)
        .test_needing(&[JIT], virtio_cards_carry_much_with_offloads_and_without)
        .test_needing(&[JIT], processors_share_a_virtio_card)
}

/// A virtio card with these options, on the user network.
fn start(engine: &str, cpus: &str, card: &str) -> Shell {
    let card = format!("virtio-net-pci,netdev=n,{card}");
    let options = ["--accel", engine, "--cpus", cpus, "--netdev", "user,id=n", "--device", &card];
    let mut shell = Shell::start(&options);
    shell.up();
    shell
}

fn a_virtio_card_carries_a_little(engine: &str) {
    let content = bytes(2 * MIB);
    let port = files::http(vec![("/big".to_owned(), content.clone())]);
    let mut shell = start(engine, "1", "mac=52:54:00:00:00:43");
    assert!(shell.run("ip addr show eth0").contains("52:54:00:00:00:43"));
    let ping = shell.run("ping -c 3 -W 10 10.0.2.2");
    assert!(ping.contains("3 packets received"), "{ping}");
    assert!(shell.run("ethtool -i eth0").contains("driver: virtio_net"));
    transfer(&mut shell, &content, port);
    // An address of its own choice, and VLANs.
    shell.run("ip link set eth0 down; ip link set eth0 address 52:54:00:00:00:99; ip link set eth0 up");
    shell.up();
    shell.run("ip link add link eth0 name eth0.5 type vlan id 5; ip addr add 10.5.0.1/24 dev eth0.5; ip link set eth0.5 up");
    let lost = shell.run("ping -c 1 -W 1 10.5.0.2");
    assert!(lost.contains("0 packets received"), "{lost}");
    let ping = shell.run("ping -c 2 -W 10 10.0.2.2");
    assert!(ping.contains("2 packets received"), "{ping}");
    assert_eq!(shell.run(COMPLAINTS), "");
    shell.power_off();
}

fn virtio_cards_carry_much_with_offloads_and_without() {
    for (card, megabytes) in CARDS.into_iter().zip([100, 20, 20]) {
        let content = bytes(megabytes * MIB);
        let port = files::http(vec![("/big".to_owned(), content.clone())]);
        let mut shell = start("jit", "1", card);
        for offloads in
            ["tso on gso on tx on sg on", "tso off gso off tx on", "tso off gso off tx off sg off"]
        {
            shell.run(&format!("ethtool -K eth0 {offloads} 2>&1"));
            transfer(&mut shell, &content, port);
        }
        // What the guest takes beside whole frames: none from now on.
        shell.run("ethtool -K eth0 gro off rx-gro-hw off lro off 2>&1");
        transfer(&mut shell, &content, port);
        assert_eq!(shell.run(COMPLAINTS), "", "{card}");
        shell.power_off();
    }
}

fn processors_share_a_virtio_card() {
    let content = bytes(20 * MIB);
    let port = files::http(vec![("/big".to_owned(), content.clone())]);
    let mut shell = start("jit", "4", "queues=4,packed=on");
    let queues = shell.run("ethtool -L eth0 combined 4 2>&1; ls -d /sys/class/net/eth0/queues/rx-* | wc -l");
    assert!(queues.ends_with('4'), "{queues}");
    transfer(&mut shell, &content, port);
    let get = format!("wget -q -O - http://10.0.2.2:{port}/big | md5sum");
    let sums = shell.run(&format!("for n in 1 2 3 4; do {get} & done; wait"));
    assert_eq!(sums.matches(&md5(&content)).count(), 4, "{sums}");
    assert_eq!(shell.run(COMPLAINTS), "");
    shell.power_off();
}
