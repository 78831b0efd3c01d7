//! Where the running kernel keeps the few fields that the programs read, from its own BTF.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use btf_rs::{Backend, Btf, Struct, Type};
use memprof_common::settings::KernelOffsets;

/// Where the kernel describes its own types.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Structures inside structures that are searched for a field: the kernel nests fewer.
const MAX_NESTING: u32 = 8;

/// Reads the offsets from `btf`, for which the kernel's own file is [`KERNEL_BTF`].
///
/// # Errors
/// If there is no such file, or a structure or field is not in it.
pub fn kernel_offsets(btf: &Path) -> Result<KernelOffsets> {
    // Newer kernels let their BTF be mapped, which saves parsing all of it.
    let types = Btf::from_file_with_backend(btf, Backend::Mmap)
        .or_else(|_| Btf::from_file_with_backend(btf, Backend::Cache))
        .with_context(|| {
            format!(
                "cannot read the kernel's type information {}",
                btf.display()
            )
        })?;
    let offset = |structure: &str, field: &str| {
        field_offset(&types, structure, field)
            .with_context(|| format!("{} has no {structure}.{field}", btf.display()))
    };
    let size = |structure: &str| {
        structure_size(&types, structure)
            .with_context(|| format!("{} has no {structure}", btf.display()))
    };
    Ok(KernelOffsets {
        known: 1,
        task_utask: offset("task_struct", "utask")?,
        task_mm: offset("task_struct", "mm")?,
        mm_brk: offset("mm_struct", "brk")?,
        mm_resident: offset("mm_struct", "rss_stat")?,
        counter_bytes: size("percpu_counter")?,
        counter_sum: offset("percpu_counter", "count")?,
        counter_parts: offset("percpu_counter", "counters")?,
        map_values: offset("bpf_array", "pptrs")?,
        task_only_tries: offset("task_struct", "pagefault_disabled")?,
        task_tgid: offset("task_struct", "tgid")?,
        task_thread_pointer: offset("task_struct", "thread")? + offset("thread_struct", "fsbase")?,
        task_leader: offset("task_struct", "group_leader")?,
        task_comm: offset("task_struct", "comm")?,
        task_signal: offset("task_struct", "signal")?,
        signal_live: offset("signal_struct", "live")?,
        utask_return_instances: offset("uprobe_task", "return_instances")?,
        return_instance_stack: offset("return_instance", "stack")?,
        return_instance_address: offset("return_instance", "orig_ret_vaddr")?,
        return_instance_next: offset("return_instance", "next")?,
    })
}

/// The bytes of a structure.
fn structure_size(types: &Btf, structure: &str) -> Result<u32> {
    let candidates = types.resolve_types_by_name(structure)?;
    let found = candidates.iter().find_map(|candidate| match candidate {
        Type::Struct(found) => Some(found.size() as u32),
        _ => None,
    });
    found.ok_or_else(|| anyhow!("no such structure"))
}

fn field_offset(types: &Btf, structure: &str, field: &str) -> Result<u32> {
    types
        .resolve_types_by_name(structure)?
        .iter()
        .find_map(|candidate| match candidate {
            Type::Struct(found) => find_field(types, found, field, MAX_NESTING),
            _ => None,
        })
        .ok_or_else(|| anyhow!("no such field"))
}

/// The offset of `field` in bytes, looked for in unnamed structures and unions inside too.
fn find_field(types: &Btf, structure: &Struct, field: &str, nesting: u32) -> Option<u32> {
    structure.members.iter().find_map(|member| {
        let bytes = member.bit_offset() / 8;
        let name = types.resolve_name(member).unwrap_or_default();
        if name == field {
            return Some(bytes);
        }
        if !name.is_empty() || nesting == 0 {
            return None;
        }
        match types.resolve_chained_type(member).ok()? {
            Type::Struct(inner) | Type::Union(inner) => {
                Some(bytes + find_field(types, &inner, field, nesting - 1)?)
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_btf_is_an_error() {
        let error = kernel_offsets(Path::new("/dev/null")).unwrap_err();
        assert!(format!("{error:#}").contains("/dev/null"));
    }

    #[test]
    fn the_running_kernel_has_every_field() {
        if !Path::new(KERNEL_BTF).exists() {
            eprintln!("SKIPPED: this kernel has no {KERNEL_BTF}");
            return;
        }
        let offsets = kernel_offsets(Path::new(KERNEL_BTF)).unwrap();
        assert_eq!(offsets.known, 1);
        // A thread's process id is neither the first field of its task nor megabytes into it.
        assert!((1..65_536).contains(&offsets.task_tgid));
    }
}
