//! A guest that is not one: a network namespace with Linux's TCP/IP stack, whose only interface is a TAP that a hub joins
//! to the network.

use crate::client;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use trimotor_net::{Hub, NetBackend, Tap, TapConfig, UserNet, UserNetConfig};
use trimotor_test_needs::{self as needs, Need};

pub use trimotor_test_needs::NAMESPACES;

/// A program that a test needs.
macro_rules! program {
    ($constant:ident, $name:literal, $package:literal) => {
        pub const $constant: Need = Need { name: $name, check: || needs::program($name, $package) };
    };
}
program!(PING, "ping", "iputils-ping");
program!(DIG, "dig", "bind9-dnsutils");
program!(DNSMASQ, "dnsmasq", "dnsmasq-base");
program!(UDHCPC, "udhcpc", "udhcpc");
program!(DHCLIENT, "dhclient", "isc-dhcp-client");
program!(CURL, "curl", "curl");
program!(TFTP, "tftp", "tftp-hpa");
program!(SOCAT, "socat", "socat");
program!(NETCAT, "nc", "netcat-openbsd");

/// What a new station has already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// The interface is up.
    Bare,
    /// It has the address that DHCP gives first, and a default route.
    Address,
}

/// A station at a user-mode network.
pub struct Station {
    namespace: Child,
    pub network: Arc<UserNet>,
    pub interface: String,
    // The cable, in the order in which it is to be taken apart.
    _hub: Hub,
}

impl Station {
    /// A station with an address.
    pub fn new(config: UserNetConfig) -> Self {
        Self::with(config, Setup::Address, true)
    }
    pub fn with(config: UserNetConfig, setup: Setup, offloads: bool) -> Self {
        Self::behind(config, setup, offloads, |network| network)
    }
    /// A station with something between it and the network.
    pub fn behind(
        config: UserNetConfig,
        setup: Setup,
        offloads: bool,
        wrap: impl FnOnce(Arc<UserNet>) -> Arc<dyn NetBackend>,
    ) -> Self {
        let network = Arc::new(UserNet::start(&config).unwrap_or_else(|error| panic!("{error}")));
        let addresses = config.addresses().unwrap();
        let namespace = namespace();
        let tap = TapConfig { interface: "trimotor%d".into(), offloads, ..TapConfig::default() };
        let tap = Arc::new(Tap::open(&tap).unwrap_or_else(|error| panic!("{error}")));
        let hub = Hub::new();
        hub.join(wrap(network.clone()));
        hub.join(tap.clone());
        let interface = tap.name().to_owned();
        must("ip", &["link", "set", &interface, "netns", &namespace.id().to_string()]);
        let station = Self { namespace, network, interface, _hub: hub };
        station.must("ip link set lo up");
        station.must(&format!("ip link set {} mtu {} up", station.interface, station.network.mtu()));
        if setup == Setup::Address {
            let (address, bits, router) = (addresses.dhcp_start, addresses.bits, addresses.host);
            station.must(&format!("ip addr add {address}/{bits} dev {}", station.interface));
            station.must(&format!("ip route add default via {router}"));
        }
        station
    }
    /// A command of the shell in the station.
    pub fn command(&self, command: &str) -> Command {
        let mut enter = Command::new("nsenter");
        enter.args(["-t", &self.namespace.id().to_string(), "-n", "sh", "-c", command]).stdin(Stdio::null());
        enter
    }
    /// Runs a command in the station.
    pub fn run(&self, command: &str) -> Output {
        self.command(command).output().unwrap()
    }
    /// Runs a command, which must end well: what it printed.
    pub fn must(&self, command: &str) -> String {
        let output = self.run(command);
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success(),
            "{command}: {}\n{out}\n{error}\n{}",
            output.status,
            self.network.info()
        );
        out.into_owned()
    }
    /// Runs a client of ours, which must end well: what it printed.
    pub fn client(&self, what: &str) -> String {
        let output = self.client_command(what).output().unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success(),
            "{what}: {}\n{out}\n{error}\n{}",
            output.status,
            self.network.info()
        );
        out.trim().to_owned()
    }
    /// A client of ours.
    pub fn client_command(&self, what: &str) -> Command {
        let program = std::env::current_exe().unwrap();
        let mut enter = Command::new("nsenter");
        enter.args(["-t", &self.namespace.id().to_string(), "-n"]).arg(program);
        enter.env(client::VARIABLE, what).stdin(Stdio::null()).stdout(Stdio::piped());
        enter
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        _ = self.namespace.kill();
        _ = self.namespace.wait();
    }
}

/// A process that holds a network namespace.
pub fn namespace() -> Child {
    let mut holder = Command::new("unshare");
    holder.args(["-n", "sh", "-c", "echo made; exec sleep 3600"]);
    let mut holder = holder.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "made\n");
    holder
}

/// Runs a program of the host, which must end well.
pub fn must(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
