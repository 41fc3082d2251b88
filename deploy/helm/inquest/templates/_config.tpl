{{/* The two configuration files: what the chart must set, with the values merged over it. */}}

{{- define "inquest.agent.config" -}}
{{- $minimal := eq .Values.agent.profile "minimal" -}}
{{- $trace := and .Values.agent.trace.enabled (not $minimal) -}}
{{- $trace_source := dict "enabled" $trace -}}
{{- if $trace -}}{{- $_ := set $trace_source "path" "/host/tracing" -}}{{- end -}}
{{- $base := dict
  "aggregator" (dict
    "address" (printf "%s.%s.svc:7440" (include "inquest.aggregator" .) .Release.Namespace)
    "ca_file" "/var/run/secrets/inquest/ca.crt")
  "enrolment" (dict "token_file" "/var/run/secrets/inquest/token")
  "state_dir" "/var/lib/inquest-agent"
  "sources" (dict
    "kmsg" (dict "enabled" (eq .Values.agent.profile "privileged"))
    "cgroup" (dict "root" "/host/sys/fs/cgroup")
    "trace" $trace_source)
  "host" (dict "proc" "/host/proc")
  "listen" (dict "status" "0.0.0.0:7443") -}}
{{- toYaml (mergeOverwrite $base (deepCopy .Values.agent.config)) -}}
{{- end -}}

{{- define "inquest.aggregator.config" -}}
{{- $name := include "inquest.aggregator" . -}}
{{- $own := list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace)
  (printf "%s.%s.svc.cluster.local" $name .Release.Namespace) "localhost" -}}
{{- $agent := include "inquest.agent" . -}}
{{- $base := dict
  "data_dir" "/var/lib/inquest"
  "tls" (dict "ca_dir" "/var/lib/inquest-authority" "names" (concat $own .Values.aggregator.service.extraNames | uniq))
  "enrolment" (dict "tokens" (dict
    "audience" "inquest-aggregator"
    "service_account" (printf "%s/%s" .Release.Namespace $agent)
    "daemonset" $agent))
  "kubernetes" (dict "enabled" true)
  "listen" (dict "ingest" "0.0.0.0:7440" "api" "127.0.0.1:7441" "status" "0.0.0.0:7442") -}}
{{- if .Values.logFallback.enabled -}}{{- $_ := set $base "log_fallback" (dict "enabled" true) -}}{{- end -}}
{{- toYaml (mergeOverwrite $base (deepCopy .Values.aggregator.config)) -}}
{{- end -}}

{{/* Changes with what needs a restart, and not with what the programs take over while they run. */}}
{{- define "inquest.agent.restart" -}}
{{- include "inquest.restart" (omit (include "inquest.agent.config" . | fromYaml) "redaction") -}}
{{- end -}}

{{- define "inquest.aggregator.restart" -}}
{{- include "inquest.restart" (omit (include "inquest.aggregator.config" . | fromYaml) "route" "receivers" "engine" "retention") -}}
{{- end -}}

{{- define "inquest.restart" -}}
{{- $log := omit (default dict .log) "level" -}}
{{- set (deepCopy .) "log" $log | toJson | sha256sum -}}
{{- end -}}
