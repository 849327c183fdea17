//! Commands at a monitor's socket, with guests of a few instructions.

use super::client::{Client, connect};
use crate::support::engines::ENGINE_NAMES;
use crate::support::needs::Tests;
use crate::support::program::{Program, run_to_end};
use crate::support::small_guest::{CODE, Scratch, debug_exit, prints, runs_on, small_guest};
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINE_NAMES, a_machine_is_stopped_looked_at_and_goes_on)
        .each(&ENGINE_NAMES, memory_and_instructions_are_shown)
        .each(&ENGINE_NAMES, each_topic_of_info_has_something_to_say)
        .test(a_run_with_a_counted_clock_obeys)
        .test(the_screen_goes_into_files)
        .test(media_change)
        .test(two_monitors_have_equal_rights)
        .test(commands_come_through_a_pipe_to_the_socket)
        .test(a_monitor_connects_to_who_listens)
        .test(quit_ends_the_run_and_takes_the_socket_away)
        .test(what_cannot_be_a_monitor_is_refused)
}

/// A guest that writes a text and runs on, and a client at its monitor.
struct Watched {
    program: Program,
    client: Client,
    socket: Scratch,
    _image: Scratch,
}

/// What the guest has written before it runs on.
const READY: &str = "ready";

impl Watched {
    fn start(name: &str, more: &[&str]) -> Watched {
        let (image, socket) = (small_guest(name, &prints(READY.as_bytes(), runs_on)), Scratch::new("m.sock"));
        let monitor = format!("unix:{},server,nowait", socket.path());
        let path = image.path();
        let fixed = ["run", "--memory", "16M", "--kernel", &path, "--nographic", "--monitor", &monitor];
        let mut program = Program::start(&[&fixed[..], more].concat());
        program.expect(READY);
        let client = Client::connect(&socket.path());
        Watched { program, client, socket, _image: image }
    }
    fn quit(mut self) {
        self.client.send(b"quit\n");
        let ended = self.program.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

/// The number behind `name` in a text.
fn number(text: &str, name: &str) -> u64 {
    let rest = text.split(name).nth(1).unwrap_or_else(|| panic!("no {name} in {text}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number behind {name} in {text}"))
}

fn a_machine_is_stopped_looked_at_and_goes_on(engine: &str) {
    let mut guest = Watched::start(&format!("stopped-{engine}"), &["--accel", engine, "--cpus", "2"]);
    let m = &mut guest.client;
    assert!(m.ask("info status").starts_with("VM status: running"));
    m.obeys("stop");
    let stopped = m.ask("info status");
    assert!(stopped.starts_with("VM status: paused"), "{stopped}");
    assert_eq!(m.ask("info status"), stopped, "neither time nor instructions go on");
    let registers = m.ask("info registers");
    for wanted in ["CPU#0\nRAX=", "RIP=0000000000100", "CS =", "CR0=", "CPL=0", "HLT=0", "XMM15="] {
        assert!(registers.contains(wanted), "{wanted}: {registers}");
    }
    let cpus = m.ask("info cpus");
    assert!(cpus.starts_with("CPU #0: pc=0000000000100"), "{cpus}");
    assert!(cpus.contains("CPU #1: ") && cpus.contains("(waits for SIPI)"), "{cpus}");
    assert!(m.ask("info registers -a").contains("CPU#1\n"));
    m.obeys("cpu 1");
    assert!(m.ask("info registers").starts_with("CPU#1\n"));
    m.refuses("cpu 2", &["no vCPU 2", "0 to 1"]);
    m.obeys("cpu 0");
    m.obeys("cont");
    let before = number(&stopped, "instructions: ");
    m.ask_until("info status", |status| number(status, "instructions: ") > before);
    m.obeys("system_reset");
    guest.program.expect(READY);
    guest.client.refuses("stpo", &["did you mean stop?"]);
    guest.client.refuses("accelerate", &["unknown command", "help lists"]);
    guest.quit();
}

fn memory_and_instructions_are_shown(engine: &str) {
    let mut guest = Watched::start(&format!("memory-{engine}"), &["--accel", engine]);
    let m = &mut guest.client;
    // The text is there a moment before the guest is where it stays.
    let code = prints(READY.as_bytes(), runs_on);
    let last = format!("jmp short {:#x}", CODE as usize + code.len() - 8);
    m.ask_until("x/i $rip", |listing| listing.ends_with(&last));
    m.obeys("stop");
    // The guest's code, as another disassembler has it.
    let mut decoder = Decoder::with_ip(32, &code, u64::from(CODE), DecoderOptions::NONE);
    let listing = m.ask(&format!("x/10i {CODE:#x}"));
    let lines: Vec<&str> = listing.lines().collect();
    assert_eq!(lines.len(), 10, "{listing}");
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_hex_prefix("0x");
    formatter.options_mut().set_hex_suffix("");
    formatter.options_mut().set_uppercase_hex(false);
    formatter.options_mut().set_space_after_operand_separator(true);
    formatter.options_mut().set_branch_leading_zeros(false);
    for line in lines {
        let instruction = decoder.decode();
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        assert!(line.starts_with(&format!("{:#018x}: ", instruction.ip())), "{line}");
        assert!(line.ends_with(&text), "{line}: {text}");
    }
    let start = CODE as usize + code.len() - READY.len() - 1;
    assert_eq!(m.ask(&format!("xp/5c {start:#x}")), format!("{start:016x}: 'r' 'e' 'a' 'd' 'y'"));
    assert_eq!(m.ask(&format!("x/1xw {start:#x} + 1 - 1")), format!("{start:016x}: 0x64616572"));
    assert_eq!(m.ask("print/d 3 * (1 + 1)"), "6");
    assert_eq!(m.ask("p $eip & 0xfff00000"), "0x00100000");
    assert_eq!(m.ask("info mem"), "paging is off: linear addresses are physical ones");
    m.refuses("xp/4xw 0x70000000", &["0x70000000", "no memory"]);
    assert!(m.ask("x/6xg 0xfffff0").ends_with("linear address 0x1000000 is not mapped to memory"));
    m.refuses("x/4xw rip", &["write $rip"]);
    m.refuses("x/99999i 0", &["4096"]);
    guest.quit();
}

fn each_topic_of_info_has_something_to_say(engine: &str) {
    let vnc = Scratch::new("vnc.sock");
    let display = format!("vnc=unix:{}", vnc.path());
    let image = small_guest("topics", &prints(READY.as_bytes(), runs_on));
    let (socket, path) = (Scratch::new("m.sock"), image.path());
    let monitor = format!("unix:{},server", socket.path());
    let fixed = ["run", "--memory", "16M", "--kernel", &path, "--monitor", &monitor, "--display", &display];
    let more = ["--accel", engine, "--nic", "user,id=net0", "--vmgenid", "auto"];
    let mut program = Program::start(&[&fixed[..], &more].concat());
    program.expect(READY);
    let mut m = Client::connect(&socket.path());
    let listed = m.ask("info");
    let topics: Vec<String> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("info ")?.split(' ').next().map(str::to_owned))
        .collect();
    assert!(topics.len() > 20, "{listed}");
    for topic in &topics {
        let told = m.ask(&format!("info {topic}"));
        if topic == "balloon" {
            assert!(told.contains("add --device virtio-balloon-pci"), "{told}");
        } else if topic == "snapshots" {
            assert!(told.contains("no disk that can be written: `save FILE`"), "{told}");
        } else {
            assert!(!told.is_empty() && !told.starts_with("Error: "), "info {topic}: {told}");
        }
    }
    for (topic, words) in [
        ("pic", &["pic0: irr=", "pic1: irr="][..]),
        ("irq", &["wire  0: ", "NMI: low"]),
        ("ioapic", &["pin 23 "]),
        ("lapic", &["local APIC 0: base fee00900", "LVT LINT0"]),
        (
            "pci",
            &[
                "Host bridge: PCI device 8086:1237",
                "VGA controller",
                "Ethernet controller: PCI device 8086:100e",
            ],
        ),
        ("mtree", &["0000000000000000-", " ram\n", "local APIC of vCPU 0", "03f8-03ff "]),
        ("qtree", &["bus: board", "bus: pci.0"]),
        ("network", &["net0: user: net 10.0.2.0/24", "card e1000"]),
        ("usernet", &["net0: user: net 10.0.2.0/24"]),
        ("vnc", &["VNC: "]),
        ("version", &["Trimotor "]),
        ("block", &["there is no drive"]),
        ("jit", &["instructions"]),
    ] {
        let told = m.ask(&format!("info {topic}"));
        assert!(words.iter().all(|word| told.contains(word)), "info {topic}: {told}");
    }
    m.refuses("info pcc", &["did you mean info pci or info pic?"]);
    let help = m.ask("help");
    assert!(help.contains("sendkey KEYS") && help.contains("info [TOPIC]"), "{help}");
    assert!(m.ask("help sendkey").contains("ctrl-alt-delete"));
    m.send(b"quit\n");
    assert_eq!(program.wait().code, Some(0));
}

fn a_run_with_a_counted_clock_obeys() {
    let mut guest = Watched::start("counted", &["--icount"]);
    let m = &mut guest.client;
    m.obeys("stop");
    let status = m.ask("info status");
    assert!(status.contains("paused"), "{status}");
    assert_eq!(m.ask("x/3i $rip").lines().count(), 3);
    m.obeys("cont");
    m.ask_until("x/i $rip", |listing| listing.contains("jmp"));
    guest.quit();
}

fn the_screen_goes_into_files() {
    let mut guest = Watched::start("screendump", &[]);
    let m = &mut guest.client;
    let [png, ppm, text] = ["s.png", "s.ppm", "s.txt"].map(Scratch::new);
    for paused in [false, true] {
        if paused {
            m.obeys("stop");
        }
        for file in [&png, &ppm, &text] {
            let _ = std::fs::remove_file(&file.0);
            m.obeys(&format!("screendump {}", file.path()));
        }
        let mut reader = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&png.0).unwrap()))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((frame.width, frame.height), (720, 400));
        let ppm = std::fs::read(&ppm.0).unwrap();
        assert_eq!(ppm.strip_prefix(b"P6\n720 400\n255\n".as_slice()), Some(&pixels[..frame.buffer_size()]));
        assert_eq!(std::fs::read_to_string(&text.0).unwrap().lines().count(), 25);
    }
    m.refuses("screendump /nonexistent/x.png", &["/nonexistent/x.png", "No such file"]);
    m.refuses("screendump -f gif x", &["png, ppm"]);
    guest.quit();
}

fn media_change() {
    let [first, second, short] = [2, 3, 1].map(|sectors: usize| {
        let file = Scratch::new("medium.iso");
        std::fs::write(&file.0, vec![0; 2048 * sectors]).unwrap();
        file
    });
    let mut guest = Watched::start("media", &["--cdrom", &first.path()]);
    let m = &mut guest.client;
    let block = m.ask("info block");
    assert_eq!(block, format!("ide1-cd0 (CD, ide1, master): {}, 4096 bytes, read only", first.path()));
    m.obeys("eject ide1-cd0");
    assert_eq!(m.ask("info block"), "ide1-cd0 (CD, ide1, master): empty");
    m.obeys(&format!("change ide1-cd0 \"{}\" raw", second.path()));
    assert!(m.ask("info block").contains("6144 bytes"));
    m.refuses("change ide1-cd0 /nonexistent/x.iso", &["/nonexistent/x.iso"]);
    m.refuses(&format!("change ide1-cd0 {} qcow9", short.path()), &["qcow9"]);
    m.refuses("eject ide0-hd0", &["no drive", "ide1-cd0"]);
    m.refuses("change cd x", &["no drive \"cd\"", "ide1-cd0"]);
    assert!(m.ask("info block").contains("6144 bytes"), "what was refused changes nothing");
    // Tab knows the drive.
    m.send(b"eject ide\t\n");
    assert!(m.read_until("\r\n").contains("ide1-cd0 "));
    guest.quit();
}

fn two_monitors_have_equal_rights() {
    let other = Scratch::new("other.sock");
    let spec = format!("unix:{},server", other.path());
    let mut guest = Watched::start("two", &["--monitor", &spec]);
    let mut second = Client::connect(&other.path());
    // And a second peer at one of them.
    let mut third = Client::connect(&other.path());
    guest.client.obeys("stop");
    assert!(second.ask("info status").contains("paused"));
    third.obeys("cont");
    assert!(second.ask("info status").contains("running"));
    second.obeys("cpu 0");
    assert!(guest.client.ask("info status").contains("running"));
    // Who leaves leaves the others there.
    third.send(b"\x04");
    assert_eq!(third.rest(), "\r\n");
    drop(second);
    guest.quit();
}

fn commands_come_through_a_pipe_to_the_socket() {
    let guest = Watched::start("pipe", &[]);
    let mut stream = connect(&guest.socket.path());
    stream.write_all(b"info status\ninfo version\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    assert!(told.contains("VM status: running") && told.contains("\r\nTrimotor "), "{told}");
    guest.quit();
}

fn a_monitor_connects_to_who_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = format!("tcp:127.0.0.1:{}", listener.local_addr().unwrap().port());
    let guest = Watched::start("connects", &["--monitor", &spec]);
    let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
    stream.write_all(b"info version\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    assert!(told.contains("\r\nTrimotor "), "{told}");
    guest.quit();
}

fn quit_ends_the_run_and_takes_the_socket_away() {
    let mut guest = Watched::start("quit", &[]);
    assert!(guest.socket.0.exists());
    guest.client.send(b"q\n");
    assert!(guest.client.rest().starts_with("q\r\n"));
    let ended = guest.program.wait();
    assert_eq!((ended.code, &*ended.errors), (Some(0), ""), "{ended:?}");
    assert!(!guest.socket.0.exists());
    // A guest that ends by itself ends its monitors.
    let (image, socket) = (small_guest("ends", &prints(b"x", debug_exit)), Scratch::new("m.sock"));
    let monitor = format!("unix:{},server", socket.path());
    let ended =
        run_to_end(&["run", "--kernel", &image.path(), "--nographic", "--debug-exit", "--monitor", &monitor]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(!socket.0.exists());
}

fn what_cannot_be_a_monitor_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("tcp:127.0.0.1:{},server", taken.local_addr().unwrap().port());
    for (spec, words) in [
        ("file:x", &["--monitor file:x", "unix:PATH,server"][..]),
        ("nothing", &["--monitor", "stdio"]),
        ("unix:/nonexistent/m.sock,server", &["cannot listen"]),
        ("unix:/nonexistent/m.sock", &["cannot connect", ",server"]),
        (&taken, &["cannot listen"]),
    ] {
        let ended = run_to_end(&["demo", "--display", "none", "--monitor", spec]);
        assert_eq!(ended.code, Some(2), "{spec}: {ended:?}");
        assert!(words.iter().all(|word| ended.errors.contains(word)), "{spec}: {ended:?}");
    }
    let ended = run_to_end(&["demo", "--display", "none", "--monitor", "stdio", "--monitor", "stdio"]);
    assert!(ended.code == Some(2) && ended.errors.contains("given twice"), "{ended:?}");
}
