# shellcheck shell=bash
# Keys, certificates and kubeconfigs. Subjects are those that Kubernetes' own roles name; see "PKI certificates and
# requirements" on kubernetes.io.

DAYS=30

# certificate NAME SUBJECT EXTENSION...: a P-256 key and its certificate, signed by itself or, with $issuer, by that.
certificate() {
  local name=$1 subject=$2 extension
  local -a arguments=()
  shift 2
  for extension in "$@"; do arguments+=(-addext "$extension"); done
  if [[ -n ${issuer:-} ]]; then arguments+=(-CA "$dir/pki/$issuer.crt" -CAkey "$dir/pki/$issuer.key"); fi
  # the system's configuration would add extensions of its own
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$DAYS" -subj "$subject" \
    -config <(printf '[req]\ndistinguished_name=dn\n[dn]\n') \
    -keyout "$dir/pki/$name.key" -out "$dir/pki/$name.crt" "${arguments[@]}" 2>>"$dir/log/openssl.log"
}

authority() { certificate "$1" "/CN=$1" basicConstraints=critical,CA:TRUE keyUsage=critical,keyCertSign,cRLSign; }

# client NAME SUBJECT
client() { certificate "$1" "$2" basicConstraints=CA:FALSE keyUsage=critical,digitalSignature extendedKeyUsage=clientAuth; }

# server NAME SUBJECT NAMES
server() {
  certificate "$1" "$2" basicConstraints=CA:FALSE keyUsage=critical,digitalSignature extendedKeyUsage=serverAuth \
    "subjectAltName=$3"
}

make_certificates() {
  local node issuer=''
  authority ca
  # the aggregation layer must not take clients of the cluster for its own proxy
  authority front-proxy-ca
  issuer=front-proxy-ca client front-proxy-client /CN=front-proxy-client
  issuer=ca
  local service=kubernetes.default
  server apiserver /CN=kube-apiserver \
    "DNS:kubernetes,DNS:$service,DNS:$service.svc,DNS:$service.svc.cluster.local,DNS:localhost,IP:$host,IP:$SERVICE_OF_API,IP:127.0.0.1"
  client apiserver-kubelet-client /O=system:masters/CN=apiserver-kubelet-client
  client admin /O=system:masters/CN=admin
  client controller-manager /CN=system:kube-controller-manager
  client scheduler /CN=system:kube-scheduler
  client proxy /CN=system:kube-proxy
  client dns /CN=system:cluster-dns
  for ((node = 1; node <= nodes; node++)); do
    client "node$node" "/O=system:nodes/CN=system:node:node$node"
    server "node$node-server" "/O=system:nodes/CN=system:node:node$node" \
      "DNS:node$node,IP:$(node_address "$node"),IP:127.0.0.1"
    kubeconfig "node$node"
  done
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$dir/pki/service-account.key" 2>/dev/null
  openssl pkey -in "$dir/pki/service-account.key" -pubout -out "$dir/pki/service-account.pub"
  for client in admin controller-manager scheduler proxy dns; do kubeconfig "$client"; done
  say "certificates"
}

# kubeconfig NAME: the certificate of that name against this cluster.
kubeconfig() {
  cat >"$dir/kubeconfig/$1" <<YAML
apiVersion: v1
kind: Config
current-context: $prefix
contexts: [{name: $prefix, context: {cluster: $prefix, user: $1}}]
clusters: [{name: $prefix, cluster: {server: "$api", certificate-authority: $dir/pki/ca.crt}}]
users: [{name: $1, user: {client-certificate: $dir/pki/$1.crt, client-key: $dir/pki/$1.key}}]
YAML
}
