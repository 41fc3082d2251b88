# shellcheck shell=bash
# etcd, apiserver, controllers, scheduler and DNS: processes of the machine, not of a node, so that nodes can come and go.
# What people need not reach listens on a loopback address that is this cluster's alone; so all keep their usual ports.

define_control_plane() {
  local pki=$dir/pki etcd=http://$loopback
  # The data is worth nothing after a crash of the machine, so etcd need not wait for the disk.
  define etcd "$prefix-control" "$programs/etcd" --name "$prefix" --data-dir "$dir/etcd" --log-level warn --unsafe-no-fsync \
    --listen-client-urls "$etcd:2379" --advertise-client-urls "$etcd:2379" \
    --listen-peer-urls "$etcd:2380" --initial-advertise-peer-urls "$etcd:2380" --initial-cluster "$prefix=$etcd:2380"

  # The apiserver's machine has no kube-proxy: it reaches webhooks and extension servers by their pods' addresses.
  local -a aggregation=(
    --enable-aggregator-routing=true
    --proxy-client-cert-file="$pki/front-proxy-client.crt" --proxy-client-key-file="$pki/front-proxy-client.key"
    --requestheader-client-ca-file="$pki/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy-client
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group
    --requestheader-extra-headers-prefix=X-Remote-Extra-
  )
  local -a kubelets=(
    --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP
    --kubelet-client-certificate="$pki/apiserver-kubelet-client.crt"
    --kubelet-client-key="$pki/apiserver-kubelet-client.key"
  )
  local -a tokens=(
    --service-account-issuer=https://kubernetes.default.svc.cluster.local
    --service-account-key-file="$pki/service-account.pub" --service-account-signing-key-file="$pki/service-account.key"
  )
  define apiserver "$prefix-control" "$programs/kube-apiserver" --etcd-servers="$etcd:2379" \
    --bind-address="$host" --advertise-address="$host" --secure-port=6443 --service-cluster-ip-range="$SERVICE_NET" \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
    "${aggregation[@]}" "${kubelets[@]}" "${tokens[@]}" "${apiserver_flags[@]}"

  # Election of a leader would cost seconds at each start.
  define_client controller-manager --use-service-account-credentials --root-ca-file="$pki/ca.crt" \
    --service-account-private-key-file="$pki/service-account.key" --allocate-node-cidrs=false \
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" "${controller_manager_flags[@]}"
  define_client scheduler "${scheduler_flags[@]}"
  define dns "$prefix-control" "$programs/cluster-dns" --kubeconfig="$dir/kubeconfig/dns" --listen="$host:53"
}

# define_client NAME FLAG...: the program kube-NAME, which talks to the apiserver. With the usual limit of 20 requests a
# second its start alone takes seconds.
define_client() {
  local name=$1 file=$dir/kubeconfig/$1
  shift
  define "$name" "$prefix-control" "$programs/kube-$name" --kubeconfig="$file" --authentication-kubeconfig="$file" \
    --authorization-kubeconfig="$file" --bind-address="$loopback" --cert-dir="$dir/pki/$name" --leader-elect=false \
    --kube-api-qps=500 --kube-api-burst=1000 "$@"
}

# kubectl_here ARGUMENTS...
kubectl_here() { "$programs/kubectl" --kubeconfig="$dir/kubeconfig/admin" "$@"; }

start_control_plane() {
  start etcd
  start apiserver
}

# The rest needs the apiserver.
finish_control_plane() {
  wait_until "the apiserver is ready" 90 kubectl_here get --raw /readyz
  start controller-manager
  start scheduler
  until_true 30 announce_dns >"$dir/log/announce.log" 2>&1 || die "cannot tell the cluster of its DNS"
  start dns
}

# DNS is a Service whose only endpoint is the machine.
announce_dns() {
  kubectl_here apply -f - <<YAML
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: $SERVICE_OF_DNS
  ports:
  - {name: dns, port: 53, protocol: UDP}
  - {name: dns-tcp, port: 53, protocol: TCP}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns-machine, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
ports:
- {name: dns, port: 53, protocol: UDP}
- {name: dns-tcp, port: 53, protocol: TCP}
endpoints:
- {addresses: ["$host"], conditions: {ready: true}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "system:cluster-dns"}
rules:
- {apiGroups: [""], resources: [services], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "system:cluster-dns"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:cluster-dns"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "system:cluster-dns"}]
YAML
}

dns_answers() { timeout 2 busybox nslookup -type=a kubernetes.default.svc.cluster.local "$host"; }
