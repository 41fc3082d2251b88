# shellcheck shell=bash
# kustomize, to see that its bases are the same objects as the plain manifests.

KUSTOMIZE_VERSION=v5.7.1

make_kustomize() { make_go_program kustomize "$KUSTOMIZE_VERSION" sigs.k8s.io/kustomize/kustomize/v5 "$target/tools/bin" kustomize; }
