//! What stacks are measured against, in an object of its own: a probe that does nothing, and the
//! kernel's walk along frame pointers.
#![no_std]
#![no_main]

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_F_USER_STACK,
    helpers::generated::bpf_get_stack,
    macros::{map, uretprobe},
    maps::PerCpuArray,
    programs::RetProbeContext,
};
use memprof_common::event::MAX_FRAMES;

/// Where a walk goes; nobody reads it.
#[map]
static STACK: PerCpuArray<[u64; MAX_FRAMES]> = PerCpuArray::with_max_entries(1, 0);

#[uretprobe]
pub fn empty(_ctx: RetProbeContext) -> u32 {
    0
}

#[uretprobe]
pub fn frame_pointers(ctx: RetProbeContext) -> u32 {
    if let Some(stack) = STACK.get_ptr_mut(0) {
        // SAFETY: the buffer has the size that is named.
        let bytes = unsafe {
            bpf_get_stack(
                ctx.as_ptr(),
                stack.cast(),
                size_of::<[u64; MAX_FRAMES]>() as u32,
                u64::from(BPF_F_USER_STACK),
            )
        };
        return bytes as u32;
    }
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // The verifier proves that no program gets here.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
