//! Restricts what the system and other processes may do with this process, and lifts what hinders it.

/// Keeps the keys of a run out of files. No core dump is written, and on Linux no other process of the same
/// user may read this process's memory. If the system refuses, or has no such protection (Windows), the run
/// continues without it.
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
    // With a limit of 0, Linux may still pipe a dump to a program (core(5)). This call prevents that.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// The umask holds for the group and for others. If it took the user's own permissions away, the program could not enter
/// the directories that it makes.
pub(super) fn keep_own_permissions() {
    #[cfg(unix)]
    {
        use rustix::fs::Mode;
        use rustix::process::umask;
        let mask = umask(Mode::RWXU);
        umask(mask - Mode::RWXU);
    }
}
