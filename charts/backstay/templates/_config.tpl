{{/* What the chart reads from `config`: ports, folders, times; and what has to be refused, since no JSON Schema can. */}}

{{- define "backstay.configMap" -}}
{{- .Values.configMap.existing | default (include "backstay.fullname" .) -}}
{{- end -}}

{{/* Called by whatever gives the configuration to a container. */}}
{{- define "backstay.checks" -}}
{{- $ := . -}}
{{- if not (or .Values.configMap.create .Values.configMap.existing) -}}
{{- fail "configMap.create is false and configMap.existing is empty: name a ConfigMap there, or have one made" -}}
{{- end -}}
{{- if not (or .Values.configMap.existing .Values.config.apis) -}}
{{- fail "config.apis is empty: name the APIs to protect, such as --set config.apis.github.url=https://api.github.com; or name a ConfigMap of yours in configMap.existing" -}}
{{- end -}}
{{- range $name := list "agent" "metrics" "transparent" -}}
{{- $needed := or (ne $name "transparent") (ne $.Values.capture "env") -}}
{{- $address := get $.Values.config.listen $name | default "off" -}}
{{- if and $needed (eq $address "off") -}}
{{- fail (printf "config.listen.%s is off: %s" $name (get (dict "metrics" "probes and Prometheus ask there; write 0.0.0.0:9464" "transparent" (printf "capture: %s redirects connections there; write 127.0.0.1:7071" $.Values.capture) "agent" "agents call there; write 127.0.0.1:7070") $name)) -}}
{{- end -}}
{{- if and $needed (contains "${" $address) -}}
{{- fail (printf "config.listen.%s is %s: made of what only the pod knows, and ports have to be known here; write it out" $name $address) -}}
{{- end -}}
{{- if and $needed (hasSuffix ":0" $address) -}}
{{- fail (printf "config.listen.%s has port 0, which is any free one: name a port that a pod can be told" $name) -}}
{{- end -}}
{{- end -}}
{{- $metrics := toString .Values.config.listen.metrics -}}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\])" $metrics -}}
{{- fail (printf "config.listen.metrics is %s: probes and Prometheus come from outside the pod; write 0.0.0.0:%s" $metrics (splitList ":" $metrics | last)) -}}
{{- end -}}
{{- if eq (include "backstay.intercepts" .) "true" -}}
{{- include "backstay.checkFolder" (dict "key" "ca_dir" "path" (include "backstay.caDir" .)) -}}
{{- include "backstay.checkFolder" (dict "key" "trust_dir" "path" (include "backstay.trustDir" .)) -}}
{{- end -}}
{{- $ledger := dig "ledger" "off" (.Values.config.stores | default dict) | toString | trimPrefix "sqlite:" -}}
{{- $inState := regexMatch "^/(var/lib/backstay|tmp)/" $ledger -}}
{{- if and .Values.injector.enabled (hasPrefix "/" $ledger) (not $inState) -}}
{{- fail (printf "config.stores.ledger is %s, where an injected Backstay may not write; put it below /var/lib/backstay" $ledger) -}}
{{- end -}}
{{- end -}}

{{/* key, path: a place that gets a volume of its own, in every pod. */}}
{{- define "backstay.checkFolder" -}}
{{- $taken := list "/etc/backstay" "/secrets" "/var/run/backstay/tools" "/opt/backstay" "/usr/lib/backstay" -}}
{{- $wrong := or (contains "${" .path) (contains ":" .path) (has .path (list "/var/lib/backstay" "/tmp" "/")) -}}
{{- range $taken -}}
{{- if or (hasPrefix (printf "%s/" .) (printf "%s/" $.path)) (hasPrefix (printf "%s/" $.path) .) -}}{{- $wrong = true -}}{{- end -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "config.tls_intercept.%s is %s, where a pod cannot have a volume for it: leave it away, or name a folder that nothing else has" .key .path) -}}
{{- end -}}
{{- end -}}

{{- define "backstay.agentPort" -}}
{{- .Values.config.listen.agent | toString | splitList ":" | last -}}
{{- end -}}

{{- define "backstay.metricsPort" -}}
{{- .Values.config.listen.metrics | toString | splitList ":" | last -}}
{{- end -}}

{{/* Where listen.metrics is asked from within the pod. */}}
{{- define "backstay.metricsAt" -}}
{{- $host := include "backstay.hostInPod" .Values.config.listen.metrics -}}
{{- contains ":" $host | ternary (printf "[%s]" $host) $host }}:{{ include "backstay.metricsPort" . -}}
{{- end -}}

{{/* `.` is where something listens: on all of one family, an address of which is loopback. */}}
{{- define "backstay.hostInPod" -}}
{{- $host := regexReplaceAll ":[^:]*$" (toString .) "" | trimAll "[]" -}}
{{- get (dict "0.0.0.0" "127.0.0.1" "::" "::1") $host | default $host -}}
{{- end -}}

{{- define "backstay.transparentPort" -}}
{{- .Values.config.listen.transparent | toString | splitList ":" | last -}}
{{- end -}}

{{/* "true" if TLS is intercepted. */}}
{{- define "backstay.intercepts" -}}
{{- kindIs "map" .Values.config.tls_intercept -}}
{{- end -}}

{{- define "backstay.caDir" -}}
{{- dig "ca_dir" "/var/lib/backstay/ca" (kindIs "map" .Values.config.tls_intercept | ternary .Values.config.tls_intercept dict) -}}
{{- end -}}

{{- define "backstay.trustDir" -}}
{{- dig "trust_dir" "/var/run/backstay/trust" (kindIs "map" .Values.config.tls_intercept | ternary .Values.config.tls_intercept dict) -}}
{{- end -}}

{{- define "backstay.shimsDir" -}}
{{- include "backstay.trustDir" . -}}/shims
{{- end -}}

{{/* drain.timeout in whole seconds, rounded up; "" if it is not known here. */}}
{{- define "backstay.drainSeconds" -}}
{{- $drain := dig "timeout" "30s" (.Values.config.drain | default dict) | toString -}}
{{- if not (contains "${" $drain) -}}
{{- $milliseconds := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ms|h|m|s)" $drain -1 -}}
{{- $unit := regexReplaceAll "^[0-9.]+" . "" -}}
{{- $each := get (dict "h" 3600000.0 "m" 60000.0 "s" 1000.0 "ms" 1.0) $unit -}}
{{- $milliseconds = addf $milliseconds (mulf (trimSuffix $unit . | float64) $each) -}}
{{- end -}}
{{- divf $milliseconds 1000.0 | ceil | int64 -}}
{{- end -}}
{{- end -}}

{{/*
Of the pod. A native sidecar ends after the agent: its time comes on top of the agent's (30 s, as Kubernetes has it). A
plain container ends beside it. A JSON Schema cannot compare one value with another: what is too short is refused here.
*/}}
{{- define "backstay.terminationGracePeriodSeconds" -}}
{{- $given := .Values.terminationGracePeriodSeconds -}}
{{- $drain := include "backstay.drainSeconds" . -}}
{{- if and (not $drain) (not $given) -}}
{{- fail "config.drain.timeout is not known before Backstay runs: say how long a pod may take to end in terminationGracePeriodSeconds" -}}
{{- end -}}
{{- $needed := add ($drain | int64) 5 -}}
{{- if and $drain $given (lt ($given | int64) $needed) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d: too short for drain.timeout (%d s), after which calls are cut; write %d or more, or nothing" ($given | int64) ($drain | int64) $needed) -}}
{{- end -}}
{{- if $given -}}
{{- $given | int64 -}}
{{- else if eq .Values.sidecar "native" -}}
{{- add 30 $needed -}}
{{- else -}}
{{- max 30 $needed -}}
{{- end -}}
{{- end -}}
