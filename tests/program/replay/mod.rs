//! `trimotor run --record` and `--replay`.

pub mod document;
pub mod killed;
pub mod linux;
pub mod refused;

use crate::snapshots::Folder;
use crate::support::program::{Ended, Program, run_to_end};

/// What a replay says where registers and memory are the recording's at the end.
const SAME: &str = "registers and memory are the same";

/// Replays a recording on an engine; the output must be the recorded one, byte for byte, and the end the same.
#[track_caller]
fn replays(log: &str, engine: &str, recorded: &Ended) -> Ended {
    let ended = run_to_end(&["run", "--replay", log, "--accel", engine]);
    assert_eq!(ended.code, recorded.code, "{engine}: {}", ended.errors);
    assert!(ended.errors.contains(SAME), "{engine}: {}", ended.errors);
    assert!(
        ended.output == recorded.output,
        "{engine}: another output\n{}\n---\n{}",
        ended.output,
        recorded.output
    );
    ended
}
