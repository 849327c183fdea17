//! Linux's driver of the e1000.

use super::files::{self, bytes, md5};
use super::guest::Shell;
use crate::support::engines::{ENGINE_NAMES, JIT};
use crate::support::guests::DEBIAN;
use crate::support::needs::{self, Tests};
use std::io::{Read, Write};
use std::net::TcpStream;

const MIB: usize = 1 << 20;
/// What is said of a card that does not do what the driver asks. (Its "Reset adapter" alone is no complaint: so the driver gives up frames that
/// it had queued when the link went down, as each change of an offload brings it down and up.)
const COMPLAINTS: &str = "dmesg | grep -iE 'e1000.*(hang|error|fail)|NETDEV WATCHDOG'";

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN])
        .each(&ENGINE_NAMES, an_e1000_gets_an_address_and_passes_its_own_tests)
        .each(&ENGINE_NAMES, a_little_goes_both_ways)
        .test_needing(&[JIT], much_goes_both_ways_with_offloads_and_without)
        .test_needing(&[JIT], processors_share_a_card)
}

/// Linux's driver tests registers, EEPROM, interrupts and loopback offline, and the link online.
fn an_e1000_gets_an_address_and_passes_its_own_tests(engine: &str) {
    let mut shell = Shell::start(&["--accel", engine, "--nic", "user,model=e1000,mac=52:54:00:00:00:42"]);
    shell.up();
    assert!(shell.run("ip addr show eth0").contains("52:54:00:00:00:42"));
    let ping = shell.run("ping -c 3 -W 10 10.0.2.2");
    assert!(ping.contains("3 packets received"), "{ping}");
    let driver = shell.run("ethtool -i eth0; ethtool eth0");
    assert!(driver.contains("driver: e1000") && driver.contains("Speed: 1000Mb/s"), "{driver}");
    let tested = shell.run("ethtool -t eth0 offline; ethtool -t eth0 online");
    assert_eq!(tested.matches("The test result is PASS").count(), 2, "{tested}");
    // It works as before.
    shell.run("sleep 3");
    let ping = shell.run("ping -c 3 -W 10 10.0.2.2");
    assert!(ping.contains("3 packets received"), "{ping}");
    let statistics = shell.run("ethtool -S eth0 | grep -E 'rx_packets|tx_packets|rx_(crc|missed)_errors'");
    assert!(
        statistics.contains("rx_crc_errors: 0") && statistics.contains("rx_missed_errors: 0"),
        "{statistics}"
    );
    assert_eq!(shell.run(COMPLAINTS), "");
    shell.power_off();
}

/// Gets so many bytes from the host and sends them back.
pub(super) fn transfer(shell: &mut Shell, content: &[u8], port: u16) {
    let fetched = shell.run(&format!("wget -q -O /tmp/big http://10.0.2.2:{port}/big; md5sum < /tmp/big"));
    assert!(fetched.contains(&md5(content)), "{fetched}");
    let (back, received) = files::sink();
    let sent = shell.run(&format!("nc 10.0.2.2 {back} < /tmp/big; echo sent $?"));
    assert!(sent.contains("sent 0"), "{sent}");
    let received = received.recv().expect("the bytes come");
    assert_eq!(received.len(), content.len());
    assert!(received == content, "other bytes came");
}

fn a_little_goes_both_ways(engine: &str) {
    let content = bytes(2 * MIB);
    let port = files::http(vec![("/big".to_owned(), content.clone())]);
    let forward = needs::free_port();
    let nic = format!("user,hostfwd=tcp:127.0.0.1:{forward}-:5000");
    let mut shell = Shell::start(&["--accel", engine, "--nic", &nic]);
    shell.up();
    transfer(&mut shell, &content, port);
    // In by a forwarded port.
    shell.begin("nc -l -p 5000 -e cat & sleep 1; echo READY; wait");
    shell.expect("READY");
    let mut stream = TcpStream::connect(("127.0.0.1", forward)).expect("the forwarded port");
    stream.write_all(b"hello\n").expect("it takes bytes");
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).expect("they come back");
    assert_eq!(&answer, b"hello\n");
    drop(stream);
    shell.end();
    assert_eq!(shell.run(COMPLAINTS), "");
    shell.power_off();
}

fn much_goes_both_ways_with_offloads_and_without() {
    let content = bytes(100 * MIB);
    let port = files::http(vec![("/big".to_owned(), content.clone())]);
    let mut shell = Shell::start(&["--accel", "jit", "--nic", "user,model=e1000"]);
    shell.up();
    for offloads in [
        "tso on gso on tx on rx on sg on",
        "tso off gso off tx on rx on",
        "tso off gso off tx off rx off sg off",
    ] {
        shell.run(&format!("ethtool -K eth0 {offloads} 2>&1; sleep 2"));
        transfer(&mut shell, &content, port);
    }
    // Tags that the card inserts and strips.
    shell.run("ip link add link eth0 name eth0.5 type vlan id 5; ip addr add 10.5.0.1/24 dev eth0.5; ip link set eth0.5 up");
    let lost = shell.run("ping -c 1 -W 1 10.5.0.2; ip -s link show eth0.5");
    assert!(lost.contains("0 packets received"), "{lost}");
    let ping = shell.run("ping -c 2 -W 10 10.0.2.2");
    assert!(ping.contains("2 packets received"), "{ping}");
    assert_eq!(shell.run(COMPLAINTS), "");
    shell.power_off();
}

fn processors_share_a_card() {
    let content = bytes(20 * MIB);
    let port = files::http(vec![("/big".to_owned(), content.clone())]);
    let mut shell = Shell::start(&["--accel", "jit", "--cpus", "4", "--nic", "user,model=e1000"]);
    shell.up();
    transfer(&mut shell, &content, port);
    let get = format!("wget -q -O - http://10.0.2.2:{port}/big | md5sum");
    let sums = shell.run(&format!("for n in 1 2 3 4; do {get} & done; wait"));
    assert_eq!(sums.matches(&md5(&content)).count(), 4, "{sums}");
    assert_eq!(shell.run(COMPLAINTS), "");
    shell.power_off();
}
