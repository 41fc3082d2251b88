# shellcheck shell=bash
# A node: a network namespace and a mount namespace on this machine, in which containerd, kubelet and kube-proxy run.
#
# In its mount namespace /run, /var/lib and /var/log are folders of its own, so everything in there is where it is on a
# real node, and a pod that mounts /run/containerd or /var/log/pods gets those of its node. From outside they are
# <folder>/node<n>/{run,lib,log}. Both namespaces end with the last process in them, and all mounts and links with them.

# boot_node NUMBER: brings its namespaces up and starts what runs there; also after a power loss.
boot_node() {
  local number=$1 name=node$1 home=$dir/node$1
  # a machine that was off has nothing in /run and no cgroups
  rm -rf "$home/run" "$home/booted"
  remove_cgroup "$prefix-$name"
  mkdir -p "$home"/{run/netns,lib,log/pods,log/containers,cni,manifests,pki}
  make_cgroup "$prefix-$name"
  write_node_files "$number"
  define_holder "$number"
  start "$name"
  until_true 10 test -e "$home/booted" || die "$name got no namespaces"
  connect_node "$number"
  define_daemons "$number"
  start "containerd-$name"
}

# The process that keeps the namespaces.
define_holder() {
  local name=node$1 home=$dir/node$1
  # shellcheck disable=SC2016 # the words are the inner shell's
  define "$name" "$prefix-$name" unshare --net --mount --propagation private bash -euc '
    mount --bind "$1/run" /run
    mount --bind "$1/lib" /var/lib
    mount --bind "$1/log" /var/log
    # mounts of volumes must reach running containers, as on a machine of systemd
    mount --make-rshared /
    : >"$1/booted"
    exec sleep infinity' "$name" "$home"
}

# in_node NUMBER: words before a command that is to run there. Unlike `ip netns exec`, they leave /sys as it is.
in_node() { printf '%s\n' nsenter --net --mount --target "$(pid_of "node$1")" --; }

# connect_node NUMBER: a wire to the bridge, an address, and routes to the pods of all others.
connect_node() {
  local number=$1 pid other
  pid=$(pid_of "node$number")
  ip link add "${prefix}v$number" type veth peer name eth0 netns "$pid"
  ip link set "${prefix}v$number" master "$prefix" up
  {
    echo "link set lo up"
    echo "address add $(node_address "$number")/24 dev eth0"
    echo "link set eth0 up"
    echo "route add default via $host"
    for ((other = 1; other <= nodes; other++)); do
      if ((other != number)); then echo "route add $pod_net.$other.0/24 via $(node_address "$other")"; fi
    done
  } | nsenter --net --target "$pid" ip -batch -
  # connections of killed processes keep the namespace alive while they wait for an answer
  nsenter --net --target "$pid" sysctl --quiet net.ipv4.ip_forward=1 net.ipv4.tcp_orphan_retries=1
  # else a Service whose pod is on the same bridge answers past the translation of its address
  nsenter --net --target "$pid" sysctl --quiet net.bridge.bridge-nf-call-iptables=1 ||
    say "node$number: a pod may not reach itself through its Service, as the kernel has no br_netfilter"
}

# The wire first: who talks to the node hears no goodbye, as when a machine loses its power.
kill_node() {
  ip link delete "${prefix}v$1"
  kill_cgroup "$prefix-node$1"
}

define_daemons() {
  local name=node$1 home=$dir/node$1
  local -a inside
  mapfile -t inside < <(in_node "$1")
  define "containerd-$name" "$prefix-$name" "${inside[@]}" containerd --config "$home/containerd.toml"
  define "kubelet-$name" "$prefix-$name" "${inside[@]}" "$programs/kubelet" --config="$home/kubelet.yaml" \
    --kubeconfig="$dir/kubeconfig/$name" --hostname-override="$name" --node-ip="$(node_address "$1")" \
    --cert-dir="$home/pki" "${kubelet_flags[@]}"
  define "proxy-$name" "$prefix-$name" "${inside[@]}" "$programs/kube-proxy" --config="$home/proxy.yaml"
}

write_node_files() {
  local home=$dir/node$1
  containerd_config "$1" >"$home/containerd.toml"
  cni_config "$1" >"$home/cni/10-bridge.conflist"
  kubelet_config "$1" >"$home/kubelet.yaml"
  proxy_config "$1" >"$home/proxy.yaml"
  # for pods that use the machine's names: there are none
  echo "nameserver $host" >"$home/resolv.conf"
}

# Everything else is at its default place, which is this node's own.
containerd_config() {
  cat <<TOML
version = 2
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  # root may not lower an oom_score_adj where it lacks CAP_SYS_RESOURCE, as in most containers
  restrict_oom_score_adj = true
  sandbox_image = "$PAUSE_IMAGE"
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$(cni_programs)"
    conf_dir = "$dir/node$1/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
TOML
}

# Debian's folder, else that of the project's own packages.
cni_programs() { if [[ -x /usr/lib/cni/bridge ]]; then echo /usr/lib/cni; else echo /opt/cni/bin; fi; }

# No address is translated: every node has a route to every pod.
cni_config() {
  cat <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pod_net.$1.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
}

kubelet_config() {
  local home=$dir/node$1
  cat <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $dir/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $dir/pki/node$1-server.crt
tlsPrivateKeyFile: $dir/pki/node$1-server.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
staticPodPath: $home/manifests
cgroupDriver: cgroupfs
cgroupRoot: /$prefix-node$1
clusterDNS: [$SERVICE_OF_DNS]
clusterDomain: cluster.local
resolvConf: $home/resolv.conf
# machines of tests may have swap and may be old
failSwapOn: false
failCgroupV1: false
# root may not lower it everywhere
oomScoreAdj: 0
# a full disk of the machine is not this node's business, and an image that was made by hand cannot be fetched again
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
serializeImagePulls: false
# as often as the kubelet looks whether a pod takes more room than it may; its own is a minute
volumeStatsAggPeriod: 10s
YAML
  if [[ -n $back_off_max ]]; then
    echo "featureGates: {KubeletCrashLoopBackOffMax: true}"
    echo "crashLoopBackOff: {maxContainerRestartPeriod: $back_off_max}"
  fi
}

# nf_conntrack_max is the machine's and cannot be written from a namespace, so nothing of it is set.
proxy_config() {
  cat <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $dir/kubeconfig/proxy}
hostnameOverride: node$1
mode: nftables
clusterCIDR: $pod_net.0.0/16
oomScoreAdj: 0
conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML
}

# start_kubelet NUMBER: with its proxy, once containerd answers and has images.
start_kubelet() {
  wait_until "containerd of node$1" 30 ctr_of "$1" version
  load_images "$1"
  start "kubelet-node$1"
  start "proxy-node$1"
}

socket_of() { printf '%s' "$dir/node$1/run/containerd/containerd.sock"; }

# ctr_of NUMBER ARGUMENTS...
ctr_of() {
  local number=$1
  shift
  timeout 60 ctr --address "$(socket_of "$number")" --namespace k8s.io "$@"
}

node_is_ready() {
  [[ $(kubectl_here get node "node$1" --output jsonpath='{.status.conditions[?(@.type=="Ready")].status}') == True ]]
}
