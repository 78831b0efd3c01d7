//! The finished model: what a run found, as plain data.
//!
//! This is `memprof/report/v1`, the JSON that users' scripts rely on: the field names, their order
//! and their nesting here are that contract. Fields are only ever added. Sizes are bytes, times
//! seconds; what is not known is `None` (`null`), never a made-up zero.
//!
//! Nothing here computes or prints: the stages before fill it, the exporters read it, and a saved
//! report reads back into the same structures.

mod allocator;
mod call_path;
mod cycles;
mod check;
mod frame;
mod hex;
mod hunt;
mod leak;
mod model;
mod processes;
mod quality;
mod reconciliation;
mod summary;
mod target;
mod timeline;
mod toucher;

pub use allocator::{AllocatorKind, MappingKind, TopAllocator};
pub use call_path::CallPath;
pub use check::{Check, Criteria, Criterion, Excused, FailOn, Failure, Outcome};
pub use cycles::{Cycle, CycleKind, Cycles, LeftPerCycle};
pub use frame::Frame;
pub use hex::{HexAddress, HexStackId};
pub use hunt::{
    Find, FindKind, GrownProcess, Hunt, HuntOverhead, HuntSchema, HuntScope, WatchedGrowth,
};
pub use leak::{LeakDetection, Severity, Verdict};
pub use model::{EventKind, Host, Memprof, Report, Schema};
pub use processes::{Group, GroupBy, ProcessCoverage, ProcessTotals};
pub use quality::{
    Coverage, GovernorAction, GovernorStep, Lost, Overhead, Quality, Sampling, SamplingMode,
    StackWays,
};
pub use reconciliation::{Part, PartKind, PartKnownBy, ReconciledProcess, Reconciliation};
pub use summary::Summary;
pub use target::{Process, Target, TargetKind};
pub use timeline::{Mark, TimelinePoint, Window};
pub use toucher::{FaultQuality, FirstToucher, TopToucher};
