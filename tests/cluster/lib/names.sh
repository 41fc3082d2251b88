# shellcheck shell=bash
# What a cluster is called and which addresses it has. Several clusters may run side by side: each has a number, which
# is part of every name and address that the machine can see.
#
# The number belongs to whoever made the bridge kc<number>; the bridge's alias says which folder that is.

# Folders that every node has for itself, so nothing of a cluster may lie there.
NODE_FOLDERS=(/run /var/lib /var/log /var/run)
# Addresses come from 10.99.<number>.0/24 for nodes and 10.<200 + number>.<node>.0/24 for pods.
MOST_CLUSTERS=16
SERVICE_NET=10.96.0.0/16
SERVICE_OF_API=10.96.0.1
SERVICE_OF_DNS=10.96.0.10

# use_number NUMBER: sets the names that follow from it.
use_number() {
  prefix=kc$1
  node_net=10.99.$1
  pod_net=10.$((200 + $1))
  # the machine as the nodes see it: apiserver and DNS listen here
  host=$node_net.1
  # what only the machine itself may reach: etcd, and the health of the others
  loopback=127.99.$1.1
  api=https://$host:6443
}

node_address() { printf '%s' "$node_net.$((10 + $1))"; }

# number_of FOLDER: the number of the cluster that lives there, if any does.
number_of() {
  ip -json link show type bridge |
    jq -r --arg folder "$1" '.[] | select(.ifalias == $folder) | .ifname | capture("^kc(?<n>[0-9]+)$").n'
}

# claim_number FOLDER: takes the first that is free. Making the bridge fails when it exists, so no two can have one.
claim_number() {
  local number
  for ((number = 0; number < MOST_CLUSTERS; number++)); do
    if ip link add "kc$number" type bridge 2>/dev/null; then
      ip link set "kc$number" alias "$1"
      use_number "$number"
      return
    fi
  done
  die "no number is free: $MOST_CLUSTERS clusters run, or the kernel makes no bridge"
}

# use_folder PATH: sets its absolute name, if it can hold a cluster.
use_folder() {
  local outside
  dir=$(realpath --canonicalize-missing -- "$1")
  for outside in "${NODE_FOLDERS[@]}"; do
    [[ $dir/ != "$outside"/* ]] || die "$dir: nodes have a folder $outside of their own, choose another place"
  done
  # sockets lie below it, and the kernel takes paths of at most 107 bytes for them (unix(7))
  ((${#dir} <= 60)) || die "$dir: longer than 60 bytes, which leaves no room for the paths of sockets"
}
