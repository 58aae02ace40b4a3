# shellcheck shell=bash
# Building for other systems with Debian's cargo and a standard library made from source. Sourced by bash, not run.

. "$(dirname "${BASH_SOURCE[0]}")/systems.sh"

# The compiler of musl targets. It brings the C libraries of every Linux.
ZIG=0.15.2

# The C compiler for a target, as a script, since zig names targets in its own way and knows some options not.
compiler() {
    local target=$1 name
    case $target in
    x86_64-unknown-linux-musl) name=x86_64-linux-musl ;;
    aarch64-unknown-linux-musl) name=aarch64-linux-musl ;;
    armv7-unknown-linux-musleabihf) name=arm-linux-musleabihf ;;
    aarch64-pc-windows-gnullvm) name=aarch64-windows-gnu ;;
    esac
    mkdir -p "$CROSS/zig/$target"
    if [[ $target = *apple* ]]; then
        # Types need nothing of C: the files that are asked for, and nothing in them. It is taken for a GNU compiler.
        cat >"$CROSS/zig/$target/cc" <<'END'
#!/bin/sh
echo gcc
for argument; do
    case $argument in
    # An option of Microsoft's alone.
    "-?") exit 1 ;;
    *.o | *.a) : >"$argument" ;;
    esac
done
END
        cp "$CROSS/zig/$target/cc" "$CROSS/zig/$target/ar"
        chmod +x "$CROSS/zig/$target"/{cc,ar}
        return
    fi
    cat >"$CROSS/zig/$target/cc" <<END
#!/usr/bin/env python3
import os, sys
# Rust's names of the target, and files of a C library that zig brings itself.
unknown = ("--target=", "-march=armv", "-mtune=")
if "windows" in "$name":
    # What zig links by itself, and options of GNU's linker that LLVM's lacks.
    unknown += ("-nolibc", "-nodefaultlibs", "--unwindlib=none", "-lmingw32", "-lmingwex", "-lmsvcrt",
        "-Wl,--disable-auto-image-base", "-Wl,--dynamicbase",
        # With these, zig would look for a DLL in place of an import library.
        "-Wl,-Bstatic", "-Wl,-Bdynamic")
skip_next, arguments = False, []
for argument in sys.argv[1:]:
    if skip_next:
        skip_next = False
    elif argument == "-target":
        skip_next = True
    elif not argument.startswith(unknown):
        arguments.append(argument)
zig = "$CROSS/zig/$ZIG/ziglang/zig"
os.execv(zig, [zig, "cc", "-target", "$name", *arguments])
END
    cat >"$CROSS/zig/$target/ar" <<END
#!/bin/sh
exec "$CROSS/zig/$ZIG/ziglang/zig" ar "\$@"
END
    chmod +x "$CROSS/zig/$target"/{cc,ar}
}

tools() {
    system build forky cargo rustc rust-src gcc libc6-dev \
        gcc-mingw-w64-x86-64-win32 nasm python3-pip
    if [[ ! -x $CROSS/zig/$ZIG/ziglang/zig ]]; then
        say "fetching zig $ZIG from PyPI"
        inside build env PIP_CERT=/etc/ssl/certs/ca-certificates.crt python3 -m pip install --quiet \
            --root-user-action ignore --target "$CROSS/zig/$ZIG" "ziglang==$ZIG" >&2 ||
            die "zig $ZIG cannot be fetched" "see whether PyPI can be reached (pip download ziglang==$ZIG)"
    fi
    say "$(inside build rustc --version), zig $ZIG"
}

# run_cargo COMMAND TARGET ARGUMENT...: what Debian's cargo does for a target whose standard library it builds from source.
run_cargo() {
    local command=$1 target=$2
    local upper=${target//-/_} settings=()
    upper=${upper^^}
    if [[ $target != x86_64-pc-windows-gnu ]]; then
        compiler "$target"
        settings+=(
            "CC_${target//-/_}=$CROSS/zig/$target/cc"
            "AR_${target//-/_}=$CROSS/zig/$target/ar"
            "CARGO_TARGET_${upper}_LINKER=$CROSS/zig/$target/cc"
        )
    fi
    case $target in
    # zig links its own start files and C library.
    *-musl*) settings+=("CARGO_TARGET_${upper}_RUSTFLAGS=-Clink-self-contained=no -Ctarget-feature=+crt-static") ;;
    esac
    # RUSTC_BOOTSTRAP: -Zbuild-std is not stable yet, and no other archive than Debian's is asked for a compiler.
    # "test": left out where only a program is built, it makes all crates of the program other ones than those of its tests.
    # opt-level: most of the time from nothing goes into dependencies, and tests want them soon more than fast.
    inside build env RUSTC_BOOTSTRAP=1 CARGO_HOME="$CROSS/cargo" CARGO_TARGET_DIR="$CROSS/target" CARGO_TERM_COLOR=never \
        CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_DEV_DEBUG=none CARGO_INCREMENTAL=0 ZIG_GLOBAL_CACHE_DIR="$CROSS/zig/cache" \
        "${settings[@]}" cargo "$command" --locked -Zbuild-std=std,test,panic_abort --target "$target" \
        --config 'profile.dev.package."*".opt-level=0' --manifest-path "$REPOSITORY/Cargo.toml" "${@:3}"
}

# build_tests TARGET ARGUMENT...: builds tests, and prints the name of each program that holds some.
build_tests() {
    run_cargo test "$1" --no-run --message-format json-render-diagnostics "${@:2}" | python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["profile"]["test"]:
        print(message["executable"])'
}
