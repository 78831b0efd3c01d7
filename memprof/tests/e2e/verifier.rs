//! What the kernel's verifier makes of the programs: older kernels give up on long ones earlier.

use std::path::Path;

use aya::programs::loaded_programs;
use memprof::probes::{
    kernel_side::{Beside, KernelSide},
    offsets::{KERNEL_BTF, kernel_offsets},
};
use memprof_common::settings::WideScope;

use crate::harness::Stage;

/// Verified instructions of one program. The limit of the kernel is a million, but programs near
/// it take seconds to load, and each version counts differently.
const MOST_VERIFIED: u32 = 50_000;

#[test]
fn every_program_is_verified_in_few_instructions() {
    let Some(_stage) = Stage::with_bpf("every_program_is_verified_in_few_instructions") else {
        return;
    };
    let before: Vec<u32> = ids().collect();
    let offsets = kernel_offsets(Path::new(KERNEL_BTF)).expect("offsets");
    let _loaded =
        KernelSide::load(offsets, 4096, WideScope::default(), Beside::ALL).expect("it loads");
    let mut seen = 0;
    for program in loaded_programs().filter_map(Result::ok) {
        if before.contains(&program.id()) {
            continue;
        }
        let name = program.name_as_str().unwrap_or("?").to_owned();
        let verified = program
            .verified_instruction_count()
            .expect("the kernel says how many");
        println!("{name}: {verified} instructions verified");
        assert!(
            verified > 0 && verified < MOST_VERIFIED,
            "{name}: {verified}"
        );
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} programs were loaded");
}

fn ids() -> impl Iterator<Item = u32> {
    loaded_programs()
        .filter_map(Result::ok)
        .map(|program| program.id())
}
