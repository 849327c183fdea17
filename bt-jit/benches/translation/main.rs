//! What translation costs. There is nothing to measure on hosts that the translator does not work on.

#[cfg(target_arch = "x86_64")]
mod blocks;

fn main() {
    #[cfg(target_arch = "x86_64")]
    {
        blocks::benches();
        criterion::Criterion::default().configure_from_args().final_summary();
    }
}
