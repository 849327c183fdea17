//! What translation costs, in guest instructions per second (the inverse of nanoseconds an instruction): the text of
//! this program itself, block by block, as code of a 64-bit kernel and of a program.

#![allow(clippy::unwrap_used, missing_docs, reason = "a program without text ends the bench")]

use criterion::{Criterion, Throughput, criterion_group};
use goblin::elf::Elf;
use std::hint::black_box;
use trimotor_bt_jit::code_memory::{CodeMemory, CodeOffset};
use trimotor_bt_jit::thunks::{Runtime, Thunks};
use trimotor_bt_jit::translate::{HostFeatures, Source, Tools};
use trimotor_cpu::model::CpuModel;
use trimotor_cpu_interp::core::mode;
use trimotor_cpu_interp::debugger::PageOffsets;

/// Pages of text that are translated.
const PAGES: usize = 64;
const PAGE: usize = 4096;

/// Pages from the middle of this program's text.
fn corpus() -> Vec<u8> {
    let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let elf = Elf::parse(&file).unwrap();
    let named = |s: &&goblin::elf::SectionHeader| elf.shdr_strtab.get_at(s.sh_name) == Some(".text");
    let text = elf.section_headers.iter().find(named).unwrap();
    let start = (text.sh_offset + text.sh_size / 3) as usize;
    file[start..start + PAGES * PAGE].to_vec()
}

/// Translates all of `text`; the number of instructions.
fn translate_all(tools: &mut Tools, thunks: &Thunks, model: &CpuModel, text: &[u8], mode: u32) -> u64 {
    let mut instructions = 0;
    for page in text.chunks(PAGE) {
        let mut at = 0;
        while at < PAGE {
            let source = Source {
                mode,
                model,
                bytes: page,
                offset: at as u16,
                second_page: None,
                cuts: &PageOffsets::NONE,
                uncoalesced: false,
                x87_fallback: false,
                base: CodeOffset(0x10_0000),
                first_fallback: 0,
                first_link: 0,
                first_ic: 0,
                counter: None,
            };
            let Some(t) = tools.translate(&source, thunks).unwrap() else { break };
            black_box(tools.emitter.finish().unwrap());
            instructions += t.instructions as u64;
            at = t.ranges[0].end;
            tools.recycle(t);
        }
    }
    instructions
}

fn translation(c: &mut Criterion) {
    let text = corpus();
    let model = CpuModel::parse("max", 1_000_000_000).unwrap();
    let mut memory = CodeMemory::new(1 << 20).unwrap();
    let thunks = Thunks::place(&mut memory, &Runtime::default()).unwrap();
    let mut tools = Tools::for_host(HostFeatures::detect());
    let shared = mode::CODE64 | 0x3F << mode::OPEN_SHIFT | mode::SSE | mode::AVX | mode::PROTECTED;
    let mut group = c.benchmark_group("translation");
    for (name, mode) in [("kernel", shared), ("program", shared | mode::USER)] {
        let instructions = translate_all(&mut tools, &thunks, &model, &text, mode);
        group.throughput(Throughput::Elements(instructions));
        group.bench_function(name, |b| {
            b.iter(|| translate_all(&mut tools, &thunks, &model, &text, mode));
        });
    }
    group.finish();
}

criterion_group!(benches, translation);
