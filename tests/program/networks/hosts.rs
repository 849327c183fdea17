//! Hosts of a test's own: network namespaces, whose interfaces, ports and name servers nobody else sees.

use super::files;
use crate::support::small_guest::Scratch;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;

/// A host: a process that holds its namespaces.
pub struct Host {
    holder: Child,
    /// What its `/etc/resolv.conf` has.
    _resolvers: Scratch,
}

impl Host {
    /// A host with nothing but a loopback, whose name server is its own.
    pub fn new() -> Self {
        let resolvers = Scratch::new("resolv.conf");
        std::fs::write(&resolvers.0, "nameserver 127.0.0.1\n").unwrap();
        let script = "ip link set lo up && mount --bind \"$0\" \"$(readlink -f /etc/resolv.conf)\" && echo made && \
                      exec sleep 3600";
        let mut holder = Command::new("unshare");
        holder.args(["-n", "-m", "sh", "-c", script, &resolvers.path()]);
        let mut holder = holder.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "made\n");
        Self { holder, _resolvers: resolvers }
    }
    /// What has a command run there when it is written before it.
    pub fn launcher(&self) -> Vec<String> {
        let id = self.holder.id().to_string();
        ["nsenter", "-t", &id, "-n", "-m", "-w"].map(str::to_owned).to_vec()
    }
    /// A command there.
    pub fn command(&self, command: &[&str]) -> Command {
        let launcher = self.launcher();
        let mut enter = Command::new(&launcher[0]);
        enter.args(&launcher[1..]).args(command).stdin(Stdio::null());
        enter
    }
    /// Runs commands of the shell there, which must end well; returns what they printed.
    #[track_caller]
    pub fn must(&self, commands: &str) -> String {
        let output = self.command(&["sh", "-e", "-c", commands]).output().unwrap();
        assert!(output.status.success(), "{commands}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
    /// Runs a function with this host's network. Sockets that it makes stay there.
    pub fn enter<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        thread::scope(|scope| {
            // A namespace is a thread's, and this one has no other use.
            let inside = scope.spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                function()
            });
            inside.join().expect("what runs on another host")
        })
    }
    fn id(&self) -> u32 {
        self.holder.id()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        _ = self.holder.kill();
        _ = self.holder.wait();
    }
}

/// Two hosts: one for machines, and one behind a router.
///
/// ```text
///   machines ── [ host 198.51.100.10 ] ── [ router 198.51.100.80, beyond 203.0.113.80 ]
///                      2001:db8:1::10         2001:db8:1::80      2001:db8:80::80
/// ```
pub struct World {
    pub host: Host,
    pub beyond: Host,
    name_server: Child,
}

/// The name of the host beyond.
pub const NAME: &str = "www.example";
/// Its addresses.
pub const BEYOND: &str = "203.0.113.80";
pub const BEYOND6: &str = "2001:db8:80::80";

impl World {
    pub fn new() -> Self {
        let (host, beyond) = (Host::new(), Host::new());
        host.must(&format!(
            "ip link add there type veth peer name here
            ip link set here netns {}
            ip addr add 198.51.100.10/24 dev there
            ip addr add 2001:db8:1::10/64 dev there nodad
            ip link set there up",
            beyond.id()
        ));
        // The way back to a network behind the host's bridge.
        beyond.must(&format!(
            "ip addr add 198.51.100.80/24 dev here
            ip addr add 2001:db8:1::80/64 dev here nodad
            ip link set here up
            ip addr add {BEYOND}/32 dev lo
            ip addr add {BEYOND6}/128 dev lo nodad
            ip route add 192.168.50.0/24 via 198.51.100.10"
        ));
        host.must("ip route add default via 198.51.100.80; ip -6 route add default via 2001:db8:1::80");
        let name_server = host
            .command(&["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts"])
            .args(["--conf-file=/dev/null", "--bind-interfaces", "--listen-address=127.0.0.1"])
            .args(["--pid-file=", "--user=root"])
            .args([BEYOND, BEYOND6].map(|address| format!("--address=/{NAME}/{address}")))
            .spawn()
            .unwrap();
        Self { host, beyond, name_server }
    }
    /// Has a web server beyond, at port 80 of all addresses.
    pub fn serve(&self, files: Vec<(String, Vec<u8>)>) {
        let listener = self.beyond.enter(|| TcpListener::bind("[::]:80").unwrap());
        files::http_at(listener, files);
    }
    /// Listens beyond.
    pub fn listen(&self) -> (TcpListener, SocketAddr) {
        let listener = self.beyond.enter(|| TcpListener::bind((BEYOND, 0)).unwrap());
        let address = listener.local_addr().unwrap();
        (listener, address)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        _ = self.name_server.kill();
        _ = self.name_server.wait();
    }
}
