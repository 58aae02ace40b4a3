//! File systems, each made and mounted for a test. Only root may.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A user without a name, without a group and without anything of his own.
pub const NOBODY: u32 = 65534;

/// A file system, and how it is made. The script finds these names: `$I` an image of 400 MB that is not written yet, `$L` a
/// loop device of it, `$M` where to mount, `$D` an empty directory, `$T` a tree with something to send.
pub struct FileSystem {
    pub name: &'static str,
    /// As /proc/filesystems calls it: a kernel without it is a gap, everything else that is missing a failure.
    pub kernel: &'static str,
    pub make: &'static str,
    /// Where files are to go, below `$M`.
    pub place: &'static str,
    /// Done in each place `$O` before anything is received there.
    pub inside: &'static str,
}

const fn plain(name: &'static str, kernel: &'static str, make: &'static str) -> FileSystem {
    FileSystem {
        name,
        kernel,
        make,
        place: "",
        inside: "",
    }
}

const fn within(file_system: FileSystem, inside: &'static str) -> FileSystem {
    FileSystem {
        inside,
        ..file_system
    }
}

/// What files are received onto, and sent from.
pub const FILE_SYSTEMS: [FileSystem; 21] = [
    plain("ext4", "ext4", "mkfs.ext4 -q $I && mount -o loop $I $M"),
    // XFS wants 300 MB at least; nothing of it is written.
    plain("xfs", "xfs", "mkfs.xfs -q $I && mount -o loop $I $M"),
    plain("btrfs", "btrfs", "mkfs.btrfs -q $I && mount -o loop $I $M"),
    within(
        plain(
            "btrfs, a subvolume in the tree",
            "btrfs",
            "mkfs.btrfs -q $I && mount -o loop $I $M",
        ),
        "mkdir $O/tree && btrfs subvolume create $O/tree/sub && chown -R --reference=$O $O/tree",
    ),
    within(
        plain(
            "ext4, a tmpfs in the tree",
            "ext4",
            "mkfs.ext4 -q $I && mount -o loop $I $M",
        ),
        "mkdir -p $O/tree/sub && mount -t tmpfs tmpfs $O/tree/sub && chown -R --reference=$O $O/tree",
    ),
    plain("tmpfs", "tmpfs", "mount -t tmpfs tmpfs $M"),
    plain("overlay", "overlay", OVERLAY),
    plain("vfat", "vfat", "mkfs.vfat $I && mount -o loop,umask=0 $I $M"),
    plain("exfat", "exfat", "mkfs.exfat $I && mount -o loop,umask=0 $I $M"),
    plain(
        "exfat-fuse",
        "fuseblk",
        "mkfs.exfat $I && mount.exfat-fuse -o allow_other $L $M",
    ),
    plain(
        "ntfs-3g, windows_names",
        "fuseblk",
        "mkfs.ntfs -F -Q -q $I && ntfs-3g -o windows_names $I $M",
    ),
    plain(
        "lowntfs-3g, ignore_case",
        "fuseblk",
        "mkfs.ntfs -F -Q -q $I && lowntfs-3g -o ignore_case $I $M",
    ),
    plain(
        "bindfs, chmod and chown denied",
        "fuse",
        "mkdir $D/of-0 $D/of-65534 && chown 65534 $D/of-65534 && bindfs -o chmod-deny,chown-deny $D $M",
    ),
    plain(
        "bindfs, all is somebody else's",
        "fuse",
        "chmod 777 $D && bindfs --force-user=daemon --force-group=daemon --perms=a=rwX $D $M",
    ),
    plain(
        "sshfs",
        "fuse",
        "printf '#!/bin/sh\\nexec /usr/lib/openssh/sftp-server\\n' > $D.ssh && chmod +x $D.ssh && \
         sshfs -o allow_other,ssh_command=$D.ssh host:$D $M",
    ),
    plain(
        "mergerfs",
        "fuse",
        "mkdir $D/1 $D/2 && mergerfs -o allow_other $D/1:$D/2 $M",
    ),
    plain("a read-only mount", "tmpfs", "mount -t tmpfs -o ro tmpfs $M"),
    plain(
        "squashfs",
        "squashfs",
        "rm $I && mksquashfs $T $I -force-uid 65534 -quiet -no-progress && mount -o loop $I $M",
    ),
    plain(
        "a tmpfs of 2 MB",
        "tmpfs",
        "mount -t tmpfs -o size=2m,mode=1777 tmpfs $M",
    ),
    plain(
        "a tmpfs of 12 files",
        "tmpfs",
        "mount -t tmpfs -o nr_inodes=12,mode=1777 tmpfs $M",
    ),
    FileSystem {
        place: "s",
        ..plain(
            "btrfs, a quota of 2 MB",
            "btrfs",
            "mkfs.btrfs -q $I && mount -o loop $I $M && btrfs quota enable $M && btrfs subvolume create $M/s && \
             btrfs qgroup limit 2M $M/s && chmod 1777 $M/s",
        )
    },
];

const OVERLAY: &str =
    "mkdir $D/l $D/u $D/w && mount -t overlay overlay -o lowerdir=$D/l,upperdir=$D/u,workdir=$D/w $M";

/// A mounted one, gone with this value.
pub struct Mounted {
    place: TempDir,
}

impl Mounted {
    /// `None` if this kernel does not know it; that is told.
    ///
    /// # Panics
    /// If anything else is missing.
    pub fn new(file_system: &FileSystem, tree: &Path) -> Option<Mounted> {
        let known = fs::read_to_string("/proc/filesystems").unwrap();
        if !known.split_whitespace().any(|name| name == file_system.kernel) {
            return None;
        }
        let place = tempfile::tempdir().unwrap();
        // Others than root must come through.
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["mnt", "dir"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        let image = fs::File::create(place.path().join("image")).unwrap();
        image.set_len(400 << 20).unwrap();
        let mounted = Mounted { place };
        if file_system.make.contains("$L") {
            mounted.sh("losetup -f --show $I > $P/loop", &[]);
        }
        mounted.sh(file_system.make, &[("T", tree.into())]);
        Some(mounted)
    }

    /// Its root.
    pub fn root(&self) -> PathBuf {
        self.place.path().join("mnt")
    }

    /// A directory in it for the files of `user`, as far as there is such a thing there.
    pub fn directory(&self, file_system: &FileSystem, user: u32) -> PathBuf {
        let above = self.root().join(file_system.place);
        let directory = above.join(format!("of-{user}"));
        // What is read-only or full is met as it is.
        if fs::create_dir(&directory).is_err_and(|e| e.kind() != io::ErrorKind::AlreadyExists) {
            return above;
        }
        let _ = chown(&directory, Some(user), Some(user));
        if !file_system.inside.is_empty() {
            self.sh(file_system.inside, &[("O", directory.clone().into())]);
        }
        directory
    }

    /// Takes it down and mounts it again: what a stick is when it comes back.
    pub fn remount(&self, file_system: &FileSystem) {
        let mount = match file_system.name {
            "exfat-fuse" => "mount.exfat-fuse -o allow_other $L $M",
            "ntfs-3g, windows_names" => "ntfs-3g -o windows_names $I $M",
            "ext4" | "xfs" | "btrfs" => "mount -o loop $I $M",
            _ if file_system.kernel == "fuse" => file_system.make.rsplit("&& ").next().unwrap(),
            _ => return,
        };
        // A program that serves a file system may still write when its mount has gone.
        let again = format!("umount $M && for i in $(seq 100); do {mount} && exit; sleep 0.1; done; exit 1");
        self.sh(&again, &[]);
    }

    /// # Panics
    /// If the script fails: with what it said.
    fn sh(&self, script: &str, more: &[(&str, OsString)]) {
        let output = self.run(script, more);
        assert!(
            output.status.success(),
            "{script}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn run(&self, script: &str, more: &[(&str, OsString)]) -> std::process::Output {
        let at = |name: &str| self.place.path().join(name);
        let device = fs::read_to_string(at("loop")).unwrap_or_default();
        Command::new("sh")
            .args(["-c", script])
            .env("P", self.place.path())
            .env("I", at("image"))
            .env("M", at("mnt"))
            .env("D", at("dir"))
            .env("L", device.trim())
            .envs(more.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Also after a failed test, in whatever state it is.
        self.run(
            "umount -R $M || umount -R -l $M; test -z \"$L\" || losetup -d $L",
            &[],
        );
    }
}
