# shellcheck shell=bash
# An emulated 64-bit Raspberry Pi in a folder: qemu, Debian's files for arm64, Python packages.
# check.sh sources this file, after it has set checkout, work, copied and native.

root=$work/root                   # Debian's files for arm64
packages=$work/packages           # the wheels of otic's dependencies for aarch64
test_packages=$work/test-packages # and those of its tests
qemu=$work/qemu/usr/bin/qemu-aarch64-static

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
  cat >"$work/apt/apt.conf" <<END_OF_CONF
Dir::Etc::sourcelist "$work/apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::Lists "$work/apt/lists";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt";
APT::Architecture "arm64";
APT::Architectures { "arm64"; "amd64"; };
APT::Sandbox::User "$(id -un)";
END_OF_CONF
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

# fill_wheels REQUIREMENTS OPTIONS… FOLDER: wheels for aarch64, with the hashes in constraints/.
fill_wheels() {
  local requirements=$1 folder=${*: -1} tag platforms=(--platform manylinux2014_aarch64)
  for tag in 2_36 2_35 2_34 2_31 2_28 2_27 2_26 2_24 2_17; do # up to Debian 12's glibc
    platforms+=(--platform "manylinux_${tag}_aarch64")
  done
  "$native" -m pip --disable-pip-version-check --quiet install --require-hashes --no-compile \
    -r "$requirements" "${@:2:$#-2}" --target "$folder" --only-binary=:all: \
    --implementation cp --python-version 3.11 "${platforms[@]}"
}

fill_packages() { fill_wheels "$checkout/constraints/base.txt" "$1"; }

# What the tests import beyond otic's own dependencies, with what that imports in its turn: pytest,
# hypothesis, librosa and scipy, the extras mqtt and metrics. By name, because constraints/dev.txt
# holds everything that training needs too, tensorflow for one.
tested_with='pytest iniconfig packaging pluggy pytest-xdist execnet hypothesis sortedcontainers
  librosa audioread decorator joblib lazy-loader msgpack scipy cloudpickle pooch platformdirs requests
  certifi charset-normalizer idna urllib3 paho-mqtt prometheus-client'

fill_test_packages() {
  # shellcheck disable=SC2086  # several names
  printf '%s\n' $tested_with | awk '
    NR == FNR { wanted[$1]; next }
    /^[^ #]/ { split($1, name, "=="); keep = name[1] in wanted }
    keep' - "$checkout/constraints/dev.txt" >"$work/tests.txt"
  fill_wheels "$work/tests.txt" --no-deps "$1"
}

# make_python FOLDER PROCESSOR PACKAGES…: an environment of the arm64 Python with otic's sources.
# Its bin/python is a script that starts qemu, and is what sys.executable says inside. So whoever
# starts Python again, as otic does to capture and the tests do everywhere, gets an emulated one,
# and other programs are this machine's: binfmt_misc, which only root can set up, is not needed.
#
# qemu looks for every path in $root first. So a /proc/cpuinfo there is what LLVM (numba) and LiteRT
# choose their code by: with x86-64's, numba would compile for no processor in particular, and
# LiteRT 2.3 die of a segmentation fault.
make_python() {
  local folder=$1 processor=$2 site=$1/lib/python3.11/site-packages
  shift 2
  cpuinfo "$processor" >"$root/proc/cpuinfo"
  mkdir -p "$folder/bin" "$site"
  printf 'home = %s\n' "$root/usr/bin" >"$folder/pyvenv.cfg"
  printf '%s\n' "$copied" "$copied"/{realtime,training,models} "$@" >"$site/otic.pth"
  cat >"$folder/bin/python" <<END_OF_SCRIPT
#!/bin/sh
exec "$qemu" -cpu "$processor" -L "$root" -0 "$folder/bin/python" "$root/usr/bin/python3.11" "\$@"
END_OF_SCRIPT
  chmod +x "$folder/bin/python"
}

# in_environment COMMAND…: with nothing of this machine's environment that could be in the way.
in_environment() {
  (cd "$copied" && env -i HOME="$work" LANG=C.UTF-8 PATH="$PATH" OTIC_DATA="$data" \
    NUMBA_CACHE_DIR="$work/cache/aarch64" "$@")
}

# on_arm PROCESSOR COMMAND…: the emulated Python, with otic's own dependencies and nothing else.
on_arm() {
  make_python "$work/python" "$1" "$packages"
  in_environment "$work/python/bin/python" "${@:2}"
}

# tests_on_arm PROCESSOR COMMAND…: the same with what the tests need.
tests_on_arm() {
  make_python "$work/python-tests" "$1" "$packages" "$test_packages"
  in_environment "$work/python-tests/bin/python" "${@:2}"
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
