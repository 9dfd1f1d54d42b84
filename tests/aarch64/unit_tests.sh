# shellcheck shell=bash
# The unit tests on an emulated 64-bit Arm. check.sh sources this file.

left_out=$here/left_out.txt

find_test_packages() {
  make_once "$test_packages" "$tested_with $(sha256sum <"$checkout/constraints/dev.txt")" \
    fill_test_packages
}

# pytest's options for left_out.txt, into the array `without`. A line of it that names nothing any
# more is an error, so that the list can't hide what came after.
read_left_out() {
  local test why file name
  without=()
  while read -r test why; do
    [[ -n $test && $test != \#* ]] || continue
    [ -n "$why" ] || die "$left_out: no reason for $test"
    file=tests/${test%%::*}
    name=${test##*::}
    [ -f "$copied/$file" ] || die "$left_out: there is no $file"
    if [ "$test" = "$name" ]; then
      without+=("--ignore=$file")
    else
      grep -q "^def $name(" "$copied/$file" || die "$left_out: there is no $name in $file"
      without+=("--deselect=tests/$test")
    fi
    printf '        left out: %s: %s\n' "$test" "$why"
  done <"$left_out"
}

# What tests start finds the kernels compiled: compiling takes a minute under qemu, or several on a
# busy machine, and tests don't wait that long for a process.
part_tests() {
  local processor=$1 log=$out/$1-tests.txt result=0
  read_left_out
  tests_on_arm "$processor" -m otic warmup >"$log" 2>&1 || failed_with "$log" || return
  tests_on_arm "$processor" -m pytest -p no:cacheprovider --tb=short --durations=15 \
    "${without[@]}" "${test_flags[@]}" >"$log" 2>&1 || result=$?
  grep -E '^(FAILED|ERROR|SKIPPED)|^tests on real recordings' "$log" || true
  tail -n 1 "$log"
  [ $result = 0 ] || printf '        pytest ended with %d: see %s\n' "$result" "$log"
  return $result
}
