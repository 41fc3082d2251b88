# shellcheck shell=bash
# What each suite runs. Every function writes to its log and fails with a status.

# Crates that must be nowhere in the tree: a second TLS library, a second time library, abandoned parsers.
BANNED='aws-lc-rs|aws-lc-sys|openssl-sys|native-tls|chrono|serde_yaml|serde_yml|protoc-bin-vendored|protobuf-src'
# The agent talks to no apiserver and no database, and serves nothing but its status page.
BANNED_IN_AGENT='kube|kube-client|k8s-openapi|sqlx|sqlx-core|libsqlite3-sys|axum'

# The tools of the chosen suites.
make_tools() {
  if is_chosen foreign; then make_grpcurl || return; fi
  if is_chosen faults; then make_toxiproxy || return; fi
  if is_chosen helm-cluster; then make_helm || return; fi
  if is_chosen helm-cluster || { is_chosen cluster && ! has_own_cluster; }; then make_kubernetes; fi
}

# One call for programs and tests, so that both are built with the same features and nothing is built again later.
build_all() {
  cargo build --locked --workspace --bins --tests || return
  # The suites' binary alone is built with fewer features than together with the rest.
  cargo test --locked --workspace --test it --no-run
}

suite_lint() {
  local failed=0
  check "Cargo.lock is up to date" cargo metadata --locked --format-version 1 --no-deps
  check "format (cargo fmt --all)" cargo fmt --all -- --check -l --color never
  check "format of the fuzz targets" cargo fmt --manifest-path tests/fuzz/Cargo.toml -- --check -l --color never
  check "no banned crate" no_crate "$BANNED" --workspace --edges all
  check "the agent stays small" no_crate "$BANNED_IN_AGENT" --package inquest-agent --edges normal
  check "clippy" cargo clippy --locked --workspace --all-targets --keep-going -- -D warnings
  check "no paths of one machine" no_machine_paths
  check "shell scripts" check_scripts
  check "the chart knows every configuration key" deploy/render --schema --check
  if cargo deny --version >/dev/null 2>&1; then
    check "cargo deny" cargo deny --locked check bans licenses sources
  else
    echo "== cargo deny: not checked, cargo-deny is not installed"
  fi
  return "$failed"
}

check() {
  local what=$1
  shift
  echo "== $what"
  if ! "$@" >"$logs/check.out" 2>&1; then
    failed=1
    cat "$logs/check.out"
    echo "== $what: FAILED"
  fi
}

# no_crate PATTERN TREE-ARGUMENTS...: fails when a crate of that name is in the tree, and shows which.
no_crate() {
  local pattern=$1 tree
  shift
  tree=$(cargo tree --locked --target all --prefix none --format '{p}' "$@") || return
  ! grep -E "^($pattern) " <<<"$tree" | sort -u | grep .
}

sources() {
  find . \( -path ./target -o -path ./.git \) -prune -o -type f -print
}

# A path that exists on one developer's machine only has no place in the tree.
no_machine_paths() {
  local files
  mapfile -t files < <(sources)
  ! grep -InE '(^|[^[:alnum:]_.])/(home/[a-z]|root/|Users/|work/)' -- "${files[@]}" | grep -v '^\./tests/lib/suites\.sh:'
}

# Libraries are checked by shellcheck through the programs that source them.
check_scripts() {
  local file status=0
  local -a programs=() libraries=()
  while IFS= read -r file; do
    if [[ $file == *.sh ]]; then
      libraries+=("$file")
    elif head -c 64 "$file" | head -n 1 | grep -qaE '^#!.*\b(ba)?sh\b'; then
      programs+=("$file")
    fi
  done < <(sources)
  for file in "${programs[@]}" "${libraries[@]}"; do bash -n "$file" || status=1; done
  if command -v shellcheck >/dev/null; then
    shellcheck --external-sources --check-sourced "${programs[@]}" || status=1
  else
    echo "shellcheck is not installed; only the syntax was checked"
  fi
  return "$status"
}

suite_unit() {
  if [[ $EUID == 0 ]]; then export INQUEST_TEST_RUNTIME=1; else echo "without root: nothing runs against containerd"; fi
  INQUEST_TEST_BUILT=1 cargo test --locked --workspace --lib --bins --test pod_memory
}

# integration SUITE ARGUMENTS...: tests of the one integration binary; a suite that is empty is a failure.
integration() {
  local log=$logs/$1.log
  shift
  export INQUEST_TEST_BUILT=1 INQUEST_TEST_RUNTIME=1 INQUEST_TEST_GRPCURL=$target/tools/bin/grpcurl
  export INQUEST_TEST_TOXIPROXY=$target/tools/toxiproxy/server
  cargo test --locked --workspace --test it -- "$@" || return
  # no pipe to look at the output: what a test left running would keep it open for ever
  if grep -qE '^running 0 tests' "$log"; then
    echo "the suite has no test"
    return 1
  fi
}

suite_contract() { integration contract contract:: requirements::; }

# two at a time: each of these starts real programs
suite_host() { integration host --test-threads 2 host::; }
suite_runtime() { integration runtime --test-threads 2 runtime::; }
suite_process() { integration process --test-threads 2 process::; }
suite_foreign() { integration foreign --test-threads 2 foreign::; }
suite_docker() { integration docker --test-threads 2 docker::; }
# A burst of kills and a flood of lines hide the deaths of others from the kernel log: those two run alone.
suite_faults() {
  integration faults --test-threads 2 --skip faults::burst:: --skip faults::flood:: faults:: &&
    integration faults --test-threads 1 faults::flood:: faults::burst::
}
suite_faults_long() { INQUEST_TEST_REPEAT=20 integration faults-long --test-threads 2 faults::failpoints::; }
# One cluster serves all tests, which live in namespaces of their own. The cluster of whoever runs this is not broken on
# purpose.
suite_cluster() {
  local status=0
  if has_own_cluster; then
    integration cluster --test-threads 2 --skip cluster::outage:: --skip cluster::leftovers:: cluster::
    return
  fi
  INQUEST_TEST_KUBERNETES=$(kubernetes_folder) integration cluster --test-threads 2 cluster:: || status=$?
  # it is taken down when the tests have ended; here that is waited for
  take_clusters_down "$scratch"
  return "$status"
}
# Always in one of ours: the images are in no registry that another could take them from.
suite_helm_cluster() {
  local status=0
  unset INQUEST_TEST_KUBECONFIG
  INQUEST_TEST_HELM=$target/tools/bin/helm INQUEST_TEST_KUBERNETES=$(kubernetes_folder) \
    integration helm-cluster helm:: || status=$?
  take_clusters_down "$scratch"
  return "$status"
}
suite_security() { integration security --test-threads 2 security::; }
