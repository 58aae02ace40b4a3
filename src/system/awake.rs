//! Keeps the machine from falling asleep during a transfer.

/// While this value lives, the machine stays awake even if its user is idle. The screen may still go dark, and
/// a closed lid or an empty battery still puts the machine to sleep. Does nothing where the system has no such
/// service.
///
/// On Windows it belongs to the thread that made it, and must be dropped there.
#[derive(Debug)]
pub(crate) struct Awake {
    #[cfg(unix)]
    helper: Option<std::process::Child>,
}

impl Awake {
    pub(crate) fn hold() -> Self {
        #[cfg(windows)]
        super::windows::stay_awake(true);
        Awake {
            #[cfg(unix)]
            helper: helper().spawn().ok(),
        }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        #[cfg(windows)]
        super::windows::stay_awake(false);
        #[cfg(unix)]
        if let Some(helper) = &mut self.helper {
            // The helper has already ended if the system has no such service.
            let _ = helper.kill();
            let _ = helper.wait();
        }
    }
}

/// The system's own program that prevents sleep while it runs. It ends with this process even if this process
/// is killed: caffeinate watches the process, and on Linux `cat` reaches the end of its input.
#[cfg(unix)]
fn helper() -> std::process::Command {
    use std::process::{Command, Stdio};
    let mut command;
    if cfg!(target_vendor = "apple") {
        command = Command::new("/usr/bin/caffeinate");
        command.args(["-i", "-w"]).arg(std::process::id().to_string());
    } else {
        command = Command::new("systemd-inhibit");
        command.args([
            "--what=sleep:idle",
            "--who=p2pcopy",
            "--why=a file is being copied",
            "--mode=block",
            "cat",
        ]);
    }
    // The pipe is not a terminal, so the helper cannot ask for a password.
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_sleep_off_is_gone_with_its_owner() {
        let awake = Awake::hold();
        #[cfg(unix)]
        let id = awake.helper.as_ref().map(std::process::Child::id);
        drop(awake);
        #[cfg(unix)]
        if let Some(id) = id {
            let pid = rustix::process::Pid::from_raw(id as i32).unwrap();
            assert!(rustix::process::test_kill_process(pid).is_err());
        }
    }
}
