# shellcheck shell=bash
# Everything that up, down and ctl share. They set $here.

export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin:/usr/local/go/bin

# The settings of a cluster, as long as nobody says otherwise.
dir='' nodes=2 programs='' back_off_max=''
apiserver_flags=() controller_manager_flags=() scheduler_flags=() kubelet_flags=()

# shellcheck source=tests/cluster/lib/process.sh
source "$here/lib/process.sh"
# shellcheck source=tests/cluster/lib/names.sh
source "$here/lib/names.sh"
# shellcheck source=tests/cluster/lib/cgroup.sh
source "$here/lib/cgroup.sh"
# shellcheck source=tests/cluster/lib/certificates.sh
source "$here/lib/certificates.sh"
# shellcheck source=tests/cluster/lib/control_plane.sh
source "$here/lib/control_plane.sh"
# shellcheck source=tests/cluster/lib/image.sh
source "$here/lib/image.sh"
# shellcheck source=tests/cluster/lib/node.sh
source "$here/lib/node.sh"
# shellcheck source=tests/cluster/lib/sysctl.sh
source "$here/lib/sysctl.sh"
# shellcheck source=tests/tools/go.sh
source "$here/../tools/go.sh"
# shellcheck source=tests/tools/kubernetes.sh
source "$here/../tools/kubernetes.sh"

# Without it a command that fails ends the script in silence.
set -o errtrace
trap 'printf "%s: line %s: failed: %s\n" "${BASH_SOURCE[0]##*/}" "$LINENO" "$BASH_COMMAND" >&2' ERR

needs_machine() {
  local program
  [[ $EUID == 0 ]] || die "needs root"
  for program in containerd containerd-shim-runc-v2 ctr runc busybox ip nft iptables jq nsenter openssl unshare; do
    command -v "$program" >/dev/null || die "no $program on this machine; tests/run installs it"
  done
  [[ -x $(cni_programs)/bridge ]] || die "no CNI plugins on this machine (Debian, Ubuntu: containernetworking-plugins)"
}

build_programs() {
  local target=${CARGO_TARGET_DIR:-$here/../../target}
  say "building the programs, which takes minutes the first time"
  make_kubernetes >&2
  programs=$(kubernetes_folder)
}
