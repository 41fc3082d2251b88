# shellcheck shell=bash
# kustomize, to see that its bases are the same objects as the plain manifests.

KUSTOMIZE_VERSION=v5.7.1

# Fetched through the Go module proxy and checked against the public checksum database; built once per version.
make_kustomize() {
  local bin=$target/tools/bin stamp=$target/tools/kustomize-$KUSTOMIZE_VERSION
  if [[ -x $bin/kustomize && -e $stamp ]]; then
    echo "kustomize $KUSTOMIZE_VERSION is there"
    return
  fi
  GOBIN=$bin CGO_ENABLED=0 GOFLAGS=-mod=mod PATH="$PATH:/usr/local/go/bin" \
    go install "sigs.k8s.io/kustomize/kustomize/v5@$KUSTOMIZE_VERSION" || return
  touch "$stamp"
}
