{{/* The agent's variables: what `backstay env CONFIG --format kubernetes` prints. A test compares them. */}}

{{- define "backstay.env" -}}
{{- include "backstay.checks" . -}}
{{- include "backstay.env.entries" . | trim -}}
{{- end -}}

{{- define "backstay.env.entries" -}}
{{- $trust := include "backstay.trustDir" . -}}
{{- $intercepts := eq (include "backstay.intercepts" .) "true" -}}
{{- $java := list -}}
{{- if ne .Values.capture "transparent" -}}
{{- $port := include "backstay.agentPort" . -}}
{{- $host := include "backstay.agentHost" . -}}
{{- $url := printf "http://%s:%s" (contains ":" $host | ternary (printf "[%s]" $host) $host) $port -}}
{{- range list "HTTP_PROXY" "http_proxy" "HTTPS_PROXY" "https_proxy" "ALL_PROXY" "all_proxy" }}
- {name: {{ . }}, value: {{ $url | quote }}}
{{- end }}
{{- $direct := include "backstay.direct" . | fromJsonArray -}}
{{- $listed := join "," $direct -}}
{{- if has ".svc" $direct -}}{{- $listed = printf "%s,$(KUBERNETES_SERVICE_HOST)" $listed -}}{{- end }}
- {name: NO_PROXY, value: {{ $listed | quote }}}
- {name: no_proxy, value: {{ $listed | quote }}}
- {name: NODE_USE_ENV_PROXY, value: "1"}
{{- range $of := list "http" "https" -}}
{{- $java = append $java (printf "-D%s.proxyHost=%s -D%s.proxyPort=%s" $of $host $of $port) -}}
{{- end -}}
{{- $hosts := list -}}
{{- range $direct -}}
{{- $hosts = append $hosts (hasPrefix "." . | ternary (printf "*%s" .) (contains ":" . | ternary (printf "[%s]" .) .)) -}}
{{- end -}}
{{- $java = append $java (printf "-Dhttp.nonProxyHosts=%s" (join "|" $hosts)) -}}
{{- end -}}
{{- if $intercepts -}}
{{- $java = append $java (printf "-Djavax.net.ssl.trustStore=%s/ca-bundle.p12" $trust) -}}
{{- end -}}
{{- if $java }}
- {name: JAVA_TOOL_OPTIONS, value: {{ join " " $java | replace "$(" "$$(" | quote }}}
{{- end -}}
{{- if $intercepts -}}
{{- range list "SSL_CERT_FILE" "REQUESTS_CA_BUNDLE" "CURL_CA_BUNDLE" "AWS_CA_BUNDLE" "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH" "HTTPLIB2_CA_CERTS" "GIT_SSL_CAINFO" }}
- {name: {{ . }}, value: {{ printf "%s/ca-bundle.crt" $trust | quote }}}
{{- end }}
{{- range list "NODE_EXTRA_CA_CERTS" "DENO_CERT" }}
- {name: {{ . }}, value: {{ printf "%s/ca.crt" $trust | quote }}}
{{- end }}
- {name: SYSTEM_WGETRC, value: {{ printf "%s/wgetrc" $trust | quote }}}
{{- end -}}
{{- if .Values.shims -}}
{{- $shims := include "backstay.shimsDir" . -}}
{{- if $intercepts }}
- {name: BACKSTAY_CA, value: {{ printf "%s/ca.crt" $trust | quote }}}
{{- end }}
- {name: PYTHONPATH, value: {{ $shims | quote }}}
{{- $node := printf "%s/backstay.cjs" $shims }}
- {name: NODE_OPTIONS, value: {{ contains " " $node | ternary (quote $node) $node | printf "--require %s" | quote }}}
{{- end -}}
{{- end -}}

{{/* Where the agent finds listen.agent. */}}
{{- define "backstay.agentHost" -}}
{{- include "backstay.hostInPod" .Values.config.listen.agent -}}
{{- end -}}

{{/* What agents call directly, as a JSON list. The cluster's names are not in it if one of them is an api's. */}}
{{- define "backstay.direct" -}}
{{- $direct := list "localhost" "127.0.0.1" "::1" (include "backstay.agentHost" .) -}}
{{- if eq (dig "private_networks" "auto" (.Values.config.egress | default dict)) "auto" -}}
{{- $hosts := list -}}
{{- range .Values.config.apis -}}
{{- $hosts = append $hosts (include "backstay.hostOf" (toString .url)) -}}
{{- range .hosts -}}{{- $hosts = append $hosts (lower .) -}}{{- end -}}
{{- end -}}
{{- range $suffix := list ".svc" ".cluster.local" -}}
{{- $taken := false -}}
{{- range $hosts -}}{{- if hasSuffix $suffix . -}}{{- $taken = true -}}{{- end -}}{{- end -}}
{{- if not $taken -}}{{- $direct = append $direct $suffix -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $direct | uniq | toJson -}}
{{- end -}}

{{- define "backstay.hostOf" -}}
{{- regexReplaceAll "^[A-Za-z]+://([^/:?#]*).*$" . "${1}" | lower -}}
{{- end -}}
