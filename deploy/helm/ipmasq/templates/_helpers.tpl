{{- define "ipmasq.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "ipmasq.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "ipmasq.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "ipmasq.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "ipmasq.configMap" -}}
{{- if kindIs "invalid" .Values.config }}
{{- default (include "ipmasq.fullname" .) .Values.existingConfigMap }}
{{- else }}
{{- include "ipmasq.fullname" . }}
{{- end }}
{{- end }}

{{- define "ipmasq.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- /* Selectors are immutable: with ip-masq-agent's, the chart can replace an existing DaemonSet. */}}
{{- define "ipmasq.selector" -}}
k8s-app: {{ include "ipmasq.fullname" . }}
{{- end }}

{{- define "ipmasq.labels" -}}
{{ include "ipmasq.selector" . }}
app.kubernetes.io/name: {{ include "ipmasq.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* Alerts and dashboard expect this job. */}}
{{- define "ipmasq.relabelings" -}}
- targetLabel: job
  replacement: ip-masq-agent
- sourceLabels: [__meta_kubernetes_pod_node_name]
  targetLabel: instance
{{- end }}
