{{/* Names, labels and addresses. */}}

{{- define "inquest.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "inquest.agent" -}}{{ include "inquest.fullname" . }}-agent{{- end -}}
{{- define "inquest.aggregator" -}}{{ include "inquest.fullname" . }}-aggregator{{- end -}}
{{- define "inquest.authority" -}}{{ include "inquest.fullname" . }}-authority{{- end -}}
{{/* Objects without a namespace carry it in their name, so that two installations do not share them. */}}
{{- define "inquest.clusterName" -}}{{ .Release.Namespace }}-{{ include "inquest.aggregator" . }}{{- end -}}
{{- define "inquest.agentPriority" -}}
{{- if .Values.agent.priorityClass.create -}}
{{- .Release.Namespace }}-{{ include "inquest.agent" . }}
{{- else -}}
{{- .Values.agent.priorityClass.name }}
{{- end -}}
{{- end -}}

{{/* (dict "root" . "component" "agent"): what selectors use, for ever */}}
{{- define "inquest.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "inquest.labels" -}}
{{ include "inquest.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end -}}

{{/* (dict "root" . "image" .Values.agent.image) */}}
{{- define "inquest.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end -}}
{{- end -}}

{{/* The port at the end of a listen address. */}}
{{- define "inquest.port" -}}{{ regexFind "[0-9]+$" . }}{{- end -}}
