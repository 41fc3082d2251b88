//! Out-of-memory reports of the kernel: lines in, one report for each kill event out. Owns the wording of all kernel
//! generations (`mm/oom_kill.c`, `mm/memcontrol.c`); pure, knows nothing of containers, files or clocks.
pub mod assembler;
pub mod line;
pub mod report;
pub mod words;

pub use assembler::{Assembler, AssemblerStats};
pub use report::{Constraint, OomReport, Process, Stage, TaskRow, Trigger, Usage};
pub use words::{LITERALS, is_shape};
