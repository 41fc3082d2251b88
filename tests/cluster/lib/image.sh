# shellcheck shell=bash
# Images made by hand, as archives of the form that `docker save` writes. Their domain exists nowhere, so a pull of a
# missing one fails at once and no traffic leaves the machine.

BUSYBOX_IMAGE=img.local/busybox:1
PAUSE_IMAGE=img.local/pause:1

# make_image REFERENCE ROOT COMMAND ARCHIVE: one layer from a folder; COMMAND is a JSON list.
make_image() {
  local reference=$1 root=$2 command=$3 archive=$4 work digest architecture
  work=$(mktemp -d "$dir/image/work.XXXXXX")
  architecture=$(uname -m)
  case $architecture in x86_64) architecture=amd64 ;; aarch64) architecture=arm64 ;; esac
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$root" -cf "$work/layer.tar" .
  digest=$(sha256sum "$work/layer.tar" | cut -d ' ' -f 1)
  jq --null-input --compact-output --arg digest "sha256:$digest" --arg architecture "$architecture" \
    --argjson command "$command" '{architecture: $architecture, os: "linux",
      config: {Env: ["PATH=/bin"], Cmd: $command}, rootfs: {type: "layers", diff_ids: [$digest]}}' >"$work/config.json"
  jq --null-input --compact-output --arg reference "$reference" \
    '[{Config: "config.json", RepoTags: [$reference], Layers: ["layer.tar"]}]' >"$work/manifest.json"
  tar -C "$work" -cf "$archive" manifest.json config.json layer.tar
  rm -rf "$work"
}

# The images that every node has: a shell with its tools and a program that faults, and what holds a pod together.
make_images() {
  local root=$dir/image/root applet
  mkdir -p "$root"/{bin,etc,tmp}
  chmod 1777 "$root/tmp"
  cp "$(command -v busybox)" "$root/bin/busybox"
  for applet in $(busybox --list); do [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"; done
  cp "$programs/segv" "$root/bin/segv"
  echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  # without it the C library asks no DNS
  echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
  make_image "$BUSYBOX_IMAGE" "$root" '["/bin/sh"]' "$dir/image/busybox.tar"
  find "$root/bin" ! -name busybox ! -name sleep ! -path "$root/bin" -delete
  make_image "$PAUSE_IMAGE" "$root" '["/bin/sleep", "2147483647"]' "$dir/image/pause.tar"
  rm -rf "$root"
  say "images"
}

# load_images NUMBER: what lies in <folder>/image, into that node.
load_images() {
  local archive
  for archive in "$dir"/image/*.tar; do load_image "$1" "$archive"; done
}

load_image() {
  ctr_of "$1" images import "$2" >>"$dir/log/images.log" 2>&1 || die "node$1 does not take $2"
}
