{{/*
Names, labels, image.

Every template of this chart takes the chart's own scope: `.` here, `.Subcharts.backstay` in a chart that depends on it.
*/}}

{{- define "backstay.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for what is put behind it. */}}
{{- define "backstay.fullname" -}}
{{- $name := include "backstay.name" . -}}
{{- $both := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $both | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{- define "backstay.selectorLabels" -}}
app.kubernetes.io/name: {{ include "backstay.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "backstay.labels" -}}
{{ include "backstay.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: backstay
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "backstay.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Of every container of ours but the one that sets the rules of redirection. */}}
{{- define "backstay.securityContext" -}}
runAsUser: 7070
runAsGroup: 7070
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Of pods with a sidecar that a chart places: the PodMonitor selects by it. Injection sets the same. */}}
{{- define "backstay.podLabels" -}}
backstay.dev/injected: "true"
{{- end -}}

{{/* Of pods with a sidecar that a chart places. The injector leaves such a pod alone. */}}
{{- define "backstay.podAnnotations" -}}
backstay.dev/inject: "false"
{{- $volumes := list -}}
{{- range include "backstay.volumes" . | fromYamlArray -}}
{{- if hasKey . "emptyDir" -}}{{- $volumes = append $volumes .name -}}{{- end -}}
{{- end }}
# Else the cluster's autoscaler would leave the pod's node alone.
cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes: {{ join "," $volumes | quote }}
{{- if .Values.scrapeAnnotations }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ include "backstay.metricsPort" . | quote }}
prometheus.io/path: /metrics
{{- end }}
{{- end -}}

{{/* A quantity as text; Helm holds numbers as floats. Nothing, if it is not set. */}}
{{- define "backstay.quantity" -}}
{{- if kindIs "string" . -}}
{{- . -}}
{{- else if not (kindIs "invalid" .) -}}
{{- eq (float64 .) (floor .) | ternary (int64 . | toString) (toString .) -}}
{{- end -}}
{{- end -}}
