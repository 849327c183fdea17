//! DHCP, DNS, TFTP and router advertisements, with other people's clients.

use crate::station::{CURL, DHCLIENT, DIG, DNSMASQ, NAMESPACES, Setup, Station, TFTP, UDHCPC};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use trimotor_net::UserNetConfig;
use trimotor_test_needs::{Tests, free_port};

pub fn tests() -> Tests {
    Tests::needing(&[NAMESPACES])
        .test_needing(&[UDHCPC], udhcpc_gets_an_address_and_all_options)
        .test_needing(&[DHCLIENT], dhclient_gets_an_address_and_gives_it_back)
        .test_needing(&[UDHCPC], a_restricted_network_has_no_router)
        .test_needing(&[DIG], the_host_has_a_name)
        .test_needing(&[DIG, DNSMASQ], questions_go_to_the_hosts_name_server)
        .test_needing(&[DIG], without_a_name_server_there_is_an_answer)
        .test(a_station_makes_addresses_of_the_prefix)
        .test_needing(&[CURL], files_are_read_by_tftp)
        .test_needing(&[TFTP], an_old_client_reads_files_by_tftp)
        .test_needing(&[CURL], no_name_leads_out_of_the_folder)
}

/// A folder for a test, which is removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("trimotor-{name}-{}-{count}", std::process::id()));
        _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

fn options<'a>(options: impl IntoIterator<Item = (&'a str, &'a str)>) -> UserNetConfig {
    UserNetConfig::from_options(options).unwrap_or_else(|error| panic!("{error}"))
}

/// What udhcpc hands to its script.
fn udhcpc(station: &Station) -> String {
    let folder = Folder::new(&format!("udhcpc-{}", station.interface));
    let script = folder.file("script", b"#!/bin/sh\n[ \"$1\" = bound ] && env\nexit 0\n");
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    let wanted = "-O bootfile -O tftp -O mtu -O search -O domain -O hostname";
    station.must(&format!(
        "udhcpc -i {} -f -n -q -t 5 -T 1 {wanted} -s {}",
        station.interface,
        script.display()
    ))
}

fn udhcpc_gets_an_address_and_all_options() {
    let config = options([
        ("net", "192.168.76.0/24"),
        ("dhcpstart", "192.168.76.9"),
        ("hostname", "guest-7"),
        ("domainname", "example.org"),
        ("dnssearch", "a.example"),
        ("dnssearch", "b.example"),
        ("bootfile", "boot/loader.0"),
        ("tftp-server-name", "tftp.example"),
        ("mtu", "1400"),
    ]);
    let station = Station::with(config, Setup::Bare, true);
    let said = udhcpc(&station);
    for expected in [
        "ip=192.168.76.9",
        "subnet=255.255.255.0",
        "router=192.168.76.2",
        "dns=192.168.76.3",
        "serverid=192.168.76.2",
        "siaddr=192.168.76.2",
        "hostname=guest-7",
        "domain=example.org",
        "search=a.example b.example",
        "boot_file=boot/loader.0",
        "bootfile=boot/loader.0",
        "sname=tftp.example",
        "mtu=1400",
        "lease=86400",
    ] {
        assert!(said.lines().any(|line| line == expected), "{expected} is missing in\n{said}");
    }
    // The same station has the same address again.
    assert!(udhcpc(&station).contains("ip=192.168.76.9\n"));
}

fn dhclient_gets_an_address_and_gives_it_back() {
    let station = Station::with(UserNetConfig::default(), Setup::Bare, true);
    let folder = Folder::new("dhclient");
    let (lease, pid) = (folder.0.join("lease"), folder.0.join("pid"));
    let files = format!("-sf /bin/true -lf {} -pf {}", lease.display(), pid.display());
    station.must(&format!("dhclient -4 -1 {files} {}", station.interface));
    let leases = std::fs::read_to_string(&lease).unwrap();
    assert!(leases.contains("fixed-address 10.0.2.15;"), "{leases}");
    assert!(leases.contains("option routers 10.0.2.2;"), "{leases}");
    station.must(&format!("dhclient -4 -r {files} {}", station.interface));
}

fn a_restricted_network_has_no_router() {
    let station = Station::with(options([("restrict", "on")]), Setup::Bare, true);
    let said = udhcpc(&station);
    assert!(said.contains("ip=10.0.2.15\n"), "{said}");
    assert!(!said.contains("router=") && !said.contains("dns="), "{said}");
}

fn the_host_has_a_name() {
    let station = Station::new(UserNetConfig::default());
    assert_eq!(station.must("dig +short @10.0.2.3 host.internal"), "10.0.2.2\n");
    assert_eq!(station.must("dig +short @10.0.2.3 host.internal aaaa"), "fec0::2\n");
    assert_eq!(station.must("dig +short @10.0.2.3 -x 10.0.2.2"), "host.internal.\n");
    station.must(&format!("ip -6 addr add fec0::15/64 dev {} nodad", station.interface));
    assert_eq!(station.must("dig +short @fec0::3 host.internal"), "10.0.2.2\n");
}

/// A name server of the host, which knows two names.
struct NameServer(Child, SocketAddr);

impl NameServer {
    fn start() -> Self {
        let port = free_port();
        let mut server = Self(Self::on(port), SocketAddr::from(([127, 0, 0, 1], port)));
        while TcpStream::connect(server.1).is_err() {
            assert_eq!(server.0.try_wait().unwrap(), None, "dnsmasq ends");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
    fn on(port: u16) -> Child {
        Command::new("dnsmasq")
            .args([
                "--keep-in-foreground",
                "--no-resolv",
                "--no-hosts",
                "--conf-file=/dev/null",
                "--bind-interfaces",
            ])
            .args(["--listen-address=127.0.0.1", "--pid-file=", "--user=root", "--edns-packet-max=4096"])
            .arg(format!("--port={port}"))
            .arg("--address=/known.example/192.0.2.77")
            .args((0..60).map(|n| format!("--txt-record=long.example,{n}{}", "x".repeat(50))))
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }
}

/// A port where nobody answers, and which nobody else gets: its socket hears one other address only, so that the host tells all others
/// that there is nobody.
pub fn nobody() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:9").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

impl Drop for NameServer {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn questions_go_to_the_hosts_name_server() {
    let server = NameServer::start();
    // The first of them is nobody.
    let (_kept, nobody) = nobody();
    let config = UserNetConfig { resolvers: vec![nobody, server.1], ..UserNetConfig::default() };
    let station = Station::new(config);
    let deadline = Instant::now() + Duration::from_secs(60);
    while station.must("dig +short +tries=1 @10.0.2.3 known.example; true") != "192.0.2.77\n" {
        assert!(Instant::now() < deadline, "no answer");
    }
    let config = UserNetConfig { resolvers: vec![server.1], ..UserNetConfig::default() };
    let station = Station::new(config);
    assert_eq!(station.must("dig +short +tcp @10.0.2.3 known.example"), "192.0.2.77\n");
    // An answer that does not fit in a packet: in fragments, or over TCP.
    for how in ["+bufsize=4096 +ignore", "+bufsize=512"] {
        let said = station.must(&format!("dig +short {how} @10.0.2.3 long.example txt"));
        assert_eq!(said.lines().count(), 60, "{how}: {said}");
    }
    let said = station.must("dig @10.0.2.3 unknown.example");
    assert!(said.contains("status: REFUSED") || said.contains("status: NXDOMAIN"), "{said}");
}

fn without_a_name_server_there_is_an_answer() {
    let (_kept, nobody) = nobody();
    let station = Station::new(UserNetConfig { resolvers: vec![nobody], ..UserNetConfig::default() });
    let said = station.must("dig +tries=1 @10.0.2.3 known.example");
    assert!(said.contains("status: SERVFAIL"), "{said}");
}

fn a_station_makes_addresses_of_the_prefix() {
    let station = Station::with(UserNetConfig::default(), Setup::Bare, true);
    let deadline = Instant::now() + Duration::from_secs(20);
    let (mut addresses, mut routes) = (String::new(), String::new());
    while !(addresses.contains("inet6 fec0::") && routes.contains("default via fe80::2")) {
        assert!(Instant::now() < deadline, "{addresses}\n{routes}");
        std::thread::sleep(Duration::from_millis(100));
        addresses = station.must("ip -6 addr show scope site");
        routes = station.must("ip -6 route");
    }
}

fn tftp_config(folder: &Folder) -> UserNetConfig {
    UserNetConfig { tftp: Some(folder.0.clone()), ..UserNetConfig::default() }
}

fn files_are_read_by_tftp() {
    let folder = Folder::new("tftp");
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(|n| (n / 7).to_le_bytes()).take(1_000_000).collect();
    folder.file("boot/kernel", &bytes);
    folder.file("whole", &bytes[..1024]);
    let station = Station::new(tftp_config(&folder));
    let out = folder.0.join("out");
    let load = |options: &str, name: &str| {
        station.must(&format!("curl -sS {options} -o {} tftp://10.0.2.2/{name}", out.display()));
        std::fs::read(&out).unwrap_or_default()
    };
    assert!(load("--tftp-blksize 1468", "boot/kernel") == bytes);
    assert!(load("--tftp-no-options", "boot/kernel") == bytes);
    assert!(load("--tftp-blksize 512", "whole") == bytes[..1024]);
    assert!(load("--tftp-blksize 9000", "boot/kernel") == bytes);
}

fn an_old_client_reads_files_by_tftp() {
    let folder = Folder::new("tftp-hpa");
    let bytes = vec![7; 100_000];
    folder.file("file", &bytes);
    let station = Station::new(tftp_config(&folder));
    let out = folder.0.join("out");
    station.must(&format!("tftp -m binary 10.0.2.2 -c get file {}", out.display()));
    assert!(std::fs::read(&out).unwrap() == bytes);
    // (curl takes no empty file.)
    folder.file("empty", b"");
    station.must(&format!("tftp -m binary 10.0.2.2 -c get empty {}", out.display()));
    assert!(std::fs::read(&out).unwrap().is_empty());
    let said = station.run(&format!("tftp -m binary 10.0.2.2 -c put {} new", out.display()));
    assert!(String::from_utf8_lossy(&said.stdout).contains("ccess violation"), "{said:?}");
    assert!(!folder.0.join("new").exists());
}

fn no_name_leads_out_of_the_folder() {
    let outside = Folder::new("tftp-outside");
    outside.file("secret", b"secret");
    let folder = Folder::new("tftp-inside");
    folder.file("in/file", b"inside");
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.0.join(name)).unwrap();
    link("in/file", "good-link");
    link(outside.0.join("secret").to_str().unwrap(), "bad-link");
    link(outside.0.to_str().unwrap(), "bad-folder");
    link("/dev/zero", "device-link");
    link("/proc/self/environ", "proc-link");
    let fifo = folder.0.join("fifo");
    crate::station::must("mkfifo", &[fifo.to_str().unwrap()]);
    let station = Station::new(tftp_config(&folder));
    let load = |name: &str| station.run(&format!("curl -sS --path-as-is -m 10 'tftp://10.0.2.2/{name}'"));
    for name in ["in/file", "/in/file", "good-link", "in%5Cfile", "./in//file"] {
        let output = load(name);
        assert_eq!(output.stdout, b"inside", "{name}: {output:?}");
    }
    let up = format!("../{}/secret", outside.0.file_name().unwrap().to_str().unwrap());
    let also_up = format!("in/../{up}");
    let whole = outside.0.join("secret");
    for name in [
        &up,
        &also_up,
        whole.to_str().unwrap(),
        "bad-link",
        "bad-folder/secret",
        "device-link",
        "proc-link",
        "fifo",
        "in",
        "in/file/x",
        "..%5C..%5Cetc%5Cpasswd",
        "nothing",
    ] {
        let output = load(name);
        // 68: not found; 69: access violation; 71: illegal; of curl.
        assert!(matches!(output.status.code(), Some(68 | 69 | 71)), "{name}: {output:?}");
        assert!(output.stdout.is_empty(), "{name}: {output:?}");
    }
}
