# shellcheck shell=bash
# The suite `helm`: the chart is valid, refuses wrong values, and renders what the documents promise. No cluster is needed.

# shellcheck source=tests/tools/helm.sh
source tests/tools/helm.sh
# shellcheck source=tests/tools/kustomize.sh
source tests/tools/kustomize.sh

CHART=deploy/helm/inquest
HELM_PROFILES=(minimal standard privileged)
# All that can be switched on.
HELM_ALL=(--set writeBack.enabled=true --set logFallback.enabled=true --set aggregator.podDisruptionBudget.enabled=true
  --set aggregator.service.api=true --set 'networkPolicy.apiFrom={ops}' --set 'networkPolicy.metricsFrom={monitoring}')

helm_here() { "$target/tools/bin/helm" "$@"; }

# chart ARGUMENTS...: a rendering, for the oldest Kubernetes that the chart takes
chart() { helm_here template inquest "$CHART" --namespace inquest --kube-version 1.32.0 "$@"; }

# object KIND NAME: that one of the objects on standard input; fails when it is not there
object() {
  awk -v kind="kind: $1" -v name="  name: $2" '
    function end() { if (is_kind && is_name) { printf "%s", text; found = 1 } text = ""; is_kind = is_name = 0 }
    /^---$/ { end(); next }
    { text = text $0 "\n"; is_kind = is_kind || $0 == kind; is_name = is_name || $0 == name }
    END { end(); exit !found }'
}

# has_lines TEXT PATTERN..., has_no_lines TEXT PATTERN...: each pattern of a line is in the text, or none is
has_lines() {
  local text=$1 pattern status=0
  shift
  for pattern in "$@"; do
    if ! grep -qE -- "$pattern" <<<"$text"; then
      echo "is missing: $pattern"
      status=1
    fi
  done
  return "$status"
}

has_no_lines() {
  local text=$1 pattern status=0
  shift
  for pattern in "$@"; do
    if grep -nE -- "$pattern" <<<"$text"; then
      echo "must not be there: $pattern"
      status=1
    fi
  done
  return "$status"
}

chart_is_valid() {
  local profile
  for profile in "${HELM_PROFILES[@]}"; do
    helm_here lint --strict --kube-version 1.32.0 --set agent.profile="$profile" "$CHART" || return
  done
  chart "${HELM_ALL[@]}" >/dev/null
}

chart_has_the_version_of_the_programs() {
  local version
  version=$(sed -nE '/^\[workspace.package\]/,/^\[/s/^version = "(.*)"/\1/p' Cargo.toml)
  has_lines "$(<"$CHART/Chart.yaml")" "^version: $version\$" "^appVersion: \"$version\"\$"
}

# The first line of each file says which words the refusal has.
wrong_values_are_refused() {
  local file words said status=0
  for file in tests/fixtures/helm/broken/*.yaml; do
    words=$(sed -n '1s/^# refused: //p' "$file")
    if said=$(chart -f "$file" 2>&1 >/dev/null); then
      echo "$file was taken"
      status=1
    elif [[ -z $words || $said != *"$words"* ]]; then
      printf '%s: expected "%s" in\n%s\n' "$file" "$words" "$said"
      status=1
    fi
  done
  return "$status"
}

# What no profile may have.
agents_are_confined() {
  local profile agent status=0
  for profile in "${HELM_PROFILES[@]}"; do
    agent=$(chart --set agent.profile="$profile" | object DaemonSet inquest-agent) || return
    has_no_lines "$agent" 'host(Network|PID|IPC): true' 'path: "?/"?[,}]' 'automountServiceAccountToken: true' || status=1
    has_lines "$agent" 'readOnlyRootFilesystem: true' 'type: RuntimeDefault' 'automountServiceAccountToken: false' \
      'audience: inquest-aggregator' 'expirationSeconds: 3600' 'enableServiceLinks: false' || status=1
    if (($(grep -c 'serviceAccountToken:' <<<"$agent") != 1)); then echo "$profile: one token is enough" && status=1; fi
  done
  return "$status"
}

# writable AGENT: mount paths that are not read-only
writable() { awk '/mountPath:/ { path = $NF; getline; if ($0 !~ /readOnly: true/) print path }' <<<"$1" | paste -sd' '; }

profiles_have_no_more_than_they_say() {
  local minimal standard privileged device
  minimal=$(chart --set agent.profile=minimal | object DaemonSet inquest-agent) || return
  standard=$(chart | object DaemonSet inquest-agent) || return
  privileged=$(chart --set agent.profile=privileged | object DaemonSet inquest-agent) || return
  device=$(chart --set agent.profile=privileged --set agent.kmsg.resource=example.com/kmsg | object DaemonSet inquest-agent) || return
  local confined=('privileged: false' 'allowPrivilegeEscalation: false' 'drop: \[ALL\]')
  has_lines "$minimal" 'runAsUser: 65532' 'runAsNonRoot: true' "${confined[@]}" &&
    has_no_lines "$minimal" 'containerd' 'crio' 'docker' 'tracing' 'kmsg' 'add:' 'privileged: true' &&
    has_lines "$standard" 'runAsUser: 0' '/run/containerd' '/sys/kernel/tracing/instances"' "${confined[@]}" &&
    has_no_lines "$standard" 'kmsg' 'add:' 'privileged: true' &&
    has_lines "$privileged" 'privileged: true' '/dev/kmsg, type: CharDevice' &&
    has_lines "$device" 'add: \[SYSLOG\]' 'example.com/kmsg: 1' "${confined[@]}" &&
    has_no_lines "$device" 'privileged: true' '/dev/kmsg' || return
  [[ $(writable "$minimal") == /var/lib/inquest-agent ]] &&
    [[ $(writable "$standard") == '/var/lib/inquest-agent /host/tracing/instances' ]]
}

# What Pod Security demands at the level `restricted`: https://kubernetes.io/docs/concepts/security/pod-security-standards/
aggregator_is_restricted() {
  local pod
  pod=$(chart | object Deployment inquest-aggregator) || return
  has_lines "$pod" 'runAsNonRoot: true' 'runAsUser: 65532' 'type: RuntimeDefault' 'allowPrivilegeEscalation: false' \
    'drop: \[ALL\]' 'readOnlyRootFilesystem: true' 'type: Recreate' 'replicas: 1' &&
    has_no_lines "$pod" 'hostPath' 'add:' 'privileged: true' 'host(Network|PID|IPC)' 'hostPort'
}

# The key of the authority is for the aggregator alone: nodes may read every Secret that their pods mount.
agents_see_no_secret() {
  local agent made
  agent=$(chart | object DaemonSet inquest-agent) || return
  has_no_lines "$agent" 'secret:' 'secretName' 'ca.key' || return
  made=$(chart | object ConfigMap inquest-authority) || return
  has_lines "$made" 'BEGIN CERTIFICATE' && has_no_lines "$made" 'PRIVATE' || return
  made=$(chart --set authority.existingSecret=own,authority.existingConfigMap=public)
  has_no_lines "$made" '^  ca.key:' '^  ca.crt:'
}

# rows WHEN...: rules of rights.tsv, as lines "group resources verbs", for these conditions
rows() {
  awk -F'\t' -v when=" $* " 'NR > 1 && index(when, " " $6 " ") { print ($3 == "core" ? "" : $3) " " $4 " " $5 }' "$CHART/rights.tsv" | sort
}

# rules: those of the roles on standard input, as the same lines
rules() {
  awk '/^kind: / { role = $2 ~ /^(Cluster)?Role$/ }
    role && /apiGroups:/ { gsub(/.*\["|"\].*/, ""); group = $0 }
    role && /resources:/ { gsub(/.*\[|\].*|, /, " "); gsub(/^ | $/, ""); gsub(/ /, ","); resources = $0 }
    role && /verbs:/ { gsub(/.*\[|\].*|, /, " "); gsub(/^ | $/, ""); gsub(/ /, ","); print group " " resources " " $0 }' | sort
}

rights_are_those_of_the_table() {
  local all
  diff <(rows always rights.scaling rights.metrics) <(chart | rules) || return
  diff <(rows always) <(chart --set rights.scaling=false --set rights.metrics=false | rules) || return
  diff <(rows always rights.scaling rights.metrics logFallback.enabled writeBack.enabled) <(chart "${HELM_ALL[@]}" | rules) || return
  all=$(chart "${HELM_ALL[@]}" | rules)
  has_no_lines "$all" 'secrets' 'configmaps' 'nodes/proxy' 'exec' '\*' 'delete' 'escalate|bind|impersonate' || return
  # nobody else is bound, above all not the agents
  all=$(chart "${HELM_ALL[@]}" | grep -E '^  - \{kind: ServiceAccount') || return
  [[ $(sort -u <<<"$all") == '  - {kind: ServiceAccount, name: inquest-aggregator, namespace: inquest}' ]]
}

# In the handbook the same table, without the columns of the chart's own use.
rights_are_published() {
  local line
  while IFS= read -r line; do
    if ! grep -qxF -- "$line" docs/install.md; then
      echo "docs/install.md lacks: $line"
      return 1
    fi
  done < <(awk -F'\t' 'NR > 1 { gsub(/,/, ", ", $4); gsub(/,/, ", ", $5); when = $6 == "always" ? "always" : "`" $6 "`"
    print "| `" $3 "` | " $4 " | " $5 " | " $2 " | " when " | " $7 " |" }' "$CHART/rights.tsv")
}

ports_are_the_documented_ones() {
  local all
  all=$(chart "${HELM_ALL[@]}")
  [[ $(object Deployment inquest-aggregator <<<"$all" | grep -oE 'containerPort: [0-9]+' | grep -oE '[0-9]+' | paste -sd' ') == '7440 7441 7442' ]] &&
    [[ $(object DaemonSet inquest-agent <<<"$all" | grep -oE 'containerPort: [0-9]+' | grep -oE '[0-9]+') == 7443 ]] &&
    [[ $(object Service inquest-aggregator <<<"$all" | grep -oE 'port: [0-9]+' | grep -oE '[0-9]+' | paste -sd' ') == '7440 7441 7442' ]] &&
    [[ $(chart | object Service inquest-aggregator | grep -oE 'port: [0-9]+' | paste -sd' ') == 'port: 7440 port: 7442' ]]
}

agents_reach_the_aggregator_only() {
  local policy
  policy=$(chart | object NetworkPolicy inquest-agent) || return
  has_lines "$policy" 'policyTypes: \[Ingress, Egress\]' 'ingress: \[\]' &&
    [[ $(grep -oE 'port: [0-9]+' <<<"$policy" | paste -sd' ') == 'port: 7440 port: 53 port: 53' ]]
}

# A change of a key that is followed while the program runs restarts nothing; any other does.
only_what_needs_a_restart_restarts() {
  local kind what name change before
  for kind in DaemonSet/agent/log.level=debug Deployment/aggregator/engine.quiet_period=5m Deployment/aggregator/log.level=warn; do
    IFS=/ read -r what name change <<<"$kind"
    before=$(chart | object "$what" "inquest-$name" | grep 'inquest/restart:') || return
    [[ $(chart --set "$name.config.$change" | object "$what" "inquest-$name" | grep 'inquest/restart:') == "$before" ]] || return
    [[ $(chart --set "$name.config.log.format=json" | object "$what" "inquest-$name" | grep 'inquest/restart:') != "$before" ]] || return
  done
}

# Roles in these namespaces and the aggregator's own, and no node: the reduction that docs/install.md states.
namespaced_rights_are_namespaced() {
  local values=$logs/namespaced.yaml all
  printf 'rights: {namespaced: true}\naggregator: {config: {watch: {namespaces: [shop, bank]}}}\n' >"$values"
  all=$(chart -f "$values") || return
  [[ $(awk '/^kind: ClusterRole$/ { on = 1 } /^---$/ { on = 0 } on' <<<"$all" | grep -c 'verbs: \[create\]') == 2 ]] &&
    has_no_lines "$all" 'resources: \[nodes' 'namespace: kube-node-lease' &&
    [[ $(awk '/^kind: Role$/ { on = 1 } /^---$/ { on = 0 } on && /^  namespace:/ { print $2 }' <<<"$all" | paste -sd' ') == 'bank inquest shop' ]]
}

# config_of NAME KEY: the text under that key of the ConfigMap on standard input
config_of() { object ConfigMap "$1" | sed -n "/^  $2: |\$/,\$p" | sed -nE 's/^    //p'; }

# What the chart sets are keys that the programs know.
programs_take_their_configuration() {
  local profile cli=$target/debug/inquest folder
  folder=$(mktemp -d) || return
  for profile in "${HELM_PROFILES[@]}"; do
    chart --set agent.profile="$profile" | config_of inquest-agent agent.yaml >"$folder/agent.yaml"
    "$cli" config check "$folder/agent.yaml" || return
  done
  chart | config_of inquest-aggregator aggregator.yaml >"$folder/aggregator.yaml"
  "$cli" config check "$folder/aggregator.yaml" || return
  rm -rf "$folder"
}

# The same objects by way of kustomize, whatever the order.
kustomize_builds_the_same() {
  local profile folder status=0
  folder=$(mktemp -d) || return
  for profile in "${HELM_PROFILES[@]}"; do
    cp "deploy/kubernetes/$profile.yaml" "$folder/all.yaml"
    printf 'resources: [all.yaml]\n' >"$folder/kustomization.yaml"
    diff <("$target/tools/bin/kustomize" build "$folder") \
      <("$target/tools/bin/kustomize" build "deploy/kustomize/overlays/$profile") || status=1
  done
  rm -rf "$folder"
  return "$status"
}

suite_helm() {
  local failed=0
  check "helm is built" make_helm
  check "kustomize is built" make_kustomize
  check "the chart is valid in every profile" chart_is_valid
  check "the chart has the version of the programs" chart_has_the_version_of_the_programs
  check "wrong values are refused with the reason" wrong_values_are_refused
  check "what is committed is what the chart renders" deploy/render --check
  check "kustomize builds the same objects" kustomize_builds_the_same
  check "agents are confined in every profile" agents_are_confined
  check "profiles have no more than they say" profiles_have_no_more_than_they_say
  check "the aggregator fits the restricted Pod Security level" aggregator_is_restricted
  check "agents see no Secret" agents_see_no_secret
  check "rights are those of the table, and agents have none" rights_are_those_of_the_table
  check "rights are published in the handbook" rights_are_published
  check "ports are the documented ones" ports_are_the_documented_ones
  check "agents reach the aggregator only" agents_reach_the_aggregator_only
  check "only what needs a restart restarts" only_what_needs_a_restart_restarts
  check "rights for chosen namespaces reach no further" namespaced_rights_are_namespaced
  check "the programs take the configuration of the chart" programs_take_their_configuration
  return "$failed"
}
