# shellcheck shell=bash
# What the chosen suites need of the machine. Installs it as root on Debian and Ubuntu, else names it and ends with 2.

packages=()
problems=()

# Programs of the private container runtime, each with its package.
RUNTIME_PROGRAMS=(containerd:containerd containerd-shim-runc-v2:containerd ctr:containerd runc:runc busybox:busybox-static)

has() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

can_install() { [[ $EUID == 0 ]] && has apt-get; }

# needs_program PROGRAM PACKAGE WHY
needs_program() {
  has "$1" || missing "$2" "$1, for $3"
}

missing() {
  packages+=("$1")
  problems+=("$2 (Debian, Ubuntu: apt-get install $1)")
}

needs_rust() {
  PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
  export PATH
  if ! has cargo; then
    missing rustup "cargo through rustup, which then fetches the version of rust-toolchain.toml; see https://rustup.rs"
  fi
  needs_program cc gcc "SQLite and ring, which are compiled from C"
  [[ -e /usr/include/stdlib.h ]] || missing libc6-dev "the headers of the C library"
}

needs_runtime() {
  local pair
  for pair in "${RUNTIME_PROGRAMS[@]}"; do
    needs_program "${pair%%:*}" "${pair#*:}" "real containers"
  done
  # a busybox with a loader cannot run in an image that holds nothing else
  if has busybox && grep -qa '/ld-' <(head -c 4096 "$(PATH="$PATH:/usr/sbin:/sbin" command -v busybox)"); then
    missing busybox-static "a static busybox, for images"
  fi
}

needs_docker() {
  needs_runtime
  needs_program dockerd docker.io "a private Docker"
  # newer releases of Debian have the client in a package of its own
  has docker || missing docker-cli "docker, the client of the private Docker"
}

has_memory_cgroup() {
  grep -qE ' - cgroup [^ ]+ [^ ]*(,|\b)memory(,|$)' /proc/self/mountinfo ||
    grep -qsw memory /sys/fs/cgroup/cgroup.controllers
}

needs_kernel() {
  [[ $EUID == 0 ]] || problems+=("root, for the kernel log and cgroups (suites: lint, unit and contract run without)")
  [[ -r /dev/kmsg ]] || problems+=("a readable /dev/kmsg")
  has_memory_cgroup || problems+=("a cgroup hierarchy with the memory controller")
}

# The library that moves the clock of one program.
needs_faketime() {
  compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing faketime "libfaketime, for clocks that do not agree"
}

go_is_new_enough() {
  local version
  PATH="$PATH:/usr/local/go/bin"
  version=$(go env GOVERSION 2>/dev/null) || return 1
  version=${version#go}
  [[ $(printf '%s\n' 1.21 "$version" | sort -V | head -n 1) == 1.21 ]]
}

needs_go() {
  [[ -e $target/tools/$1 ]] || go_is_new_enough || missing golang-go "Go 1.21 or newer, to build ${1%%[-/]*}"
}

# Whether the suite `cluster` uses one that is there, instead of bringing up its own.
has_own_cluster() { [[ -n ${INQUEST_TEST_KUBECONFIG:-} ]]; }

# Packages of tests/cluster.
needs_cluster() {
  if has_own_cluster; then
    has kubectl || problems+=("kubectl, to talk to the cluster of INQUEST_TEST_KUBECONFIG")
    return
  fi
  needs_own_cluster
}

needs_own_cluster() {
  needs_kernel
  needs_runtime
  needs_network
  needs_program nft nftables "Services in a cluster"
  needs_program jq jq "images for a cluster"
  needs_program openssl openssl "certificates of a cluster"
  needs_faketime
  [[ -x /usr/lib/cni/bridge || -x /opt/cni/bin/bridge ]] || missing containernetworking-plugins "CNI plugins, for pods"
  needs_go "kubernetes/$(basename "$(kubernetes_folder)")"
}

# Namespaces with a wire between them that can be cut.
needs_network() {
  needs_program ip iproute2 "network namespaces"
  needs_program iptables iptables "cut networks"
  needs_program nsenter util-linux "programs in network namespaces"
}

needs_package() {
  needs_program dockerd docker.io "images and containers"
  needs_program docker-compose docker-compose "the compose file"
  needs_program ip iproute2 "a network of its own"
  needs_program busybox busybox-static "a container that dies"
  needs_program readelf binutils "a look at the programs"
}

collect_needs() {
  local suite
  packages=() problems=()
  needs_rust
  for suite in "${chosen[@]}"; do
    case $suite in
      host | process | foreign) needs_kernel ;;
      docker) needs_kernel && needs_docker ;;
      runtime | security | faults | faults-long) needs_kernel && needs_runtime ;;
      package) needs_kernel && needs_package ;;
      cluster) needs_cluster ;;
      helm-cluster) needs_own_cluster && needs_go "helm-$HELM_VERSION" ;;
      helm) needs_go "helm-$HELM_VERSION" && needs_go "kustomize-$KUSTOMIZE_VERSION" ;;
      fuzz) needs_program c++ g++ "libFuzzer" ;;
    esac
  done
  if is_chosen foreign; then needs_go "grpcurl-$GRPCURL_VERSION"; fi
  if is_chosen faults; then needs_kernel && needs_runtime && needs_network && needs_faketime && needs_go "toxiproxy-$TOXIPROXY_VERSION"; fi
  # without root these parts are left out, and the suite says so
  if can_install && is_chosen unit; then needs_runtime; fi
  if can_install && is_chosen lint; then needs_program shellcheck shellcheck "scripts"; fi
}

install_packages() {
  say "installing with apt-get: ${packages[*]}"
  apt_install >"$logs/install.log" 2>&1 9>&- || say "apt-get failed; the whole log is $logs/install.log"
}

# One unknown name would stop all others, so names that this release does not know are left to the list of what is missing.
apt_install() {
  local package
  local -a known=()
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q || return
  for package in "${packages[@]}"; do
    if apt-cache show "$package" >/dev/null 2>&1; then known+=("$package"); fi
  done
  ((${#known[@]} == 0)) || apt-get install -y -q --no-install-recommends "${known[@]}"
}

settle_needs() {
  collect_needs
  if ((${#packages[@]} > 0)) && can_install; then
    install_packages
    collect_needs
  fi
  if ((${#problems[@]} > 0)); then
    printf 'tests/run: this machine lacks\n' >&2
    printf '  %s\n' "${problems[@]}" | awk '!seen[$0]++' >&2
    exit 2
  fi
}
