{{/*
The sidecar and what belongs to it, for charts that place it themselves: the same that injection puts into a pod, which a
test compares. Lists begin with a dash: `{{- include "backstay.sidecar" .Subcharts.backstay | nindent 8 }}`.
*/}}

{{/* Of `initContainers`, after those of `backstay.initContainers` and before your own: goes on running beside the agent. */}}
{{- define "backstay.sidecar" -}}
{{- include "backstay.checks" . -}}
- name: backstay
  {{- include "backstay.served" . | nindent 2 }}
  args: [run, /etc/backstay]
  restartPolicy: Always
{{- end -}}

{{/* Of `containers`, the first: a plain container, where the other is not known. The agent starts after it. */}}
{{- define "backstay.container" -}}
{{- include "backstay.checks" . -}}
- name: backstay
  {{- include "backstay.served" . | nindent 2 }}
  args: [run, /etc/backstay, --linger, "5"]
  lifecycle: {postStart: {exec: {command: [backstay, health, {{ include "backstay.healthAt" . }}--ready, --wait, "60"]}}}
{{- end -}}

{{- define "backstay.healthAt" -}}
{{- $at := include "backstay.metricsAt" . -}}
{{- if ne $at "127.0.0.1:9464" -}}--at, {{ quote $at }}, {{ end -}}
{{- end -}}

{{/* What has to run before. */}}
{{- define "backstay.initContainers" -}}
{{- include "backstay.checks" . -}}
{{- include "backstay.initContainers.entries" . | trim -}}
{{- end -}}

{{- define "backstay.initContainers.entries" -}}
{{- $roots := eq (include "backstay.copiesRoots" .) "true" -}}
{{- $trust := include "backstay.trustDir" . -}}
{{- if or $roots .Values.shims }}
- name: backstay-prepare
  {{- include "backstay.ours" . | nindent 2 }}
  args: [prepare, /etc/backstay
    {{- if $roots }}, --tools, /var/run/backstay/tools{{ end }}
    {{- if .Values.shims }}, --shims, {{ include "backstay.shimsDir" . | quote }}{{ end }}]
  {{- include "backstay.environment" . | nindent 2 }}
  volumeMounts:
    {{- include "backstay.read" . | nindent 4 }}
    {{- if $roots }}
    - {name: backstay-tools, mountPath: /var/run/backstay/tools}
    {{- end }}
    - {name: backstay-trust, mountPath: {{ $trust | quote }}}
{{- end }}
{{- if $roots }}
{{- range $number, $agent := .Values.agentImages }}
- name: backstay-roots-{{ add1 $number }}
  image: {{ $agent.image | quote }}
  {{- with $agent.pullPolicy }}
  imagePullPolicy: {{ . }}
  {{- end }}
  # It never fails, and needs nothing of the image but its file system.
  command: [/var/run/backstay/tools/busybox, sh, -c, {{ include "backstay.copyRoots" (printf "%s/roots/%d.pem" $trust (add1 $number)) | quote }}]
  resources: {{ include "backstay.resources" $ }}
  # The agent's own, so that whatever admits the agent admits it, less every right that copying a file does not take.
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
    {{- with omit ($agent.securityContext | default dict) "allowPrivilegeEscalation" "readOnlyRootFilesystem" "capabilities" "privileged" "procMount" }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumeMounts:
    - {name: backstay-tools, mountPath: /var/run/backstay/tools, readOnly: true}
    - {name: backstay-trust, mountPath: {{ $trust | quote }}}
    {{- range $agent.volumeMounts }}
    - {{ merge (dict "readOnly" true) . | toJson }}
    {{- end }}
{{- end }}
{{- end }}
{{- if and (eq .Values.sidecar "container") (eq (include "backstay.intercepts" .) "true") }}
- name: backstay-ca
  {{- include "backstay.ours" . | nindent 2 }}
  args: [ca, /etc/backstay]
  {{- include "backstay.environment" . | nindent 2 }}
  volumeMounts:
    {{- include "backstay.read" . | nindent 4 }}
    - {name: backstay-state, mountPath: /var/lib/backstay}
    - {name: backstay-ca, mountPath: {{ include "backstay.caDir" . | quote }}}
    - {name: backstay-trust, mountPath: {{ $trust | quote }}}
{{- end }}
{{- if ne .Values.capture "env" }}
- name: backstay-redirect
  {{- omit (include "backstay.ours" . | fromYaml) "securityContext" | toYaml | nindent 2 }}
  args: [redirect, --uid, "7070", --port, {{ include "backstay.transparentPort" . | quote }}
    {{- range .Values.exclude.ports }}, {{ printf "--exclude-port=%v" (int .) | quote }}{{ end }}
    {{- range .Values.exclude.networks }}, {{ printf "--exclude-network=%s" . | quote }}{{ end }}, --apply]
  # Root without a right but the one to set the rules of this pod's network.
  securityContext:
    {{- $root := dict "runAsUser" 0 "runAsGroup" 0 "runAsNonRoot" false "capabilities" (dict "drop" (list "ALL") "add" (list "NET_ADMIN")) }}
    {{- mergeOverwrite (include "backstay.securityContext" . | fromYaml) $root | toYaml | nindent 4 }}
{{- end }}
{{- end -}}

{{- define "backstay.copiesRoots" -}}
{{- and (eq (include "backstay.intercepts" .) "true") (eq .Values.roots "agent") (not (empty .Values.agentImages)) -}}
{{- end -}}

{{/* A shell's words; `.` is the file to copy to. The list is Go's, of where systems keep their roots. */}}
{{- define "backstay.copyRoots" -}}
{{- $files := list "/etc/ssl/certs/ca-certificates.crt" "/etc/pki/tls/certs/ca-bundle.crt" "/etc/ssl/ca-bundle.pem" "/etc/pki/tls/cacert.pem" "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem" "/etc/ssl/cert.pem" -}}
{{- $to := regexMatch "[^A-Za-z0-9_@%+=:,./-]" . | ternary (printf "'%s'" (replace "'" "'\"'\"'" .)) . -}}
b=/var/run/backstay/tools/busybox; to={{ $to }}; for from in {{ join " " $files }}; do {{/**/ -}}
if [ -s "$from" ]; then $b cp -L "$from" "$to"; $b chmod 0644 "$to"; break; fi; done; exit 0
{{- end -}}

{{/* Of every container of our image. */}}
{{- define "backstay.ours" -}}
image: {{ include "backstay.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
resources: {{ include "backstay.resources" . }}
securityContext: {{- include "backstay.securityContext" . | nindent 2 }}
{{- end -}}

{{/* In JSON. */}}
{{- define "backstay.resources" -}}
{{- $found := dict -}}
{{- range $kind, $amounts := .Values.resources -}}
{{- $given := dict -}}
{{- range $of, $amount := $amounts -}}
{{- with include "backstay.quantity" $amount -}}{{- $_ := set $given $of . -}}{{- end -}}
{{- end -}}
{{- if $given -}}{{- $_ := set $found $kind $given -}}{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Of what reads the configuration, which may refer to variables and secrets. */}}
{{- define "backstay.environment" -}}
{{- with .Values.env }}
env: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.envFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "backstay.read" -}}
# The folder, not the file: a changed ConfigMap arrives as a new symlink in it, and is reloaded.
- {name: backstay-config, mountPath: /etc/backstay, readOnly: true}
{{- if .Values.secret.existing }}
- {name: backstay-secret, mountPath: /secrets, readOnly: true}
{{- end }}
{{- with .Values.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Of the sidecar in either form. */}}
{{- define "backstay.served" -}}
{{ include "backstay.ours" . }}
{{- include "backstay.environment" . }}
ports:
  - {name: bs-agent, containerPort: {{ include "backstay.agentPort" . }}}
  - {name: bs-metrics, containerPort: {{ include "backstay.metricsPort" . }}}
startupProbe: {httpGet: {path: /readyz, port: bs-metrics}, periodSeconds: 1, failureThreshold: 60}
livenessProbe: {httpGet: {path: /healthz, port: bs-metrics}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 3}
readinessProbe: {httpGet: {path: /readyz, port: bs-metrics}, periodSeconds: 5, timeoutSeconds: 3}
volumeMounts:
  {{- include "backstay.read" . | nindent 2 }}
  - {name: backstay-state, mountPath: /var/lib/backstay}
  - {name: backstay-tmp, mountPath: /tmp}
  {{- if eq (include "backstay.intercepts" .) "true" }}
  - {name: backstay-ca, mountPath: {{ include "backstay.caDir" . | quote }}}
  {{- end }}
  {{- if eq (include "backstay.hasTrust" .) "true" }}
  - {name: backstay-trust, mountPath: {{ include "backstay.trustDir" . | quote }}}
  {{- end }}
{{- end -}}

{{/* "true" if there is something for the agent to read. */}}
{{- define "backstay.hasTrust" -}}
{{- or .Values.shims (eq (include "backstay.intercepts" .) "true") -}}
{{- end -}}

{{/* Of the agent's container: what it has to trust, and never the key. May be empty. */}}
{{- define "backstay.volumeMounts" -}}
{{- if eq (include "backstay.hasTrust" .) "true" -}}
- {name: backstay-trust, mountPath: {{ include "backstay.trustDir" . | quote }}, readOnly: true}
{{- end -}}
{{- end -}}

{{/* Of the pod. */}}
{{- define "backstay.volumes" -}}
- name: backstay-config
  configMap: {name: {{ include "backstay.configMap" . }}}
- name: backstay-state
  emptyDir: {}
- name: backstay-tmp
  emptyDir: {sizeLimit: 16Mi}
{{- if eq (include "backstay.intercepts" .) "true" }}
- name: backstay-ca
  emptyDir: {medium: Memory, sizeLimit: 1Mi}  # the key of the authority is never on a disk
{{- end }}
{{- if eq (include "backstay.hasTrust" .) "true" }}
- name: backstay-trust
  emptyDir: {}
{{- end }}
{{- if eq (include "backstay.copiesRoots" .) "true" }}
- name: backstay-tools
  emptyDir: {sizeLimit: 16Mi}
{{- end }}
{{- with .Values.secret.existing }}
- name: backstay-secret
  secret: {secretName: {{ . }}}
{{- end }}
{{- end -}}
