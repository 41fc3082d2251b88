# shellcheck shell=bash
# The programs of a Kubernetes cluster, for the suite `cluster`: one file that acts as each of them, and a program that
# faults. Built from tests/cluster; what that needs comes through the Go module proxy and is checked against go.sum.

KUBERNETES_VERSION=v1.34.4
KUBERNETES_NAMES=(etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl cluster-dns)

kubernetes_source() { cd "$(dirname "${BASH_SOURCE[0]}")/../cluster" && pwd -P; }

# The folder of the programs. Its name is a digest of what they are made from, so an old one is never taken for a new one.
kubernetes_folder() {
  local digest
  digest=$(cd "$(kubernetes_source)" && cat go.mod go.sum ./*.go segv/*.go | sha256sum | head -c 16)
  printf '%s' "$target/tools/kubernetes/$digest-$KUBERNETES_VERSION"
}

make_kubernetes() {
  local folder made name
  folder=$(kubernetes_folder) || return
  if [[ -x $folder/kubelet ]]; then
    echo "Kubernetes $KUBERNETES_VERSION is there"
    return
  fi
  # those of other sources are of no use any more
  rm -rf "$target/tools/kubernetes"
  made=$folder.new
  mkdir -p "$made" || return
  kubernetes_build "$made" || return
  for name in "${KUBERNETES_NAMES[@]}"; do ln -s kubernetes "$made/$name" || return; done
  mv "$made" "$folder"
}

# The version that the programs give is set when they are linked; in the sources it is a placeholder.
kubernetes_build() {
  local source version=k8s.io/component-base/version
  source=$(kubernetes_source) || return
  go_here -C "$source" mod download || return
  go_here -C "$source" build -trimpath -buildvcs=false -o "$1/kubernetes" \
    -ldflags "-s -w -X $version.gitVersion=$KUBERNETES_VERSION -X $version.gitMajor=1 -X $version.gitMinor=34 \
      -X $version.gitTreeState=clean" . || return
  go_here -C "$source" build -trimpath -buildvcs=false -o "$1/segv" -ldflags "-s -w" ./segv
}
