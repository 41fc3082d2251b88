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

make_helm() { make_go_program helm "$HELM_VERSION" helm.sh/helm/v3/cmd/helm "$target/tools/bin" helm; }
