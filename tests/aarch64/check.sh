#!/usr/bin/env bash
# Does otic do the same on 64-bit Arm, a Raspberry Pi, as on this x86-64 machine?
#
#     tests/aarch64/check.sh [PART…]      # of: replay features demo verify tests; default all
#
# Runs on Debian and Ubuntu, x86-64, from a checkout whose .venv is there (`make demo`) and is of
# Python 3.11, Debian 12's. Needs no root and installs nothing: qemu and an arm64 Python from
# Debian 12, and aarch64 wheels as pinned in constraints/, are unpacked into a work folder and kept
# for the next run (1 GB).
#
#   replay    the same files natively and under qemu's user mode emulation; compares the logs
#   features  the front end's numbers, natively and emulated (frontend.py)
#   demo      `otic demo`: six of six, and the same log as natively
#   verify    `otic verify`, the default model
#   tests     the unit tests, but for those in left_out.txt, which says why
#
# A part that fails does not keep the others from running; the summary says which. Emulation shows
# that the output is the same, and nothing about speed: what costs most under qemu is not what
# costs most on a Pi.
#
# Environment:
#   OTIC_AARCH64           the work folder; default .aarch64 in the checkout
#   OTIC_AARCH64_CPUS      which processors; default "cortex-a53 cortex-a72 cortex-a76", those of
#                          the Raspberry Pi 3 and Zero 2 W, the Pi 4, and the Pi 5
#   OTIC_AARCH64_TEST_CPUS those that the unit tests are run for: default cortex-a72, because they
#                          take minutes; "all" is those of OTIC_AARCH64_CPUS
#   OTIC_AARCH64_TEST_FLAGS  for pytest, like "-n 2" or "-k spool"
#   OTIC_DEBIAN_MIRROR     of Debian 12, by default the one in apt's own sources; needed on Ubuntu,
#                          with the package debian-archive-keyring
#   OTIC_DATA              a folder that holds esc10; default ../shared/data. Some of its clips are
#                          replayed where it is there. They are read in place and never copied.
# pip finds the wheels as it is configured on this machine.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(cd "$here/../.." && pwd)
mkdir -p "${OTIC_AARCH64:=$checkout/.aarch64}"
work=$(cd "$OTIC_AARCH64" && pwd)
read -ra processors <<<"${OTIC_AARCH64_CPUS:-cortex-a53 cortex-a72 cortex-a76}"
read -ra test_processors <<<"${OTIC_AARCH64_TEST_CPUS:-cortex-a72}"
[ "${test_processors[*]}" != all ] || test_processors=("${processors[@]}")
read -ra test_flags <<<"${OTIC_AARCH64_TEST_FLAGS:-}"
data=$(realpath -m "${OTIC_DATA:-$checkout/../shared/data}")
known_parts='replay features demo verify tests'
parts=" ${*:-$known_parts} "

copied=$work/source # otic as it was when this run began: both sides run the same
native=$checkout/.venv/bin/python
out=$work/out

say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
die() {
  printf 'tests/aarch64/check.sh: %s\n' "$*" >&2
  exit 1
}

# shellcheck source=tests/aarch64/machine.sh
source "$here/machine.sh"
# shellcheck source=tests/aarch64/unit_tests.sh
source "$here/unit_tests.sh"

check_machine() {
  local tool processor part
  for part in $parts; do
    [[ " $known_parts " = *" $part "* ]] || die "unknown part '$part': take some of $known_parts"
  done
  [ "$(uname -m)" = x86_64 ] || die "this machine is $(uname -m): x86-64 is needed"
  for tool in apt-get dpkg-deb flock sha256sum; do
    command -v "$tool" >/dev/null || die "$tool is missing: Debian or Ubuntu is needed"
  done
  for processor in "${processors[@]}" "${test_processors[@]}"; do
    cpuinfo "$processor" >/dev/null
  done
  [ -x "$native" ] || die "no .venv: run 'make demo' first"
  # constraints/ has other versions for other Pythons, and pip looks at the running one.
  "$native" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    die ".venv is of another Python: make it with 'make clean; make PYTHON=python3.11 demo'"
  printf '*\n' >"$work/.gitignore" # git, and ruff with it, passes the work folder over
  exec 9>"$work/lock"
  flock -n 9 || die "another run uses $work: wait for it, or set OTIC_AARCH64"
}

copy_source() {
  local name
  rm -rf "$copied"
  mkdir "$copied"
  # The documents are there for the tests that read them.
  for name in realtime models training tests docs examples constraints pyproject.toml Makefile Dockerfile \
    LICENSE README.md CONTRIBUTING.md CHANGELOG.md; do
    cp -pR "$checkout/$name" "$copied" # with times: numba's cache goes by them
  done
  # It looks only at the file that holds the function, not at those that it calls.
  make_once "$work/cache" "$(cat "$copied"/realtime/otic/features/kernels/*.py | sha256sum)" true
}

# on_x86 COMMAND…: the .venv's Python on the copied sources.
on_x86() {
  (cd "$copied" && PYTHONPATH=$copied/realtime:$copied/models:$copied/training \
    NUMBA_CACHE_DIR=$work/cache/x86_64 "$native" "$@")
}

# The files to replay, into the array of that name.
find_sounds() {
  local clip number=0
  sounds=("$work/sounds/mono-22050.wav" "$work/sounds/stereo-44100.wav")
  if [ -d "$data/esc10/audio" ]; then
    for clip in "$data"/esc10/audio/*; do
      if [ $((number++ % 50)) = 0 ]; then sounds+=("$clip"); fi
    done
  else
    say "no recordings at $data/esc10: synthetic sounds only"
  fi
}

replay=(-m otic replay --speed max --no-dashboard --jsonl)
demo=(-m otic demo --speed max --no-dashboard --jsonl)

# What the emulated processors are compared with.
run_x86() {
  mkdir -p "$work/sounds" "$out"
  on_x86 "$here/sounds.py" "$work/sounds"
  find_sounds
  say "x86-64: replaying ${#sounds[@]} files"
  on_x86 "${replay[@]}" "$out/x86_64.jsonl" "${sounds[@]}" >"$out/x86_64.txt" 2>&1 ||
    die "otic failed: see $out/x86_64.txt"
  on_x86 "$here/frontend.py" write "$work/sounds/mono-22050.wav" "$out/x86_64.npz"
  on_x86 "${demo[@]}" "$out/x86_64-demo.jsonl" >"$out/x86_64-demo.txt" 2>&1 ||
    die "otic demo failed: see $out/x86_64-demo.txt"
}

# The parts. Each prints what it found and fails if that is wrong; `set -e` is off inside them,
# because run_part looks at the result.

part_replay() {
  on_arm "$1" "${replay[@]}" "$out/$1.jsonl" "${sounds[@]}" >"$out/$1.txt" 2>&1 ||
    failed_with "$out/$1.txt" || return
  "$native" "$here/compare.py" "$out/x86_64.jsonl" "$out/$1.jsonl"
}

part_features() { on_arm "$1" "$here/frontend.py" compare "$out/x86_64.npz"; }

part_demo() {
  on_arm "$1" "${demo[@]}" "$out/$1-demo.jsonl" >"$out/$1-demo.txt" 2>&1 ||
    failed_with "$out/$1-demo.txt" || return
  tail -n 1 "$out/$1-demo.txt"
  grep -q '^6 of 6 sounds were recognised$' "$out/$1-demo.txt" || return
  "$native" "$here/compare.py" "$out/x86_64-demo.jsonl" "$out/$1-demo.jsonl"
}

part_verify() { on_arm "$1" -m otic verify; }

failed_with() {
  tail -n 20 "$1"
  return 1
}

summary=()
anything_failed=false
run_part() {
  local part=$1 processor=$2 result=PASS began=$SECONDS
  [[ $parts = *" $part "* ]] || return 0
  say "$processor: $part"
  "part_$part" "$processor" || result=FAIL
  [ $result = PASS ] || anything_failed=true
  summary+=("$result  $processor  $part, $((SECONDS - began)) s")
}

check_machine
make_once "$work/qemu" bookworm-1 fill_qemu
make_once "$root" bookworm-1 fill_root
make_once "$packages" "$(sha256sum <"$checkout/constraints/base.txt")" fill_packages
copy_source
if [[ $parts =~ \ (replay|features|demo)\  ]]; then run_x86; fi
for processor in "${processors[@]}"; do
  for part in replay features demo verify; do
    run_part "$part" "$processor"
  done
done
if [[ $parts = *" tests "* ]]; then
  find_test_packages
  for processor in "${test_processors[@]}"; do
    run_part tests "$processor"
  done
fi
echo
printf '%s\n' "${summary[@]}"
! $anything_failed || die 'something differs or failed: see above'
say 'all the same as on x86-64'
