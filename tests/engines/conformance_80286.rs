//! Instructions recorded on an 80286, in real mode: registers, memory and defined flags.
//!
//! The recordings are not part of the project: see [`RECORDINGS`]. `TRIMOTOR_CONFORMANCE_ONLY` chooses one of its files.

use crate::support::bare::BareMachine;
use crate::support::engines::ENGINES;
use crate::support::needs::{RECORDINGS, Tests, recordings};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use trimotor_machine::engines::Engine;

pub fn tests() -> Tests {
    Tests::needing(&[RECORDINGS]).each(&ENGINES, recorded_80286_instructions)
}

/// One recorded case.
struct Case {
    name: String,
    bytes: Vec<u8>,
    initial: Snapshot,
    last: Snapshot,
    /// Vector and address of the pushed flags.
    exception: Option<(u8, u32)>,
}

#[derive(Default, Clone)]
struct Snapshot {
    /// ax bx cx dx cs ss ds es sp bp si di ip flags; `None`: unchanged.
    regs: [Option<u16>; 14],
    ram: Vec<(u32, u8)>,
}

const NAMES: [&str; 14] =
    ["ax", "bx", "cx", "dx", "cs", "ss", "ds", "es", "sp", "bp", "si", "di", "ip", "flags"];

/// Why later processors differ, by file name: what is masked or why the file is left out.
mod known;

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

/// The chunks of a container: (id, payload).
fn chunks(mut b: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut found = Vec::new();
    while b.len() >= 8 {
        let len = u32_at(b, 4) as usize;
        found.push((&b[..4], &b[8..8 + len]));
        b = &b[8 + len..];
    }
    found
}

fn snapshot(b: &[u8]) -> Snapshot {
    let mut s = Snapshot::default();
    for (id, payload) in chunks(b) {
        match id {
            b"REGS" => {
                let mask = u16::from_le_bytes([payload[0], payload[1]]);
                let mut values = payload[2..].chunks(2).map(|v| u16::from_le_bytes([v[0], v[1]]));
                for (n, reg) in s.regs.iter_mut().enumerate() {
                    if mask >> n & 1 != 0 {
                        *reg = values.next();
                    }
                }
            }
            b"RAM " => {
                let entries = payload[4..].chunks(5).map(|e| (u32_at(e, 0), e[4]));
                s.ram = entries.collect();
            }
            _ => {}
        }
    }
    s
}

fn cases(path: &Path) -> Vec<Case> {
    let mut data = Vec::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(file).read_to_end(&mut data).unwrap();
    let tests = chunks(&data).into_iter().filter(|(id, _)| *id == b"TEST");
    tests
        .map(|(_, payload)| {
            let mut case = Case {
                name: String::new(),
                bytes: Vec::new(),
                initial: Snapshot::default(),
                last: Snapshot::default(),
                exception: None,
            };
            for (id, p) in chunks(&payload[4..]) {
                match id {
                    b"NAME" => case.name = String::from_utf8_lossy(&p[4..]).into_owned(),
                    b"BYTS" => case.bytes = p[4..].to_vec(),
                    b"INIT" => case.initial = snapshot(p),
                    b"FINA" => case.last = snapshot(p),
                    b"EXCP" => case.exception = Some((p[0], u32_at(p, 1))),
                    _ => {}
                }
            }
            case
        })
        .collect()
}

/// What differs, as text; `None` where the case passes.
fn run(machine: &mut BareMachine, file: &str, case: &Case) -> Option<String> {
    let before: [u16; 14] = case.initial.regs.map(|r| r.unwrap_or(0));
    for &(at, byte) in &case.initial.ram {
        machine.write(at as u64, &[byte]);
    }
    machine.set_real_mode(&before);
    let after_steps = machine.run_to_hlt(64);
    let got = machine.real_mode_registers();
    let flags_mask = known::defined_flags(file, &case.bytes);
    let mut wrong = Vec::new();
    if !after_steps {
        wrong.push("no HLT was reached".to_owned());
    }
    for (n, name) in NAMES.iter().enumerate() {
        let want = case.last.regs[n].unwrap_or(before[n]);
        let mask = if n == 13 { flags_mask } else { 0xFFFF };
        if (got[n] ^ want) & mask != 0 {
            wrong.push(format!("{name} is {:#06x}, was {:#06x}, recorded {want:#06x}", got[n], before[n]));
        }
    }
    // Flags that the instruction or an exception pushed have the same undefined bits.
    let pushed_at = match file {
        "9C" => Some(0),
        "CC" | "CD" | "CE" => Some(4),
        _ => case.exception.map(|_| 4),
    };
    let stack = |offset: u16| (u32::from(got[5]) << 4) + u32::from(got[8].wrapping_add(offset));
    for &(at, want) in &case.last.ram {
        let mask = match pushed_at {
            Some(offset) if at == stack(offset) => flags_mask as u8,
            Some(offset) if at == stack(offset + 1) => (flags_mask >> 8) as u8,
            _ => 0xFF,
        };
        let byte = machine.read_byte(at as u64);
        if (byte ^ want) & mask != 0 {
            wrong.push(format!("[{at:#x}] is {byte:#04x}, recorded {want:#04x}"));
        }
    }
    for &(at, _) in case.initial.ram.iter().chain(&case.last.ram) {
        machine.write(at as u64, &[0]);
    }
    if wrong.is_empty() { None } else { Some(wrong.join("; ")) }
}

fn recorded_80286_instructions(engine: Engine) {
    let folder = recordings().expect("the recordings are there");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 300, "the set is incomplete: {} files", files.len());
    let only = std::env::var("TRIMOTOR_CONFORMANCE_ONLY").ok();
    let mut machine = BareMachine::on(engine, 16 << 20);
    machine.all_ram();
    let mut passed = 0;
    let mut excused: BTreeMap<known::Reason, usize> = BTreeMap::new();
    let mut failures: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in files {
        let Some(file) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".MOO.gz"))
        else {
            continue;
        };
        if only.as_deref().is_some_and(|o| o != file) {
            continue;
        }
        for case in cases(&path) {
            let wrong = run(&mut machine, file, &case);
            match (wrong, known::excuse(file, &case.bytes, case.exception.map(|(vector, _)| vector))) {
                (None, _) => passed += 1,
                (Some(_), Some(reason)) => *excused.entry(reason).or_default() += 1,
                (Some(wrong), None) => failures
                    .entry(file.to_owned())
                    .or_default()
                    .push(format!("{} {:02x?}: {wrong}", case.name, case.bytes)),
            }
        }
    }
    println!("{engine}: {passed} cases passed; differences for listed reasons: {excused:?}");
    for (file, list) in &failures {
        println!("{engine}: {file}: {} wrong, the first: {}", list.len(), list[0]);
    }
    assert!(failures.is_empty(), "{} files with differences", failures.len());
    let unmet: Vec<_> = known::Reason::ALL.iter().filter(|r| !excused.contains_key(r)).collect();
    assert!(only.is_some() || unmet.is_empty(), "reasons that no recording needs any more: {unmet:?}");
}
