# shellcheck shell=bash
# The suite `fuzz`: each parser of what others wrote, for INQUEST_FUZZ_SECONDS (60), two at a time.

# Targets, each with the folder of its first inputs where there is one.
FUZZ_TARGETS=("kmsg tests/fixtures/kmsg" "oom tests/fixtures/kmsg" "trace tests/fixtures/trace/6.18" cgroup host runtime spool finding
  "config tests/fixtures/config" matcher escape card log)

# Inputs that reached new code are kept in the target folder and start the next run.
suite_fuzz() {
  local folder=$target/fuzz
  RUSTC_WRAPPER=$root/tests/fuzz/instrument \
    cargo build --locked --manifest-path tests/fuzz/Cargo.toml --target-dir "$folder" || return
  export -f fuzz_one
  printf '%s\n' "${FUZZ_TARGETS[@]}" |
    xargs -P 2 -L 1 bash -c 'fuzz_one "$@"' _ "$folder" "${INQUEST_FUZZ_SECONDS:-60}"
}

# fuzz_one FOLDER SECONDS NAME [SEEDS]: one allocation above 64 MiB, 512 MiB in all and 10 s for one input are findings too.
fuzz_one() {
  local log=$1/found/$3.log
  mkdir -p "$1/corpus/$3" "$1/found/$3"
  if INQUEST_FUZZ_TARGET=$3 "$1/debug/inquest-fuzz" "$1/corpus/$3" ${4:+"$4"} -artifact_prefix="$1/found/$3/" \
    -max_total_time="$2" -timeout=10 -rss_limit_mb=512 -malloc_limit_mb=64 -max_len=8192 -print_final_stats=1 \
    >"$log" 2>&1; then
    echo "== fuzz $3: $(grep -o 'cov: [0-9]*' "$log" | tail -n 1), $(grep -m 1 'stat::number_of_executed_units' "$log" || true)"
  else
    tail -n 40 "$log"
    echo "== fuzz $3: FAILED; the input is in $1/found/$3"
    return 1
  fi
}
