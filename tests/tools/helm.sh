# shellcheck shell=bash
# Helm, as programs that render or check the chart need it. `$target` is the folder of what is built.

HELM_VERSION=v3.19.4

# The one of this version that was built, else the one of this machine when it is a Helm 3.
find_helm() {
  if [[ -x $target/tools/bin/helm && -e $target/tools/helm-$HELM_VERSION ]]; then
    echo "$target/tools/bin/helm"
  elif helm version --short 2>/dev/null | grep '^v3\.' >/dev/null; then
    command -v helm
  else
    return 1
  fi
}

# Fetched through the Go module proxy and checked against the public checksum database; built once per version.
make_helm() {
  local bin=$target/tools/bin stamp=$target/tools/helm-$HELM_VERSION
  if [[ -x $bin/helm && -e $stamp ]]; then
    echo "helm $HELM_VERSION is there"
    return
  fi
  GOBIN=$bin CGO_ENABLED=0 GOFLAGS=-mod=mod PATH="$PATH:/usr/local/go/bin" \
    go install "helm.sh/helm/v3/cmd/helm@$HELM_VERSION" || return
  touch "$stamp"
}
