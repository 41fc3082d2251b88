//! Kernel trace events through tracefs: an instance of our own, its text, and what each line says. Owns files, formats and
//! the joining of lines; knows nothing of containers, findings or the wire.
//!
//! Sources: `Documentation/trace/ftrace.rst` and `Documentation/trace/events.rst` of the kernel, `kernel/trace/trace_output.c`
//! for the head of a line, `include/trace/events/{signal,oom}.h` for the two events.
pub mod event;
pub mod format;
pub mod instance;
pub mod lines;

pub use event::{SignalEvent, Task, TraceEvent, VictimEvent};
pub use instance::{Blind, Instance, InstanceConfig};
pub use lines::{Item, Lines};
