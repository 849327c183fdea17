//! Says whether this build is optimised enough for handlers to tail-call each other.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(tail_calls)");
    let level = std::env::var("OPT_LEVEL").unwrap_or_default();
    if matches!(level.as_str(), "2" | "3" | "s" | "z") {
        println!("cargo::rustc-cfg=tail_calls");
    }
}
