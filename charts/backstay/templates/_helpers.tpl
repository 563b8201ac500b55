{{/* Names and labels, then the sidecar itself: `backstay.container` and `backstay.volumes` for any pod. */}}

{{- define "backstay.name" -}}
{{- printf "%s-backstay" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "backstay.labels" -}}
app.kubernetes.io/name: backstay
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "backstay.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "backstay.agentPort" -}}
{{- .Values.config.listen.agent | splitList ":" | last | int -}}
{{- end -}}

{{- define "backstay.metricsPort" -}}
{{- .Values.config.listen.metrics | splitList ":" | last | int -}}
{{- end -}}

{{- define "backstay.container" -}}
name: backstay
image: {{ include "backstay.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: ["run", "/etc/backstay"]
ports:
  - {name: agent, containerPort: {{ include "backstay.agentPort" . }}}
  - {name: metrics, containerPort: {{ include "backstay.metricsPort" . }}}
{{- with .Values.env }}
env: {{- toYaml . | nindent 2 }}
{{- end }}
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  failureThreshold: 3
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
resources: {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  # The folder, not the file: a changed ConfigMap arrives as a new symlink in it, and is reloaded.
  - {name: backstay-config, mountPath: /etc/backstay, readOnly: true}
  # The token file of the admin API, when the configuration names none.
  - {name: backstay-tmp, mountPath: /tmp}
{{- with .Values.volumeMounts }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "backstay.volumes" -}}
- name: backstay-config
  configMap:
    name: {{ include "backstay.name" . }}
- name: backstay-tmp
  emptyDir: {sizeLimit: 16Mi}
{{- end -}}
