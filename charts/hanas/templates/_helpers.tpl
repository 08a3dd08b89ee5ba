{{/* The name of the operator's objects. */}}
{{- define "hanas.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains "hanas" .Release.Name -}}
{{- printf "%s-operator" (.Release.Name | trunc 41 | trimSuffix "-") -}}
{{- else -}}
{{- printf "%s-hanas-operator" (.Release.Name | trunc 35 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "hanas.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "hanas.fullname" .) -}}
{{- end -}}

{{/* The operator's priority class; with its namespace in the name, since the class has none. Empty: none. */}}
{{- define "hanas.priorityClassName" -}}
{{- if .Values.operator.priorityClassName -}}
{{- .Values.operator.priorityClassName -}}
{{- else if .Values.operator.priorityClass.create -}}
{{- printf "%s-%s" (include "hanas.fullname" .) .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{- define "hanas.selectorLabels" -}}
app.kubernetes.io/name: hanas-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "hanas.labels" -}}
{{ include "hanas.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: hanas
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image's name, of a dict with the keys root and image. */}}
{{- define "hanas.image" -}}
{{- with .root.Values.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{- define "hanas.testNamespace" -}}
{{- $watched := .Values.operator.watchNamespaces -}}
{{- if or (empty $watched) (has .Release.Namespace $watched) }}{{ .Release.Namespace }}{{ else }}{{ first $watched }}{{ end -}}
{{- end -}}

{{- define "hanas.testCluster" -}}
{{- .Values.tests.cluster | default (printf "%s-test" (.Release.Name | trunc 30 | trimSuffix "-")) -}}
{{- end -}}

{{/* The rules for objects without a namespace. */}}
{{- define "hanas.clusterRules" -}}
{{- if .Values.rbac.storageClasses }}
{{ .Files.Get "files/storage-class-rules.yaml" | trim }}
{{- end }}
{{- if .Values.rbac.nodes }}
{{ .Files.Get "files/node-rules.yaml" | trim }}
{{- end }}
{{- end -}}
