//! What the program tells of the engine's inner life: `--stats`, `--profile`, `--perf-map`.

use crate::support::engines::{ENGINE_NAMES, JIT};
use crate::support::needs::Tests;
use crate::support::program::{Ended, Program, run_to_end};
use crate::support::small_guest::{CODE, Scratch, small_guest};

pub fn tests() -> Tests {
    Tests::new()
        .each(&ENGINE_NAMES, statistics_have_a_place_for_each_count)
        .each(&ENGINE_NAMES, statistics_begin_with_what_matters)
        .test_needing(&[JIT], a_profile_names_the_loop)
        .test_needing(&[JIT], a_perf_map_has_a_line_for_each_piece_of_code)
        .test_needing(&[JIT], a_small_code_cache_drops_the_oldest_code)
        .test_needing(&[JIT], code_that_is_written_again_and_again_is_not_translated_each_time)
        .test(the_interpreter_has_no_map)
        .each(&ENGINE_NAMES, a_key_shows_counts_while_the_guest_runs)
}

/// Times that its loop runs.
const LOOP_RUNS: u64 = 1000;

/// Counts to 1000, has an instruction that falls back to the interpreter, and ends with code 1:
/// mov ecx, 1000; dec ecx; jnz $-1; cpuid; xor eax, eax; out 0f4h, al.
const COUNTS: &[u8] = &[0xb9, 0xe8, 0x03, 0, 0, 0x49, 0x75, 0xfd, 0x0f, 0xa2, 0x31, 0xc0, 0xe6, 0xf4, 0xf4];
/// Runs until it is left: jmp $.
const RUNS_ON: &[u8] = &[0xeb, 0xfe];

fn arguments<'a>(kernel: &'a str, engine: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let fixed =
        ["run", "--accel", engine, "--memory", "16M", "--nographic", "--debug-exit", "--kernel", kernel];
    [&fixed[..], more].concat()
}

fn run(guest: &Scratch, engine: &str, more: &[&str]) -> Ended {
    run_to_end(&arguments(&guest.path(), engine, more))
}

/// The number in the line of the report that begins with `name`.
fn count(report: &str, name: &str) -> u64 {
    let line = report.lines().find_map(|line| line.trim_start().strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no line {name} in\n{report}"));
    line.split_whitespace().next().expect("a number").replace(',', "").parse().expect("a number")
}

fn statistics_have_a_place_for_each_count(engine: &str) {
    let ended = run(&small_guest(&format!("stats-{engine}"), COUNTS), engine, &["--stats=all"]);
    assert_eq!(ended.code, Some(1), "{}", ended.errors);
    assert!(ended.errors.contains(&format!("engine {engine}, vCPUs 1: 2,00")), "{}", ended.errors);
    assert!(!ended.errors.contains("other counts"), "{}", ended.errors);
    assert_eq!(count(&ended.errors, "faults delivered"), 0);
    if engine == "jit" {
        assert!(count(&ended.errors, "fallbacks ") >= 1);
        let translated = count(&ended.errors, "translated instructions");
        assert!(
            ended.errors.contains(&format!("translation of {translated} instructions")),
            "{}",
            ended.errors
        );
        assert!(count(&ended.errors, "Cpuid") >= 1);
    }
}

fn statistics_begin_with_what_matters(engine: &str) {
    let image = small_guest(&format!("most-{engine}"), COUNTS);
    let most = run(&image, engine, &["--stats"]).errors;
    assert!(most.starts_with(&format!("engine {engine}, vCPUs 1: 2,00")), "{most}");
    assert!(most.lines().count() < 24, "{most}");
    assert_eq!(count(&most, "faults delivered"), 0);
    let all = run(&image, engine, &["--stats=all"]).errors;
    assert!(all.lines().count() > most.lines().count(), "{all}");
}

fn a_profile_names_the_loop() {
    for more in [&["--profile"][..], &["--profile", "--stats"], &["--profile", "--stats=all"]] {
        let ended = run(&small_guest("profile", COUNTS), "jit", more);
        assert_eq!(ended.code, Some(1), "{}", ended.errors);
        // The first of them is run with what comes before the loop.
        let hot = count(&ended.errors, "0x100025 (32-bit kernel), 2");
        assert_eq!(hot, LOOP_RUNS - 1, "{more:?}: {}", ended.errors);
    }
}

fn a_perf_map_has_a_line_for_each_piece_of_code() {
    let map = Scratch::new("perf-map");
    let ended = run(&small_guest("perf", COUNTS), "jit", &[&format!("--perf-map={}", map.path())]);
    assert_eq!(ended.code, Some(1), "{}", ended.errors);
    let text = std::fs::read_to_string(&map.0).expect("the map");
    let mut pieces: Vec<(u64, u64, &str)> = text
        .lines()
        .map(|line| {
            let mut parts = line.splitn(3, ' ');
            let mut hex = || u64::from_str_radix(parts.next().unwrap_or_default(), 16).expect("a number");
            (hex(), hex(), parts.next().expect("a name"))
        })
        .collect();
    pieces.sort_unstable();
    assert!(pieces.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{text}");
    for name in ["guest 0x100020 (32-bit kernel)", "guest 0x100025 (32-bit kernel)", "trimotor enter"] {
        assert!(pieces.iter().any(|piece| piece.2 == name && piece.1 > 0), "no {name} in\n{text}");
    }
}

fn a_small_code_cache_drops_the_oldest_code() {
    // Many blocks, over and over, then code 1: each pushes the address of the next one and returns there.
    const BLOCKS: u32 = 10_000;
    let mut code = vec![0xbc, 0, 0, 9, 0, 0xb9, 3, 0, 0, 0]; // mov esp, 90000h; mov ecx, 3
    let first = CODE + code.len() as u32;
    for n in 1..=BLOCKS {
        code.push(0x68);
        code.extend((first + n * 6).to_le_bytes());
        code.push(0xc3);
    }
    code.push(0x49); // dec ecx
    code.extend([0x0f, 0x85]); // jnz to the first
    code.extend((-(BLOCKS as i32 * 6 + 1 + 6)).to_le_bytes());
    code.extend([0x31, 0xc0, 0xe6, 0xf4, 0xf4]);
    let ended = run(&small_guest("small", &code), "jit", &["--stats=all", "--code-cache", "256K"]);
    assert_eq!(ended.code, Some(1), "{}", ended.errors);
    assert!(count(&ended.errors, "code memory regions emptied for room") > 10, "{}", ended.errors);
    assert!(count(&ended.errors, "code memory in use") <= 256 << 10, "{}", ended.errors);
    assert!(
        count(&ended.errors, "translated blocks dropped with regions") > 2 * BLOCKS as u64,
        "{}",
        ended.errors
    );
    let ended = run(&small_guest("small-interp", COUNTS), "interp", &["--code-cache", "1M"]);
    assert!(ended.errors.contains("--code-cache: engine interp makes no host code"), "{}", ended.errors);
}

fn code_that_is_written_again_and_again_is_not_translated_each_time() {
    const RUNS: u32 = 5000;
    let mut code = vec![0xbc, 0, 0, 9, 0, 0xb9]; // mov esp, 90000h; mov ecx, RUNS
    code.extend(RUNS.to_le_bytes());
    code.extend([0x31, 0xdb, 0xbf, 0, 0, 8, 0]); // xor ebx, ebx; mov edi, 80000h
    code.extend([0xc6, 0x07, 0xb8]); // the loop: mov byte [edi], 0b8h
    code.extend([0x89, 0x4f, 0x01]); // mov [edi+1], ecx
    code.extend([0xc6, 0x47, 0x05, 0xc3]); // mov byte [edi+5], 0c3h: mov eax, ecx's value; ret
    code.extend([0xff, 0xd7, 0x01, 0xc3]); // call edi; add ebx, eax
    code.extend([0x49, 0x75, 0xef]); // dec ecx; jnz
    code.extend([0x81, 0xeb]); // sub ebx, the sum
    code.extend((RUNS * (RUNS + 1) / 2).to_le_bytes());
    code.extend([0x0f, 0x95, 0xc0, 0xe6, 0xf4, 0xf4]); // setne al; out 0f4h, al
    let ended = run(&small_guest("self_modifying", &code), "jit", &["--stats=all"]);
    assert_eq!(ended.code, Some(1), "{}", ended.errors);
    let killed = count(&ended.errors, "translated blocks killed by writes");
    assert!((3..u64::from(RUNS) / 10).contains(&killed), "{}", ended.errors);
    assert!(count(&ended.errors, "stepped") > u64::from(RUNS), "{}", ended.errors);
}

fn the_interpreter_has_no_map() {
    let ended = run(&small_guest("no-map", COUNTS), "interp", &["--perf-map"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.errors.contains("--perf-map: engine interp makes no host code"), "{}", ended.errors);
}

fn a_key_shows_counts_while_the_guest_runs(engine: &str) {
    let image = small_guest(&format!("key-{engine}"), RUNS_ON);
    let mut program = Program::start(&arguments(&image.path(), engine, &[]));
    program.send("\x01i");
    program.expect(&format!("engine {engine}, vCPUs 1: "));
    program.expect("interrupts delivered");
    program.send("\x01x");
    assert_eq!(program.wait().code, Some(0));
}
