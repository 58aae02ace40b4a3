//! What the system may do with this process.

/// Keeps the keys of a run out of files: no core dump is written, and on Linux no other process of the same user may
/// read this one's memory. Where the system refuses, or has no such thing (Windows), the run goes on without.
pub(super) fn keep_memory_private() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        let _ = setrlimit(Resource::Core, none);
    }
    // A limit of 0 does not keep Linux from piping a dump to a program (core(5)); this does.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
