{{/* Base name of the objects: at most 63 characters, the limit of a label's value. */}}
{{- define "vaultsync.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "vaultsync.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "vaultsync.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* The full name with a suffix, the whole within 63 characters: list . "tokens" */}}
{{- define "vaultsync.suffixed" -}}
{{- $suffix := index . 1 }}
{{- $room := int (sub 62 (len $suffix)) }}
{{- printf "%s-%s" (include "vaultsync.fullname" (index . 0) | trunc $room | trimSuffix "-") $suffix }}
{{- end }}

{{- define "vaultsync.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "vaultsync.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed with serviceAccount.create=false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The name under which the API server knows the operator. */}}
{{- define "vaultsync.username" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "vaultsync.serviceAccountName" . }}
{{- end }}

{{- define "vaultsync.selectorLabels" -}}
app.kubernetes.io/name: {{ include "vaultsync.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Labels of every object. The chart's own win over commonLabels: no key is ever rendered twice. */}}
{{- define "vaultsync.labels" -}}
{{- $own := include "vaultsync.selectorLabels" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" (.Chart.AppVersion | toString) }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- merge $own .Values.commonLabels | toYaml }}
{{- end }}

{{- define "vaultsync.podLabels" -}}
{{- $own := include "vaultsync.selectorLabels" . | fromYaml }}
{{- if .Values.azure.workloadIdentity.enabled }}
{{- $_ := set $own "azure.workload.identity/use" "true" }}
{{- end }}
{{- merge $own .Values.podLabels .Values.commonLabels | toYaml }}
{{- end }}

{{- define "vaultsync.serviceAccountAnnotations" -}}
{{- $own := dict }}
{{- with .Values.azure.workloadIdentity }}
{{- if .enabled }}
{{- $client := required "azure.workloadIdentity.clientId is needed with azure.workloadIdentity.enabled=true and serviceAccount.create=true" .clientId }}
{{- $_ := set $own "azure.workload.identity/client-id" $client }}
{{- with .tenantId }}
{{- $_ := set $own "azure.workload.identity/tenant-id" . }}
{{- end }}
{{- end }}
{{- end }}
{{- merge $own .Values.serviceAccount.annotations | toYaml }}
{{- end }}

{{/* An identity is injected when a pod is created: other annotations of its ServiceAccount need another pod. */}}
{{- define "vaultsync.podAnnotations" -}}
{{- $own := dict }}
{{- if and .Values.azure.workloadIdentity.enabled .Values.serviceAccount.create }}
{{- $_ := set $own "vaultsync.dev/service-account-checksum" (include "vaultsync.serviceAccountAnnotations" . | sha256sum) }}
{{- end }}
{{- merge $own .Values.podAnnotations | toYaml }}
{{- end }}

{{- define "vaultsync.image" -}}
{{- $name := .Values.image.repository }}
{{- if .Values.image.registry }}
{{- $name = printf "%s/%s" .Values.image.registry $name }}
{{- end }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $name .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "vaultsync.topologySpreadConstraints" -}}
{{- $pods := dict "matchLabels" (include "vaultsync.selectorLabels" . | fromYaml) }}
{{- $all := list }}
{{- range .Values.topologySpreadConstraints }}
{{- $all = append $all (hasKey . "labelSelector" | ternary . (merge (dict "labelSelector" $pods) .)) }}
{{- end }}
{{- toYaml $all }}
{{- end }}

{{- define "vaultsync.port" -}}
{{- regexFind "[0-9]+$" .Values.settings.listen }}
{{- end }}

{{/*
The container's environment, each name once: server-side apply refuses a list with two equal keys.
*/}}
{{- define "vaultsync.env" -}}
{{- $s := .Values.settings }}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: VAULTSYNC_LEASE_NAME
  value: {{ include "vaultsync.fullname" . }}
- name: VAULTSYNC_LISTEN
  value: {{ $s.listen | quote }}
- name: VAULTSYNC_LOG_FORMAT
  value: {{ $s.logFormat | quote }}
- name: VAULTSYNC_LOG_LEVEL
  value: {{ $s.logLevel | quote }}
{{- with $s.watchNamespaces }}
- name: VAULTSYNC_WATCH_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
- name: VAULTSYNC_SECRETS_POLICY
  value: {{ ternary (include "vaultsync.suffixed" (list . "secrets")) "" .Values.policies.enabled | quote }}
- name: VAULTSYNC_SECRET_ACCESS
  value: {{ .Values.rbac.secrets | quote }}
- name: VAULTSYNC_DRIFT_INTERVAL
  value: {{ $s.driftInterval | quote }}
- name: VAULTSYNC_DRIFT_PROBES_PER_SECOND
  value: {{ $s.driftProbesPerSecond | int | quote }}
{{- with $s.staleAfter }}
- name: VAULTSYNC_STALE_AFTER
  value: {{ . | quote }}
{{- end }}
- name: VAULTSYNC_EXPIRING_BEFORE
  value: {{ $s.expiringBefore | quote }}
- name: VAULTSYNC_EXPIRY_METRICS
  value: {{ $s.expiryMetrics | quote }}
- name: VAULTSYNC_MAX_REQUESTS_PER_SECOND
  value: {{ $s.maxRequestsPerSecond | int | quote }}
- name: VAULTSYNC_MIN_REFRESH_INTERVAL
  value: {{ $s.minRefreshInterval | quote }}
- name: VAULTSYNC_NAMESPACE_SELECTORS
  value: {{ $s.namespaceSelectors | quote }}
{{- if .Values.credentials.secret }}
- name: VAULTSYNC_CREDENTIALS_DIR
  value: /etc/vaultsync/credentials
{{- end }}
- name: VAULTSYNC_MAX_CONNECTIONS_PER_NAMESPACE
  value: {{ $s.maxConnectionsPerNamespace | int | quote }}
- name: VAULTSYNC_ROLLOUTS
  value: {{ .Values.rollouts.enabled | quote }}
- name: VAULTSYNC_ROLLOUTS_PER_MINUTE
  value: {{ $s.rolloutsPerMinute | int | quote }}
{{- if and .Values.proxy.https .Values.proxy.secret }}
{{- fail "proxy.https and proxy.secret both name the proxy; set one of them" }}
{{- end }}
{{- with .Values.proxy.https }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with .Values.proxy.secret }}
- name: HTTPS_PROXY
  valueFrom:
    secretKeyRef:
      name: {{ . | quote }}
      key: {{ $.Values.proxy.key | quote }}
{{- end }}
{{- if or .Values.proxy.https .Values.proxy.secret .Values.proxy.noProxy }}
- name: NO_PROXY
  # The kubelet fills in the API server's address.
  value: {{ list "$(KUBERNETES_SERVICE_HOST)" "kubernetes.default.svc" .Values.proxy.noProxy | compact | join "," | quote }}
{{- end }}
{{- if .Values.caBundle.configMap }}
- name: SSL_CERT_FILE
  value: {{ printf "/etc/vaultsync/ca/%s" .Values.caBundle.key | quote }}
{{- end }}
{{- end }}

{{- define "vaultsync.allEnv" -}}
{{- $own := include "vaultsync.env" . }}
{{- $names := list }}
{{- range $own | fromYamlArray }}{{ $names = append $names .name }}{{ end }}
{{- if .Values.azure.workloadIdentity.enabled }}
{{- /* The webhook leaves alone what is there. */}}
{{- $names = concat $names (list "AZURE_CLIENT_ID" "AZURE_TENANT_ID" "AZURE_FEDERATED_TOKEN_FILE" "AZURE_AUTHORITY_HOST") }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if has (upper .name) (list "HTTPS_PROXY" "HTTP_PROXY" "ALL_PROXY" "NO_PROXY") }}
{{- fail (printf "extraEnv: %s is for proxy.https or proxy.secret, and proxy.noProxy, which except the API server; HTTP_PROXY and ALL_PROXY are not read" .name) }}
{{- end }}
{{- if has .name $names }}
{{- fail (printf "extraEnv: %s is set twice; the chart's own variables have values of their own, see values.yaml" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- trim $own }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
