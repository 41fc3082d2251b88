# shellcheck shell=bash
# What the tools that are written in Go have in common.

# Where go.dev's own archive is unpacked, go may not be on the path.
go_here() { CGO_ENABLED=0 PATH="$PATH:/usr/local/go/bin" go "$@"; }

# make_go_program NAME VERSION PACKAGE FOLDER PROGRAM: through the Go module proxy and checked against the public checksum
# database; built once per version.
make_go_program() {
  local name=$1 version=$2 package=$3 folder=$4 program=$5 stamp=$target/tools/$1-$2
  if [[ -x $folder/$program && -e $stamp ]]; then
    echo "$name $version is there"
    return
  fi
  GOBIN=$folder GOFLAGS=-mod=mod go_here install "$package@$version" || return
  touch "$stamp"
}
