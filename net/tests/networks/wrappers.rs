//! What stands between a station and its network: captures, rate limits, and a cable that loses frames.

use crate::pattern;
use crate::services::Folder;
use crate::station::{NAMESPACES, Setup, Station};
use crate::tcp::server;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use trimotor_net::capture::{Capture, CaptureConfig};
use trimotor_net::limit::{RateConfig, RateLimit};
use trimotor_net::{Frame, NetBackend, Offloads, UserNetConfig, Waker};
use trimotor_test_needs::{self as needs, Need, Tests};

/// Reads captures.
const TSHARK: Need = Need { name: "tshark", check: || needs::program("tshark", "tshark") };

pub fn tests() -> Tests {
    Tests::needing(&[NAMESPACES])
        .test(what_is_lost_is_sent_again)
        .test_needing(&[TSHARK], tshark_reads_captures)
        .test_needing(&[TSHARK], a_capture_has_no_more_than_its_bounds)
        .test(a_limit_holds_in_both_directions)
}

/// A network that loses a frame in so many.
struct Lossy {
    network: Arc<dyn NetBackend>,
    to_guest_one_in: u32,
    from_guest_one_in: u32,
    random: AtomicU32,
}

impl Lossy {
    fn loses(&self, one_in: u32) -> bool {
        let step = |n: u32| Some(n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        let random = self.random.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap();
        (random >> 8).is_multiple_of(one_in)
    }
}

impl NetBackend for Lossy {
    fn send(&self, frame: Frame) {
        if !self.loses(self.from_guest_one_in) {
            self.network.send(frame);
        }
    }
    fn receive(&self) -> Option<Frame> {
        loop {
            let frame = self.network.receive()?;
            if !self.loses(self.to_guest_one_in) {
                return Some(frame);
            }
        }
    }
    fn accepts(&self) -> Offloads {
        self.network.accepts()
    }
    fn card_accepts(&self, offloads: Offloads) {
        self.network.card_accepts(offloads);
    }
    fn set_waker(&self, waker: Waker) {
        self.network.set_waker(waker);
    }
    fn info(&self) -> String {
        self.network.info()
    }
}

fn what_is_lost_is_sent_again() {
    const BYTES: u64 = 3_000_000;
    let down = server("127.0.0.1:0", |mut stream| pattern::write(&mut stream, BYTES).unwrap());
    let up = server("127.0.0.1:0", |mut stream| {
        let bytes = pattern::read(&mut stream, u64::MAX).unwrap();
        write!(stream, "{bytes}").unwrap();
    });
    for offloads in [true, false] {
        let station = Station::behind(UserNetConfig::default(), Setup::Address, offloads, |network| {
            // Those to the guest are long, and few.
            let random = AtomicU32::new(7);
            Arc::new(Lossy { network, to_guest_one_in: 15, from_guest_one_in: 100, random })
        });
        // BBR takes this for a slow line, and takes minutes.
        station.must("echo reno > /proc/sys/net/ipv4/tcp_congestion_control");
        for _ in 0..3 {
            assert_eq!(station.client(&format!("fetch 10.0.2.2:{down}")), BYTES.to_string());
            assert_eq!(station.client(&format!("push 10.0.2.2:{up} {BYTES}")), BYTES.to_string());
        }
        assert!(!station.network.info().contains(" 0 sent again"), "{}", station.network.info());
    }
}

/// What tshark says of a file, a line for each frame: the fields, with commas between them.
fn tshark(file: &std::path::Path, fields: &[&str]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-T", "fields", "-E", "separator=,"]);
    let output =
        fields.iter().fold(&mut command, |command, field| command.args(["-e", field])).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn captured(name: &str, config: CaptureConfig) -> (Folder, std::path::PathBuf) {
    let folder = Folder::new(&format!("capture-{name}"));
    let file = folder.0.join(name);
    let port = server("127.0.0.1:0", |mut stream| pattern::write(&mut stream, 300_000).unwrap());
    let station = Station::behind(UserNetConfig::default(), Setup::Address, true, |network| {
        Arc::new(Capture::new(network, &file, config).unwrap_or_else(|error| panic!("{error}")))
    });
    assert_eq!(station.client(&format!("fetch 10.0.2.2:{port}")), "300000");
    drop(station);
    (folder, file)
}

fn tshark_reads_captures() {
    for name in ["x.pcap", "x.pcapng"] {
        let (_folder, file) = captured(name, CaptureConfig::default());
        let frames = tshark(&file, &["frame.protocols", "ip.src", "tcp.len", "frame.packet_flags_direction"]);
        let has = |what: &str| frames.iter().any(|frame| frame.contains(what));
        assert!(has("eth:ethertype:arp"), "{frames:?}");
        let from_router = frames.iter().filter(|frame| frame.contains(",10.0.2.2,"));
        let bytes: u64 =
            from_router.map(|frame| frame.split(',').nth(2).unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(bytes, 300_000, "{name}: {frames:?}");
        if name == "x.pcapng" {
            let to_guest = |frame: &&String| frame.ends_with(",1") || frame.ends_with(",0x00000001");
            let received = frames.iter().filter(|frame| frame.contains(",10.0.2.2,")).all(|f| to_guest(&f));
            assert!(received, "{frames:?}");
        }
    }
}

fn a_capture_has_no_more_than_its_bounds() {
    let config = CaptureConfig { most_of_frame: 100, most_of_file: 1500 };
    for name in ["x.pcap", "x.pcapng"] {
        let (_folder, file) = captured(name, config);
        let length = std::fs::metadata(&file).unwrap().len();
        assert!((500..=1500).contains(&length), "{length}");
        let frames = tshark(&file, &["frame.cap_len"]);
        assert!(frames.len() >= 3 && frames.iter().all(|n| n.parse::<u32>().unwrap() <= 100), "{frames:?}");
    }
}

fn a_limit_holds_in_both_directions() {
    // What takes longer than it may is a failure; that it may be longer on a busy host is none.
    const BYTES: u64 = 3_000_000;
    let down = server("127.0.0.1:0", |mut stream| pattern::write(&mut stream, BYTES).unwrap());
    let up = server("127.0.0.1:0", |mut stream| {
        let bytes = pattern::read(&mut stream, u64::MAX).unwrap();
        write!(stream, "{bytes}").unwrap();
    });
    let config =
        RateConfig { bytes_per_s: Some(2_000_000), burst_bytes: Some(500_000), ..RateConfig::default() };
    let station = Station::behind(UserNetConfig::default(), Setup::Address, true, |network| {
        Arc::new(RateLimit::new(network, config).unwrap())
    });
    let began = Instant::now();
    assert_eq!(station.client(&format!("fetch 10.0.2.2:{down}")), BYTES.to_string());
    assert!(began.elapsed().as_secs_f64() > 1.2, "{:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(station.client(&format!("push 10.0.2.2:{up} {BYTES}")), BYTES.to_string());
    assert!(began.elapsed().as_secs_f64() > 1.2, "{:?}", began.elapsed());
}
