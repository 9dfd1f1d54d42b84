#!/usr/bin/env bash
# Does otic say the same on 64-bit Arm, a Raspberry Pi, as on this x86-64 machine?
#
#     tests/aarch64/check.sh
#
# Runs on Debian and Ubuntu, x86-64, from a checkout whose .venv is there (`make demo`) and is of
# Python 3.11, Debian 12's. Needs no root and installs nothing: qemu and an arm64 Python from
# Debian 12, and the aarch64 wheels of constraints/base.txt, are unpacked into a work folder and
# kept for the next run (0.8 GB). Replays the same files natively and under qemu's user mode
# emulation, and compares the logs (compare.py) and the front end's numbers (frontend.py).
#
# About three minutes the first time, two after a change in realtime/ (numba compiles for each of
# the processors), else one. Emulation shows that the output is the same, and nothing about speed:
# what costs most under qemu is not what costs most on a Pi.
#
# Environment:
#   OTIC_AARCH64        the work folder; default .aarch64 in the checkout
#   OTIC_AARCH64_CPUS   which processors; default "cortex-a53 cortex-a72 cortex-a76", those of the
#                       Raspberry Pi 3 and Zero 2 W, the Pi 4, and the Pi 5
#   OTIC_DEBIAN_MIRROR  of Debian 12, by default the one in apt's own sources; needed on Ubuntu,
#                       with the package debian-archive-keyring
#   OTIC_DATA           a folder that holds esc10; default ../shared/data. Some of its clips are
#                       replayed where it is there. They are read in place and never copied.
# pip finds the wheels as it is configured on this machine.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(cd "$here/../.." && pwd)
mkdir -p "${OTIC_AARCH64:=$checkout/.aarch64}"
work=$(cd "$OTIC_AARCH64" && pwd)
read -ra processors <<<"${OTIC_AARCH64_CPUS:-cortex-a53 cortex-a72 cortex-a76}"
data=${OTIC_DATA:-$checkout/../shared/data}

root=$work/root         # Debian's files for arm64
packages=$work/packages # the wheels of otic's dependencies for aarch64
copied=$work/source     # otic as it was when this run began: both sides run the same
native=$checkout/.venv/bin/python
qemu=$work/qemu/usr/bin/qemu-aarch64-static

say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
die() {
  printf 'tests/aarch64/check.sh: %s\n' "$*" >&2
  exit 1
}

check_machine() {
  local tool processor
  [ "$(uname -m)" = x86_64 ] || die "this machine is $(uname -m): x86-64 is needed"
  for tool in apt-get dpkg-deb flock sha256sum; do
    command -v "$tool" >/dev/null || die "$tool is missing: Debian or Ubuntu is needed"
  done
  for processor in "${processors[@]}"; do
    cpuinfo "$processor" >/dev/null
  done
  [ -x "$native" ] || die "no .venv: run 'make demo' first"
  # constraints/base.txt has other versions for other Pythons, and pip looks at the running one.
  "$native" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    die ".venv is of another Python: make it with 'make clean; make PYTHON=python3.11 demo'"
  printf '*\n' >"$work/.gitignore" # git, and ruff with it, passes the work folder over
  exec 9>"$work/lock"
  flock -n 9 || die "another run uses $work: wait for it, or set OTIC_AARCH64"
}

# make_once FOLDER KEY FUNCTION: FUNCTION fills the folder named by $1. A folder is kept while KEY
# stays the same; one that was not finished never gets its final name.
make_once() {
  local folder=$1 key=$2
  shift 2
  if [ "$(cat "$folder.made-for" 2>/dev/null)" != "$key" ]; then
    say "making $(basename "$folder")"
    rm -rf "$folder" "$folder.part" "$folder.made-for"
    mkdir "$folder.part"
    "$@" "$folder.part"
    mv "$folder.part" "$folder"
    printf '%s\n' "$key" >"$folder.made-for"
  fi
}

mirror() {
  local uri=${OTIC_DEBIAN_MIRROR:-}
  if [ -z "$uri" ]; then
    # shellcheck disable=SC2016  # apt expands it
    uri=$(apt-get indextargets --format '$(REPO_URI)' \
      'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sed -n 1p)
  fi
  printf '%s' "${uri%/}"
}

# Debian packages by an apt that has its own lists and takes nothing for installed, so that it may
# be anybody's and for another architecture; proxies and the like are the machine's.
apt_private() {
  APT_CONFIG=$work/apt/apt.conf apt-get -qq "$@"
}

apt_prepared=false
prepare_apt() {
  local uri keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  uri=$(mirror)
  [ -n "$uri" ] ||
    die "apt knows no Debian mirror: run 'apt-get update' as root, or set OTIC_DEBIAN_MIRROR"
  [ -e "$keyring" ] || die "no keys to check Debian's packages with: install debian-archive-keyring"
  rm -rf "$work/apt"
  mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial"
  : >"$work/apt/status"
  printf 'deb [signed-by=%s] %s bookworm main\n' "$keyring" "$uri" >"$work/apt/sources.list"
  cat >"$work/apt/apt.conf" <<END
Dir::Etc::sourcelist "$work/apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::Lists "$work/apt/lists";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt";
APT::Architecture "arm64";
APT::Architectures { "arm64"; "amd64"; };
APT::Sandbox::User "$(id -un)";
END
  apt_private update
  apt_prepared=true
}

# Packages and what they depend on, unpacked but not configured: no maintainer script is run, so
# nothing of arm64 has to be, and neither chroot nor binfmt_misc is needed.
unpack() {
  local folder=$1 package
  shift
  $apt_prepared || prepare_apt
  rm -f "$work"/apt/archives/*.deb
  apt_private install --yes --no-install-recommends --download-only "$@" >/dev/null
  for package in "$work"/apt/archives/*.deb; do
    dpkg-deb --extract "$package" "$folder"
  done
  rm -f "$work"/apt/archives/*.deb
}

fill_qemu() { unpack "$1" qemu-user-static:amd64; }

fill_root() {
  local folder
  for folder in bin lib sbin; do # as base-files has it
    mkdir -p "$1/usr/$folder"
    ln -s "usr/$folder" "$1/$folder"
  done
  unpack "$1" python3.11 libstdc++6 zlib1g
  mkdir "$1/proc"
}

fill_packages() {
  local tag platforms=(--platform manylinux2014_aarch64)
  for tag in 2_36 2_35 2_34 2_31 2_28 2_27 2_26 2_24 2_17; do # up to Debian 12's glibc
    platforms+=(--platform "manylinux_${tag}_aarch64")
  done
  "$native" -m pip --disable-pip-version-check --quiet install --require-hashes --no-compile \
    -r "$checkout/constraints/base.txt" --target "$1" --only-binary=:all: \
    --implementation cp --python-version 3.11 "${platforms[@]}"
}

copy_source() {
  rm -rf "$copied"
  mkdir "$copied"
  cp -pR "$checkout/realtime" "$checkout/models" "$copied" # with times: numba's cache goes by them
  # It looks only at the file that holds the function, not at those that it calls.
  make_once "$work/cache" "$(cat "$copied"/realtime/*.py | sha256sum)" true
}

# on_x86 COMMAND…: the .venv's Python on the copied sources.
on_x86() {
  (cd "$copied" && PYTHONPATH=$copied NUMBA_CACHE_DIR=$work/cache/x86_64 "$native" "$@")
}

# on_arm PROCESSOR COMMAND…: the same under qemu, which looks for every path in $root first. So a
# /proc/cpuinfo there is what LLVM (numba) and LiteRT choose their code by: with x86-64's, numba
# would compile for no processor in particular, and LiteRT 2.3 die of a segmentation fault. A
# process that is started from inside could not be one of arm64; otic starts none.
on_arm() {
  local processor=$1
  shift
  cpuinfo "$processor" >"$root/proc/cpuinfo"
  (cd "$copied" && env -i HOME="$work" LANG=C.UTF-8 PYTHONPATH="$copied:$packages" \
    NUMBA_CACHE_DIR="$work/cache/aarch64" QEMU_CPU="$processor" \
    "$qemu" -L "$root" "$root/usr/bin/python3.11" "$@")
}

# What Linux says of a processor, on a Raspberry Pi.
cpuinfo() {
  local features='fp asimd evtstrm crc32 cpuid' variant part revision
  case $1 in
    cortex-a53) variant=0x0 part=0xd03 revision=4 ;;
    cortex-a72) variant=0x0 part=0xd08 revision=3 ;;
    cortex-a76)
      variant=0x4 part=0xd0b revision=1
      features='fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm'
      features+=' lrcpc dcpop asimddp'
      ;;
    *) die "unknown processor '$1': take cortex-a53, cortex-a72 or cortex-a76" ;;
  esac
  printf '%s\t: %s\n' processor 0 BogoMIPS 108.00 Features "$features" 'CPU implementer' 0x41 \
    'CPU architecture' 8 'CPU variant' $variant 'CPU part' $part 'CPU revision' $revision
}

# The files to replay, into the array of that name.
find_sounds() {
  local clip number=0
  sounds=("$work/sounds/mono-22050.wav" "$work/sounds/stereo-44100.wav")
  if [ -d "$data/esc10/audio" ]; then
    for clip in "$(cd "$data" && pwd)"/esc10/audio/*; do
      if [ $((number++ % 50)) = 0 ]; then sounds+=("$clip"); fi
    done
  else
    say "no recordings at $data/esc10: synthetic sounds only"
  fi
}

replay=(-m realtime replay --speed max --no-dashboard --jsonl)

run_x86() {
  mkdir -p "$work/sounds" "$work/out"
  on_x86 "$here/sounds.py" "$work/sounds"
  find_sounds
  say "x86-64: replaying ${#sounds[@]} files"
  on_x86 "${replay[@]}" "$work/out/x86_64.jsonl" "${sounds[@]}" >"$work/out/x86_64.txt" 2>&1 ||
    die "otic failed: see $work/out/x86_64.txt"
  on_x86 "$here/frontend.py" write "$work/sounds/mono-22050.wav" "$work/out/x86_64.npz"
}

run_arm() {
  local processor=$1 same=true
  say "$processor: replaying"
  on_arm "$processor" "${replay[@]}" "$work/out/$processor.jsonl" "${sounds[@]}" \
    >"$work/out/$processor.txt" 2>&1 || die "otic failed: see $work/out/$processor.txt"
  "$native" "$here/compare.py" "$work/out/x86_64.jsonl" "$work/out/$processor.jsonl" || same=false
  say "$processor: features"
  on_arm "$processor" "$here/frontend.py" compare "$work/out/x86_64.npz" || same=false
  $same
}

check_machine
make_once "$work/qemu" bookworm-1 fill_qemu
make_once "$root" bookworm-1 fill_root
make_once "$packages" "$(sha256sum <"$checkout/constraints/base.txt")" fill_packages
copy_source
run_x86
failed=()
for processor in "${processors[@]}"; do
  run_arm "$processor" || failed+=("$processor")
done
[ ${#failed[@]} = 0 ] || die "the output differs on ${failed[*]}"
say "the same output on ${processors[*]} as on x86-64"
