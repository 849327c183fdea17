//! Commands with Linux in the guest.

use super::client::Client;
use crate::support::engines::JIT;
use crate::support::guests::{DEBIAN, Guest};
use crate::support::needs::{Tests, free_port};
use crate::support::program::Program;
use crate::support::small_guest::Scratch;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

pub fn tests() -> Tests {
    Tests::needing(&[DEBIAN, JIT])
        .test(keys_and_the_mouse_reach_linux)
        .test(forwards_come_and_go_and_cables_are_pulled)
        .test(a_balloon_takes_memory)
        .test(a_kernel_is_looked_at)
}

/// A guest at its shell's prompt, and a client at its monitor.
struct Linux {
    program: Program,
    client: Client,
    _socket: Scratch,
}

impl Linux {
    fn start(initrd: Guest, mark: &str, more: &[&str]) -> Linux {
        let socket = Scratch::new("m.sock");
        let monitor = format!("unix:{},server", socket.path());
        // The file system first: where it is fetched, the kernel that it is for comes with it.
        let initrd = initrd.path();
        let kernel = Guest::FullKernel.path();
        let fixed = [
            "run",
            "--memory",
            "512M",
            "--kernel",
            &kernel,
            "--initrd",
            &initrd,
            "--nographic",
            "--append",
            "console=ttyS0 quiet",
            "--monitor",
            &monitor,
        ];
        let mut program = Program::start(&[&fixed[..], more].concat());
        program.expect(mark);
        let client = Client::connect(&socket.path());
        Linux { program, client, _socket: socket }
    }
    /// Runs a command in the guest; what it prints.
    fn run(&mut self, command: &str) -> String {
        self.program.send(&format!("echo BE''GIN; {command}; echo DO''NE\n"));
        self.program.expect("BEGIN");
        let printed = self.program.expect("DONE");
        printed.trim_end_matches("DONE").replace("\r\n", "\n").trim().to_owned()
    }
    fn power_off(mut self) {
        self.program.send("poweroff -f\n");
        let ended = self.program.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

fn keys_and_the_mouse_reach_linux() {
    let mut linux = Linux::start(Guest::Input, "MARK-INPUT", &["--without", "vmmouse"]);
    let expect = |linux: &mut Linux, event: &str| _ = linux.program.expect(event);
    linux.client.obeys("sendkey a");
    // Type, code, value of an event (Linux, input-event-codes.h): KEY_A is 30.
    expect(&mut linux, " 1 30 1");
    expect(&mut linux, " 1 30 0");
    linux.client.obeys("sendkey shift-f1 50");
    for event in [" 1 42 1", " 1 59 1", " 1 59 0", " 1 42 0"] {
        expect(&mut linux, event);
    }
    linux.client.obeys("mouse_move 5 7");
    expect(&mut linux, " 2 0 5");
    expect(&mut linux, " 2 1 7");
    linux.client.obeys("mouse_button 1");
    expect(&mut linux, " 1 272 1");
    linux.client.obeys("mouse_button 0");
    expect(&mut linux, " 1 272 0");
    linux.client.obeys("mouse_move 0 0 1");
    expect(&mut linux, " 2 8 1");
    linux.client.send(b"quit\n");
    assert_eq!(linux.program.wait().code, Some(0));
}

/// What a guest's server at port 5000 gives back by a port of the host.
fn echoed(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"hello\n")?;
    let mut answer = [0; 6];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn forwards_come_and_go_and_cables_are_pulled() {
    for model in ["e1000", "virtio"] {
        let nic = format!("user,id=net0,model={model}");
        let mut linux = Linux::start(Guest::Network, "MARK-DRIVERS", &["--nic", &nic]);
        let up = linux.run("up");
        assert!(up.contains("obtained") || up.contains("lease of"), "{up}");
        linux.run("(while true; do nc -l -p 5000 -e cat; done) & sleep 1");
        let port = free_port();
        let added = linux.client.ask(&format!("hostfwd_add tcp:127.0.0.1:{port}-:5000"));
        assert_eq!(added, format!("forwards tcp:127.0.0.1:{port}-:5000"));
        assert_eq!(echoed(port).expect("the forward leads to the guest"), "hello\n");
        assert!(linux.client.ask("info usernet").contains(&format!("hostfwd tcp:127.0.0.1:{port}-:5000")));
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = taken.local_addr().unwrap().port();
        linux.client.refuses(&format!("hostfwd_add tcp:127.0.0.1:{port}-:22"), &["in use"]);
        linux.client.refuses("hostfwd_add net9 tcp::1-:1", &["net9", "net0"]);
        linux.client.refuses("hostfwd_add 2222", &["tcp::2222-:22"]);
        linux
            .client
            .refuses(&format!("hostfwd_remove tcp:127.0.0.1:{taken}"), &["no forward", &port.to_string()]);
        let removed = linux.client.ask(&format!("hostfwd_remove net0 tcp:127.0.0.1:{port}"));
        assert!(removed.starts_with("forwards no more"), "{removed}");
        assert!(echoed(port).is_err(), "nobody listens there any more");

        let carrier = "cat /sys/class/net/eth0/carrier";
        assert_eq!(linux.run(carrier), "1");
        linux.client.obeys("set_link net0 off");
        assert!(linux.client.ask("info network").contains("cable is out"));
        let wait = |state: u8| format!("while [ $({carrier}) != {state} ]; do sleep 0.1; done; {carrier}");
        assert_eq!(linux.run(&wait(0)), "0");
        assert!(linux.run("ping -c 1 -W 1 10.0.2.2").contains("100% packet loss"));
        // By the card's name now.
        let card = linux.client.ask("info network");
        let card = card.split("card ").nth(1).unwrap().split([',', '\n']).next().unwrap().to_owned();
        linux.client.obeys(&format!("set_link {card} on"));
        assert_eq!(linux.run(&wait(1)), "1");
        let ping = linux.run("ping -c 3 -W 10 10.0.2.2");
        assert!(ping.contains("packets received") && !ping.contains(" 0 packets received"), "{ping}");
        linux.client.refuses("set_link eth0 off", &["eth0", "net0"]);
        linux.power_off();
    }
}

fn a_balloon_takes_memory() {
    let mut linux = Linux::start(Guest::Virtio, "MARK-DRIVERS", &["--device", "virtio-balloon-pci"]);
    assert!(linux.client.ask("info balloon").contains("0 MiB in it"));
    linux.client.obeys("balloon 400");
    let balloon = linux.client.ask_until("info balloon", |told| told.contains("balloon: 112 MiB in it"));
    assert!(balloon.contains("112 MiB wanted"), "{balloon}");
    linux.client.obeys("balloon 512");
    linux.client.ask_until("info balloon", |told| told.contains("balloon: 0 MiB in it"));
    linux.power_off();
}

fn a_kernel_is_looked_at() {
    let mut linux = Linux::start(Guest::Network, "MARK-DRIVERS", &["--cpus", "2"]);
    // The kernel's text begins where its symbol says.
    linux.program.expect("# ");
    let stext = linux.run("grep ' _stext$' /proc/kallsyms | cut -d' ' -f1");
    let m = &mut linux.client;
    // Both in the kernel, whose addresses are looked at: the shell may still be at work.
    let began = Instant::now();
    loop {
        m.obeys("stop");
        let cpus = m.ask("info cpus");
        if cpus.contains("CPU #0: pc=ffffffff") && cpus.contains("CPU #1: pc=ffffffff") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(300), "{cpus}");
        m.obeys("cont");
        thread::sleep(Duration::from_millis(100));
    }
    let listing = m.ask(&format!("x/5i 0x{stext}"));
    assert_eq!(listing.lines().count(), 5, "{listing}");
    assert!(listing.starts_with(&format!("0x{stext}:  ")) && !listing.contains("(bad)"), "{listing}");
    let registers = m.ask("info registers -a");
    assert!(registers.contains("CS64") && registers.contains("CPU#1"), "{registers}");
    let mappings = m.ask("info mem");
    assert!(mappings.lines().any(|line| line.starts_with(&stext) && line.ends_with("-r-x")), "{mappings}");
    let pages = m.ask("info tlb");
    assert!(pages.lines().count() > 100, "{pages}");
    // The same bytes by both addresses.
    let page = pages.lines().find(|line| line.starts_with(&stext)).unwrap();
    let (linear, rest) = page.split_once(": ").unwrap();
    let physical = rest.split(' ').next().unwrap();
    let values = |text: String| {
        text.lines()
            .flat_map(|line| line.split(' ').skip(1).map(str::to_owned).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let by_linear = values(m.ask(&format!("x/16xg 0x{linear}")));
    assert_eq!(by_linear, values(m.ask(&format!("xp/16xg 0x{physical}"))));
    assert!(m.ask("info lapic").contains("local APIC 1: "));
    m.obeys("cont");
    assert_eq!(linux.run("echo goes on"), "goes on");
    linux.power_off();
}
