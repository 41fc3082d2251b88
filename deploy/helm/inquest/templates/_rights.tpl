{{/* Rules out of rights.tsv. (dict "root" . "scopes" (list "watched")): the rows of these scopes whose condition holds */}}

{{- define "inquest.rules" -}}
{{- $root := .root -}}
{{- $scopes := .scopes -}}
{{- range $line := rest ($root.Files.Lines "rights.tsv") }}
{{- if $line }}
{{- $row := splitList "\t" $line }}
{{- $when := index $row 5 }}
{{- $holds := eq $when "always" }}
{{- if not $holds }}
{{- $path := splitList "." $when }}
{{- $holds = dig (first $path) (last $path) false $root.Values.AsMap }}
{{- end }}
{{- if and $holds (has (index $row 1) $scopes) }}
# {{ index $row 6 }}
- apiGroups: [{{ index $row 2 | replace "core" "" | quote }}]
  resources: [{{ index $row 3 | replace "," ", " }}]
  verbs: [{{ index $row 4 | replace "," ", " }}]
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
