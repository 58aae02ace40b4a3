# shellcheck shell=bash
# Small Debian systems in directories (chroots), for the programs in this directory. Sourced by bash, not run.
#
# One directory holds everything that is made: $P2PCOPY_CROSS, or /var/cache/p2pcopy-cross. It is used again by the next
# run, and may be removed at any time. Bind mounts live in a mount namespace of their own and end with the program that
# needed them, so that removing the directory can never reach this machine's own files.

CROSS=${P2PCOPY_CROSS:-/var/cache/p2pcopy-cross}
MIRROR=${P2PCOPY_MIRROR:-http://deb.debian.org/debian}
REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    say "error: $1"
    say "next: $2"
    exit 1
}

# system NAME SUITE PACKAGE...: makes the system NAME if it is not there, and installs the packages it lacks.
system() {
    local name=$1 suite=$2 root=$CROSS/$1
    shift 2
    ((EUID == 0)) || die "chroots need root" "run this as root"
    mkdir -p "$CROSS"
    exec 8>"$CROSS/$name.lock"
    flock 8
    if [[ ! -e $root/.made ]]; then
        say "making the system \"$name\" (Debian $suite) in $root"
        # Two systems may be made at once, and this machine's packages be installed once.
        exec 7>"$CROSS/machine.lock"
        flock 7
        if ! command -v debootstrap >/dev/null; then
            apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >&2 ||
                die "debootstrap cannot be installed" "see whether this machine's own mirror can be reached (apt-get update)"
        fi
        exec 7>&-
        rm -rf --one-file-system "$root"
        # A debootstrap older than the suite does not know its name; every suite since buster is made as sid is.
        debootstrap --variant=minbase "$suite" "$root" "$MIRROR" /usr/share/debootstrap/scripts/sid \
            >"$CROSS/$name.log" 2>&1 ||
            die "debootstrap made no Debian $suite out of $MIRROR" "see whether it can be reached, or name another with P2PCOPY_MIRROR; $CROSS/$name.log tells more"
        # Nothing there must outlive a power cut, and of qemu's processors two are needed.
        printf '%s\n' force-unsafe-io 'path-exclude=/usr/bin/qemu-*' path-include=/usr/bin/qemu-{aarch64,arm} \
            >"$root/etc/dpkg/dpkg.cfg.d/p2pcopy"
        touch "$root/.made"
    fi
    trust "$root"
    local missing=() package
    for package; do
        [[ -e $root/var/lib/dpkg/info/$package.list || -e $root/var/lib/dpkg/info/$package:amd64.list ]] ||
            missing+=("$package")
    done
    if ((${#missing[@]})); then
        say "installing into \"$name\": ${missing[*]}"
        packages "$name" update || packages "$name" -o Acquire::Check-Valid-Until=false update ||
            die "$MIRROR gave no list of packages" "see whether it can be reached, or name another with P2PCOPY_MIRROR; $CROSS/$name.log tells more"
        packages "$name" install -y --no-install-recommends "${missing[@]}" && packages "$name" clean ||
            die "apt-get failed in \"$name\"" "read $CROSS/$name.log"
        # The package of certificates writes this file anew.
        trust "$root"
    fi
    exec 8>&-
}

# What this machine trusts and how it looks up names holds in the system ROOT as well: there may be a proxy between.
trust() {
    mkdir -p "$1/etc/ssl/certs"
    cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"
    cp -L /etc/resolv.conf /etc/hosts "$1/etc/"
}

# apt-get in the system NAME. An index that is out of date (a mirror that stands still) is an error at first, and accepted
# after that: its signature is checked all the same.
packages() {
    local name=$1
    shift
    inside "$name" env DEBIAN_FRONTEND=noninteractive apt-get -qq \
        -o APT::Update::Error-Mode=any -o Acquire::Languages=none "$@" >>"$CROSS/$name.log" 2>&1
}

# inside NAME COMMAND...: runs the command in the system NAME, as if it stood in this machine's present directory.
# Directories in the array BINDS are the same there as here; the repository and $CROSS always are. What is mounted here
# later shows there as well, unless this system keeps mounts private.
inside() { (enter "$@"); }

# The same in place of this shell, so that signals reach the command itself.
enter() {
    local name=$1
    shift
    export ROOT=$CROSS/$name CROSS
    exec unshare --mount --propagation slave bash -c '
        set -e
        for directory in /proc /dev /sys; do
            mount --rbind "$directory" "$ROOT$directory"
        done
        count=$1
        shift
        for directory in "${@:1:count}"; do
            mkdir -p "$ROOT$directory"
            # Without the mounts below it: this very system is one.
            [[ $directory = "$CROSS" ]] && deep= || deep=r
            mount --${deep}bind "$directory" "$ROOT$directory"
        done
        shift "$count"
        here=$PWD
        exec chroot "$ROOT" sh -c "cd \"\$0\" 2>/dev/null || cd /; exec \"\$@\"" "$here" "$@"
    ' bash "$((${#BINDS[@]} + 2))" "$REPOSITORY" "$CROSS" "${BINDS[@]}" "$@"
}
BINDS=()
