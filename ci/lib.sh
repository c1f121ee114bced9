# shellcheck shell=bash
# What the scripts in this directory share. Sourced, never run.
# Changes to the root of the checkout and sets ROOT, CALLER, CACHE and CARGO_TARGET_DIR.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034 # used by the scripts
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/fedecks
SELF=ci/$(basename "$0")
CALLER=$PWD
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")
export CARGO_TARGET_DIR
export LC_ALL=C.UTF-8
cd "$ROOT" || exit 1

# The oldest supported Rust; the same as rust-version in Cargo.toml.
MIN_RUST=1.85

say() { printf '%s: %s\n' "$SELF" "$*"; }
step() { printf '\n%s: == %s\n' "$SELF" "$*"; }
die() {
    printf '%s: %s\n' "$SELF" "$*" >&2
    exit 1
}

# help_if_asked TEXT "$@": prints TEXT and exits if one of the arguments is --help or -h.
help_if_asked() {
    local text=$1 argument
    shift
    for argument in "$@"; do
        case $argument in
            --help | -h)
                printf '%s\n' "$text"
                exit 0
                ;;
        esac
    done
}

# callers_path PATH: resolves PATH relative to the caller's working directory.
callers_path() { (cd "$CALLER" && realpath -m -- "$1"); }

# workspace_version: the version of the programs, from Cargo.toml.
workspace_version() {
    local version
    version=$(sed -n '/^\[workspace\.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
    [ -n "$version" ] || die "Cargo.toml has no version"
    echo "$version"
}

# board TARGET: sets debian, gnu and qemu, the names that Debian's compilers and QEMU use for that board.
# shellcheck disable=SC2034 # used by the scripts
board() {
    case $1 in
        aarch64-unknown-linux-gnu) debian=arm64 gnu=aarch64-linux-gnu qemu=qemu-aarch64-static ;;
        armv7-unknown-linux-gnueabihf) debian=armhf gnu=arm-linux-gnueabihf qemu=qemu-arm-static ;;
        *) die "unknown argument $1, expected aarch64-unknown-linux-gnu or armv7-unknown-linux-gnueabihf; see --help" ;;
    esac
}

# want_same_paths TARGET [ROOT BUILT CARGO_HOME]: fetches the crates for it, and sets same_paths to cargo's options that
# replace this machine's paths in the programs, or those that a container has instead. Buildroot's package uses the same
# names, so the bytes do not depend on where they are built.
# shellcheck disable=SC2034 # used by the scripts
want_same_paths() {
    local place flags root=${2:-$ROOT} built=${3:-$CARGO_TARGET_DIR} home=${CARGO_HOME:-$HOME/.cargo}
    cargo fetch --quiet --locked --target "$1"
    flags="\"--remap-path-prefix=$root=/fedecks\", \"--remap-path-prefix=$built=/fedecks/target\""
    for place in "$home"/registry/src/*; do
        flags+=", \"--remap-path-prefix=${4:-$home}/registry/src/${place##*/}=/crates\""
    done
    same_paths=(--config "target.'cfg(all())'.rustflags = [$flags]")
}

# scripts_like PATTERN: sets scripts to the files of the checkout that begin with a match, whatever their names.
scripts_like() {
    local file
    scripts=()
    while IFS= read -r -d '' file; do
        if head -c 64 "$file" 2>/dev/null | grep -aqE "$1"; then scripts+=("$file"); fi
    done < <(git ls-files -z --cached --others --exclude-standard)
    [ ${#scripts[@]} -gt 0 ] || die "found no file that begins with $1"
}

# as_root COMMAND...: runs it as root; fails at once if that requires a password.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

can_be_root() {
    [ "$(id -u)" = 0 ] || { command -v sudo && sudo -n true; } >/dev/null 2>&1
}

have_package() {
    # shellcheck disable=SC2016 # dpkg-query expands this
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# need_packages PACKAGE...: installs those that are missing, or prints the command to run and exits.
need_packages() {
    local package missing=()
    command -v apt-get >/dev/null ||
        die "this machine has no apt; install the equivalents of these Debian packages: $*"
    for package in "$@"; do
        have_package "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! can_be_root; then
        say "missing Debian packages; run this, then try again:" >&2
        printf '    sudo apt-get update && sudo apt-get install -y --no-install-recommends %s\n' "${missing[*]}" >&2
        exit 1
    fi
    say "installing with apt: ${missing[*]}"
    apt_install "${missing[@]}" && return 0
    say "that failed; trying again after apt-get update"
    apt_update
    apt_install "${missing[@]}"
}

# The real daemons that the tests run against; each test starts its own.
TEST_DAEMONS=(dbus-daemon network-manager systemd-container faketime openssl libglib2.0-bin iproute2 busybox e2fsprogs nginx-light caddy haproxy prometheus postgresql nats-server)

# want_test_daemons: installs those that are missing, if possible. Without them the affected tests print
# SKIPPED, or fail if FEDECKS_TESTS_COMPLETE is set.
want_test_daemons() {
    local package missing=()
    for package in "${TEST_DAEMONS[@]}"; do
        have_package "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null || ! can_be_root; then
        say "missing, so the tests that need them are skipped: ${missing[*]}"
        return 0
    fi
    install_without_starting "${missing[@]}"
}

# install_without_starting PACKAGE...: installs those that are missing. The tests must not affect this machine's network
# and ports, so their services are neither started nor enabled.
install_without_starting() {
    local package unit quiet=()
    for package in "$@"; do
        have_package "$package" && continue
        case $package in
            network-manager) quiet+=(NetworkManager.service) ;;
            nginx-light) quiet+=(nginx.service) ;;
            caddy | haproxy | prometheus | postgresql | nats-server) quiet+=("$package.service") ;;
        esac
    done
    [ -d /run/systemd/system ] || quiet=()
    for unit in "${quiet[@]}"; do as_root systemctl mask --quiet --runtime "$unit"; done
    need_packages "$@"
    for unit in "${quiet[@]}"; do
        as_root systemctl unmask --quiet --runtime "$unit"
        as_root systemctl disable --quiet "$unit"
    done
}

# want_browser: installs Chromium, and axe-core to check accessibility, for the dashboard's tests, if
# possible. Without them those tests print SKIPPED, or fail if FEDECKS_TESTS_COMPLETE is set. Sets FEDECKS_AXE.
want_browser() {
    local wheel=axe_playwright_python-0.1.8-py3-none-any.whl axe=$CACHE/axe-core-4.12.1.min.js
    if ! command -v apt-get >/dev/null || ! can_be_root; then
        say "cannot install chromium, chromium-driver and python3-venv: the dashboard's tests need them"
    else
        need_packages chromium chromium-driver python3-venv
    fi
    if ! [ -e "$axe" ] && python3 -c 'import venv, ensurepip' 2>/dev/null; then
        say "fetching axe-core from the Python package index"
        local work
        work=$(mktemp -d)
        python3 -m venv "$work/venv"
        # The hash pins the code that the tests run.
        echo "axe-playwright-python==0.1.8 --hash=sha256:fdd263c998388f1a8e67cad02677e612d946248bd44d163be5e8650ea31f95f8" >"$work/wanted"
        if "$work/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --require-hashes \
            --dest "$work" --requirement "$work/wanted"; then
            python3 -m zipfile --extract "$work/$wheel" "$work/axe"
            mkdir -p "$CACHE"
            mv "$work/axe/axe_playwright_python/axe.min.js" "$axe"
        fi
        rm -rf "$work"
    fi
    if [ -e "$axe" ]; then export FEDECKS_AXE=$axe; fi
}

# debian_mirror: DEBIAN_MIRROR, or the Debian main archive that this machine uses.
debian_mirror() {
    local mirror=${DEBIAN_MIRROR:-}
    if [ -z "$mirror" ]; then
        # shellcheck disable=SC2016 # apt expands these
        mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
            awk '$1 ~ /^(bookworm|trixie|forky|sid|stable|testing|unstable)$/ { print $2; exit }')
    fi
    [ -n "$mirror" ] ||
        die "found no Debian mirror in this machine's apt sources; set DEBIAN_MIRROR"
    printf '%s' "$mirror"
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" >/dev/null
}

apt_update() {
    as_root apt-get update -qq -o DPkg::Lock::Timeout=300
}

# need_command COMMAND PACKAGE...: installs the packages if the command is missing.
need_command() {
    local command=$1
    shift
    command -v "$command" >/dev/null || need_packages "$@"
}

# version_of COMMAND: the first version number in the output of COMMAND --version.
version_of() {
    "$1" --version 2>/dev/null | grep -oE -m1 '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1
}

# at_least VERSION WANTED
at_least() {
    [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

rust_is_new_enough() {
    at_least "$(version_of cargo)" "$MIN_RUST" && at_least "$(version_of rustc)" "$MIN_RUST"
}

# Debian 12's rustc and cargo packages are too old; it has newer ones under other names.
# Both own /usr/bin/rustc and conflict, so installing one removes the other.
debian_rust_packages() {
    local version
    # shellcheck disable=SC1091,SC2030 # the machine's own file
    version=$(. /etc/os-release 2>/dev/null && printf '%s' "${ID:-}:${VERSION_ID:-}")
    case $version in
        debian:12) printf 'rustc-web cargo-web' ;;
        *) printf 'rustc cargo' ;;
    esac
    case " $* " in *" clippy "*)
        [ "$version" = debian:12 ] && printf ' rust-web-clippy' || printf ' rust-clippy'
        ;;
    esac
    case " $* " in *" rustfmt "*)
        [ "$version" = debian:12 ] && printf ' rustfmt-web' || printf ' rustfmt'
        ;;
    esac
}

# need_rust [clippy] [rustfmt]: provides cargo and rustc of at least MIN_RUST, the named components, and a C
# compiler (ring and the bundled sqlite are partly C).
need_rust() {
    local packages=() rust=() lacking=false part
    command -v cc >/dev/null || packages+=(gcc libc6-dev)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || packages+=(ca-certificates)
    rust_is_new_enough || lacking=true
    for part in "$@"; do
        case $part in
            clippy) cargo clippy --version >/dev/null 2>&1 || lacking=true ;;
            rustfmt) cargo fmt --version >/dev/null 2>&1 || lacking=true ;;
        esac
    done
    if $lacking; then
        read -ra rust <<<"$(debian_rust_packages "$@")"
        packages+=("${rust[@]}")
        if ! command -v cargo >/dev/null; then
            say "Rust is not installed"
        elif ! rust_is_new_enough; then
            say "cargo $(version_of cargo) or rustc $(version_of rustc) is older than $MIN_RUST"
        else
            say "cargo $(version_of cargo) lacks one of: $*"
        fi
    fi
    [ ${#packages[@]} = 0 ] || need_packages "${packages[@]}"
    if $lacking; then
        hash -r
        # An old Rust elsewhere in PATH must not hide the one just installed.
        rust_is_new_enough || PATH=/usr/bin:$PATH
        rust_is_new_enough ||
            die "Rust $MIN_RUST or newer is required, but Debian's packages here (${rust[*]}) do not provide it; install it with rustup"
    fi
    say "using $(cargo --version), $(rustc --version)"
}

# build_tool CRATE VERSION: builds a cargo command once, as $CACHE/CRATE-VERSION/bin/CRATE.
build_tool() {
    local crate=$1 version=$2 root=$CACHE/$1-$2 work status=0
    [ "$(version_of "$root/bin/$crate" || true)" != "$version" ] || return 0
    say "building $crate $version into $root (minutes, once)"
    # A separate target directory, removed afterwards; compiled quickly, not optimized.
    work=$(mktemp -d)
    # Outside the checkout, so that its rust-version does not restrict the choice of version.
    (cd "$work" && CARGO_TARGET_DIR=$work/target cargo install --quiet --locked \
        --version "$version" --root "$root" \
        --config 'profile.release.opt-level=1' --config 'profile.release.lto=false' \
        --config 'profile.release.codegen-units=16' --config 'profile.release.debug=false' \
        "$crate") || status=$?
    rm -rf "$work"
    return "$status"
}
