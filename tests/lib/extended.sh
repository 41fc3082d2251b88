# shellcheck shell=bash
# Which extended suites have to run again: those whose inputs changed since they last passed.
#
# tests/passed.tsv records, for each extended suite, the fingerprint of its inputs at its last pass. A pass outside
# continuous integration rewrites its line, to be committed with the change. So a change is paid for once, by
# whoever makes it or else by continuous integration, and no suite depends on knowing an earlier commit.

PASSED=tests/passed.tsv
# All that continuous integration may take, in seconds; what does not fit is named as not selected.
CI_LIMIT=4800
# What the core suites take in a cold run on a busy machine of two cores; their budgets leave more room.
CORE_USUAL=2400

# inputs SUITE: the files that decide its result, those not committed yet too.
inputs() {
  local -a paths
  read -ra paths <<<"${INPUTS[$1]}"
  git ls-files -z --cached --others --exclude-standard -- Cargo.lock "${paths[@]}" | sort -zu
}

fingerprint() {
  inputs "$1" | while IFS= read -rd '' file; do
    if [[ -f $file ]]; then sha256sum "$file"; fi
  done | sha256sum | cut -c1-16
}

is_passed() { grep -qsxF "$1"$'\t'"$(fingerprint "$1")" "$PASSED"; }

record_pass() {
  local line others
  line=$1$'\t'$(fingerprint "$1")
  others=$(grep -v "^$1"$'\t' "$PASSED" 2>/dev/null || true)
  printf '%s\n' ${others:+"$others"} "$line" | sort >"$PASSED"
}

# Extended suites that continuous integration runs besides the core: those that did not pass since their inputs changed, as far
# as they fit should each take twice its budget, after which it is stopped.
changed_suites() {
  local suite seconds total=$CORE_USUAL
  for suite in ${EXTENDED[@]+"${EXTENDED[@]}"}; do
    seconds=${BUDGET[$suite]}
    seconds=$((2 * seconds))
    if is_passed "$suite" || ((total + seconds > CI_LIMIT)); then continue; fi
    total=$((total + seconds))
    printf '%s\n' "$suite"
  done
}
