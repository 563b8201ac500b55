{{/* Names of the injector, and its certificate. */}}

{{- define "backstay.injector.name" -}}
{{- include "backstay.fullname" . }}-injector
{{- end -}}

{{- define "backstay.injector.labels" -}}
{{ include "backstay.labels" . }}
app.kubernetes.io/component: injector
{{- end -}}

{{- define "backstay.injector.selectorLabels" -}}
{{ include "backstay.selectorLabels" . }}
app.kubernetes.io/component: injector
{{- end -}}

{{- define "backstay.injector.serviceAccountName" -}}
{{- .Values.injector.serviceAccount.name | default (.Values.injector.serviceAccount.create | ternary (include "backstay.injector.name" .) "default") -}}
{{- end -}}

{{- define "backstay.injector.secretName" -}}
{{- $certificate := .Values.injector.certificate -}}
{{- if ne $certificate.provider "existing" -}}
{{- include "backstay.injector.name" . }}-tls
{{- else if $certificate.existing.secret -}}
{{- $certificate.existing.secret -}}
{{- else -}}
{{- fail "injector.certificate.provider is existing: name the Secret (tls.crt, tls.key) in injector.certificate.existing.secret" -}}
{{- end -}}
{{- end -}}

{{/* The names under which the API server calls it. */}}
{{- define "backstay.injector.hosts" -}}
{{- $name := printf "%s.%s" (include "backstay.injector.name" .) .Release.Namespace -}}
- {{ $name }}.svc
- {{ $name }}.svc.cluster.local
- {{ $name }}
{{- end -}}

{{/*
The certificate that Helm makes, as JSON: ca, crt, key, in base64. Once made, it is kept: the Secret of the release that is
there is asked first. A second call of this would make a second one: `injector.yaml` calls it for both who need it.
*/}}
{{- define "backstay.injector.certificate" -}}
{{- $there := (lookup "v1" "Secret" .Release.Namespace (include "backstay.injector.secretName" .)).data | default dict -}}
{{- if and (get $there "ca.crt") (get $there "tls.crt") (get $there "tls.key") -}}
{{- dict "ca" (get $there "ca.crt") "crt" (get $there "tls.crt") "key" (get $there "tls.key") | toJson -}}
{{- else -}}
{{- $days := .Values.injector.certificate.days | int -}}
{{- $hosts := include "backstay.injector.hosts" . | fromYamlArray -}}
{{- $ca := genCA (printf "%s authority" (include "backstay.injector.name" .)) $days -}}
{{- $made := genSignedCert (first $hosts | trunc 63) nil $hosts $days $ca -}}
{{- dict "ca" (b64enc $ca.Cert) "crt" (b64enc $made.Cert) "key" (b64enc $made.Key) | toJson -}}
{{- end -}}
{{- end -}}

{{/* settings.yaml: the fields of Installation (proxy/kubernetes/model.py). */}}
{{- define "backstay.injector.settings" -}}
{{- include "backstay.injector.checks" . -}}
{{- $rbac := .Values.injector.rbac -}}
{{- $secrets := list -}}
{{- range .Values.imagePullSecrets -}}{{- $secrets = append $secrets .name -}}{{- end -}}
image: {{ include "backstay.image" . | quote }}
pull_policy: {{ .Values.image.pullPolicy }}
pull_secrets: {{ toJson $secrets }}
uid: 7070
capture: {{ .Values.capture }}
sidecar: {{ .Values.sidecar }}
shims: {{ .Values.shims }}
roots: {{ .Values.roots }}
resources:
  {{- range $kind, $field := dict "requests" "request" "limits" "limit" }}
  {{- range $of := list "cpu" "memory" }}
  {{ $of }}_{{ $field }}: {{ include "backstay.quantity" (dig $kind $of nil ($.Values.resources | default dict)) | default nil | toJson }}
  {{- end }}
  {{- end }}
scrape_annotations: {{ .Values.scrapeAnnotations }}
exclude_ports: {{ .Values.exclude.ports | toJson }}
exclude_networks: {{ .Values.exclude.networks | toJson }}
config_map_namespaces: {{ get (dict "cluster" nil "namespaces" $rbac.namespaces "none" list) $rbac.scope | toJson }}
{{- end -}}

{{/* What would keep it from starting: how long pods take has to be known, and whoever may read pods reads what they carry. */}}
{{- define "backstay.injector.checks" -}}
{{- if not .Values.configMap.existing -}}
{{- $config := .Values.config -}}
{{- $drain := dig "timeout" "" ($config.drain | default dict) | toString -}}
{{- if regexMatch "\\$\\{(env:[A-Za-z0-9_]+|file:[^}]*)\\}" $drain -}}
{{- fail (printf "config.drain.timeout is %s: how long a pod takes to end has to be known when it is made; give it a default: ${env:NAME:-30s}" $drain) -}}
{{- end -}}
{{- include "backstay.injector.refersTo" (list "admin_token" $config.admin_token) -}}
{{- include "backstay.injector.refersInUrl" (list "stores.shared" (dig "shared" "" ($config.stores | default dict))) -}}
{{- include "backstay.injector.refersInUrl" (list "upstream_proxy" $config.upstream_proxy) -}}
{{- range $name, $api := $config.apis -}}
{{- include "backstay.injector.refersInUrl" (list (printf "apis.%s.upstream_proxy" $name) $api.upstream_proxy) -}}
{{- range $header, $credential := $api.credentials -}}
{{- include "backstay.injector.refersTo" (list (printf "apis.%s.credentials.%s.value" $name $header) $credential.value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A key and its value, which is a secret. */}}
{{- define "backstay.injector.refersTo" -}}
{{- $value := last . | default "" | toString -}}
{{- if and $value (not (contains "${" $value)) -}}
{{- include "backstay.injector.writtenOut" (first .) -}}
{{- end -}}
{{- end -}}

{{/* A key and its value, a url which may have a password. */}}
{{- define "backstay.injector.refersInUrl" -}}
{{- if regexMatch "^[^$]*@" (last . | default "" | toString) -}}
{{- include "backstay.injector.writtenOut" (first .) -}}
{{- end -}}
{{- end -}}

{{- define "backstay.injector.writtenOut" -}}
{{- fail (printf "config.%s is written out, and whoever may read pods reads what they carry: write ${file:/secrets/KEY} or ${env:NAME}" .) -}}
{{- end -}}

{{/* What both webhooks have in common: scope, path, bundle. */}}
{{- define "backstay.injector.hook" -}}
{{- $injector := .scope.Values.injector -}}
admissionReviewVersions: [v1]
clientConfig:
  service:
    name: {{ include "backstay.injector.name" .scope }}
    namespace: {{ .scope.Release.Namespace }}
    port: 443
    path: {{ .path }}
  {{- with .bundle }}
  caBundle: {{ . }}
  {{- end }}
failurePolicy: {{ $injector.failurePolicy }}
matchPolicy: {{ $injector.matchPolicy }}
reinvocationPolicy: {{ $injector.reinvocationPolicy }}
sideEffects: None
timeoutSeconds: {{ $injector.timeoutSeconds }}
rules:
  - apiGroups: [""]
    apiVersions: [v1]
    resources: [pods]
    operations: [CREATE]
    scope: Namespaced
{{- end -}}

{{/* A namespaceSelector whose matchExpressions may be gone on with. */}}
{{- define "backstay.injector.namespaces" -}}
{{- $namespaces := .Values.injector.namespaces -}}
{{- $excluded := $namespaces.exclude -}}
{{- if $namespaces.excludeRelease -}}{{- $excluded = append $excluded .Release.Namespace | uniq -}}{{- end -}}
{{- with $namespaces.selector.matchLabels -}}
matchLabels: {{- toYaml . | nindent 2 }}
{{ end -}}
matchExpressions:
{{- with $excluded }}
  - {key: kubernetes.io/metadata.name, operator: NotIn, values: {{ toJson . }}}
{{- end }}
{{- with $namespaces.selector.matchExpressions }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
