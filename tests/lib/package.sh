# shellcheck shell=bash
# The suite `package`: what ships is built, packed and run as its users run it, on a dockerd of its own.

# Bytes of the agent's image: one layer with one static program.
AGENT_IMAGE_MAX=8000000

# docker_here ARGUMENTS...: the command line against the private daemon
docker_here() { DOCKER_HOST=unix://$package_dir/docker.sock docker "$@"; }

compose_here() {
  DOCKER_HOST=unix://$package_dir/docker.sock docker-compose --project-name inquest-package \
    --project-directory "$package_dir/compose" -f "$package_dir/compose/compose.yaml" \
    -f "$package_dir/compose/compose.kernel-log.yaml" -f "$package_dir/compose/scope.yaml" "$@"
}

# A daemon in a network namespace of its own: its bridges and addresses are nobody else's.
start_dockerd() {
  mkdir -p "$package_dir"
  ip netns add "$package_net" || return
  nsenter --net="/run/netns/$package_net" ip link set lo up || return
  nsenter --net="/run/netns/$package_net" dockerd -H "unix://$package_dir/docker.sock" --data-root "$package_dir/data" \
    --exec-root "$package_dir/exec" --pidfile "$package_dir/pid" --iptables=false --ip6tables=false --bridge=none \
    --exec-opt native.cgroupdriver=cgroupfs >"$package_dir/dockerd.log" 2>&1 &
  dockerd_pid=$!
  until_true 60 docker_here version >/dev/null 2>&1
}

stop_dockerd() {
  if [[ -e $package_dir/compose/compose.yaml ]]; then compose_here down --volumes --timeout 10 || true; fi
  if [[ -n ${dockerd_pid:-} ]]; then
    kill -TERM "$dockerd_pid" 2>/dev/null || true
    wait "$dockerd_pid" 2>/dev/null || true
  fi
  ip netns delete "$package_net" 2>/dev/null || true
  find /sys/fs/cgroup -maxdepth 2 -type d -name "$package_net" -exec rmdir {} + 2>/dev/null || true
  rm -rf "$package_dir"
}

# until_true SECONDS COMMAND...: tries it until it succeeds
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.3
  done
}

# Both architectures where the compiler of the other is at hand; arm64 is then built and packed, not run.
release_archs() {
  if [[ $(uname -m) == x86_64 ]] && has aarch64-linux-gnu-gcc && rustup target list --installed | grep '^aarch64-unknown-linux-gnu$' >/dev/null; then
    echo amd64,arm64
  elif [[ $(uname -m) == x86_64 ]]; then
    echo amd64
  else
    echo arm64
  fi
}

# programs_are_for ARCHS: each is static and of its architecture
programs_are_for() {
  local arch program
  for arch in ${1//,/ }; do
    for program in "$package_kit/linux-$arch"/inquest*; do
      readelf -h "$program" | grep -E "Machine: .*$([[ $arch == arm64 ]] && echo AArch64 || echo X86-64)" >/dev/null || return
      if readelf -l "$program" | grep INTERP >/dev/null; then
        echo "$program needs a loader"
        return 1
      fi
    done
  done
}

archives_are_whole() {
  (cd "$package_out" && sha256sum --check --strict SHA256SUMS) || return
  local name
  for name in inquest-agent inquest-aggregator inquest; do
    tar -tzf "$package_out/$name"-[0-9]*-linux-*.tar.gz | grep "/$name$" >/dev/null || return
  done
}

images_fit() {
  docker_here build -q --network=none -t inquest-agent -f deploy/docker/Containerfile.agent "$package_kit" || return
  docker_here build -q --network=none -t inquest-aggregator -f deploy/docker/Containerfile.aggregator "$package_kit" || return
  local bytes
  bytes=$(docker_here image inspect -f '{{.Size}}' inquest-agent) || return
  echo "the image of the agent has $bytes bytes"
  ((bytes <= AGENT_IMAGE_MAX))
}

import_busybox() {
  local root=$package_dir/busybox
  mkdir -p "$root/bin"
  cp "$(PATH="$PATH:/usr/sbin:/sbin" command -v busybox)" "$root/bin/busybox"
  ln -s busybox "$root/bin/tail"
  ln -s busybox "$root/bin/sh"
  tar -C "$root" -cf - . | docker_here import - busybox >/dev/null
}

compose_is_up() {
  mkdir -p "$package_dir/compose"
  cp deploy/compose.yaml deploy/compose.kernel-log.yaml "$package_dir/compose/"
  # the kernel log is everybody's: only what dies below this cgroup belongs to this node
  printf 'version: "3.7"\nservices:\n  agent:\n    environment:\n      INQUEST_SOURCES_CGROUP_SCOPE: /%s\n' \
    "$package_net" >"$package_dir/compose/scope.yaml"
  (umask 022 && head -c 32 /dev/urandom | base64 >"$package_dir/compose/bootstrap")
  INQUEST_DOCKER_SOCKET=$package_dir/docker.sock INQUEST_RUNTIME_DIR=$package_dir/exec/containerd compose_here up -d || return
  until_true 60 node_is_connected
}

node_is_connected() { compose_here exec -T aggregator /inquest nodes -o json | grep '"connected": *true' >/dev/null; }

is_told() { compose_here logs --no-color aggregator | grep "$1" >/dev/null; }

# dies_and_is_told WORDS OPTIONS-AND-COMMAND...: a container, whose alert has these words
dies_and_is_told() {
  local words=$1
  shift
  docker_here run --network=none --cgroup-parent "/$package_net" "$@" || true
  until_true 30 is_told "$words" || {
    compose_here logs --no-color --tail 50
    return 1
  }
}

a_kill_is_told() { dies_and_is_told 'OOM at container limit' --memory 16m busybox /bin/tail /dev/zero; }

a_crash_is_told_with_its_last_lines() {
  dies_and_is_told 'no database at all' busybox /bin/sh -c 'echo no database at all; exit 3'
}

# The aggregator alone, with what the quick start says.
one_line_runs_it() {
  docker_here run -d --name alone --network=none --read-only --cap-drop ALL -v alone:/var/lib/inquest inquest-aggregator || return
  until_true 30 docker_here exec alone /inquest incidents
  local status=$?
  docker_here logs --tail 20 alone
  docker_here rm -f alone >/dev/null
  return "$status"
}


suite_package() {
  local failed=0 dockerd_pid='' archs
  package_dir=$(mktemp -d) package_net=inquest-package-$$
  package_out=$target/release-archives package_kit=$target/release-kit
  trap stop_dockerd EXIT
  trap 'exit 143' TERM
  archs=$(release_archs)
  check "release builds and packs $archs" deploy/release --arch "$archs" --out "$package_out" --kit "$package_kit"
  check "programs are static and of their architecture" programs_are_for "$archs"
  check "archives match their checksums" archives_are_whole
  check "a private dockerd starts" start_dockerd
  check "images are built and small" images_fit
  docker_here image ls --format '{{.Repository}} {{.Size}}'
  check "an image for the victim" import_busybox
  check "compose starts both, and the agent connects" compose_is_up
  check "a kill is told on the aggregator's standard output" a_kill_is_told
  check "a crash is told with its last lines" a_crash_is_told_with_its_last_lines
  check "one line runs the aggregator" one_line_runs_it
  return "$failed"
}
