{{- define "almanac.labels" -}}
app.kubernetes.io/name: almanac
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* What an ingress leads to. */}}
{{- define "almanac.front" -}}
{{ ternary "gateway" "server" .Values.gateway.enabled }}
{{- end }}

{{/* Where servers and vLLM see the adapters of answerers: `cache/answerers` of a home; empty where they share none. */}}
{{- define "almanac.adapters" -}}
{{- if and .Values.vllm.enabled .Values.vllm.adapters.enabled }}/var/lib/almanac/cache/answerers{{ end }}
{{- end }}

{{- define "almanac.adaptersVolume" -}}
- name: adapters
  persistentVolumeClaim: {claimName: {{ .Values.vllm.adapters.claimName | default (printf "%s-adapters" .Release.Name) }}}
{{- end }}

{{- define "almanac.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "almanac.environment" -}}
- name: ALMANAC_STORE
  value: {{ required "store must be set, as s3://bucket/almanac" .Values.store | quote }}
{{- if .Values.mlflow.enabled }}
- name: MLFLOW_TRACKING_URI
  value: http://{{ .Release.Name }}-mlflow:5000
{{- end }}
{{- if .Values.prefect.enabled }}
- name: PREFECT_API_URL
  value: http://{{ .Release.Name }}-prefect:4200/api
{{- end }}
{{- range $name, $value := .Values.environment }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "almanac.pod" -}}
serviceAccountName: {{ .Release.Name }}
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "almanac.container" -}}
image: {{ include "almanac.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* The home of a pod holds caches and work: a pod that is gone loses nothing. */}}
{{- define "almanac.mounts" -}}
- {name: home, mountPath: /var/lib/almanac}
- {name: tmp, mountPath: /tmp}
{{- if .Values.params }}
- {name: params, mountPath: /etc/almanac, readOnly: true}
{{- end }}
{{- end }}

{{- define "almanac.volumes" -}}
- {name: home, emptyDir: {}}
- {name: tmp, emptyDir: {}}
{{- if .Values.params }}
- name: params
  configMap: {name: {{ .Release.Name }}-params}
{{- end }}
{{- end }}
