{{/* Names and labels. */}}
{{- define "attune.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "attune.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "attune.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "attune.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "attune.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{ include "attune.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "attune.selector" -}}
app.kubernetes.io/name: {{ include "attune.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What selects the pods of a role. Takes root and role. */}}
{{- define "attune.roleSelector" -}}
{{ include "attune.selector" .root }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{/* The job that a role's metrics belong to: alerts go by these names. Takes a role. */}}
{{- define "attune.job" -}}
{{- if has . (list "api" "exporter") -}}attune-{{ . }}{{- else -}}attune-worker{{- end -}}
{{- end -}}

{{- define "attune.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "attune.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "attune.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* attune.toml. */}}
{{- define "attune.toml" -}}
{{- $_ := required "settings.kafka.bootstrap must be given: host:port of a broker" .Values.settings.kafka.bootstrap -}}
{{ toToml .Values.settings }}
{{- end -}}

{{- define "attune.tomlChecksum" -}}
checksum/settings: {{ include "attune.toml" . | sha256sum }}
{{- end -}}

{{/* A variable from a Secret. Takes variable, name, key and what to say where no name was given. */}}
{{- define "attune.fromSecret" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef: {name: {{ required .missing .name | quote }}, key: {{ .key | quote }}}
{{- end -}}

{{/* The user of a role at Kafka, and the password. Takes root and user. */}}
{{- define "attune.kafkaUser" -}}
{{- $users := .root.Values.kafka.users -}}
{{- if $users.enabled }}
- name: ATTUNE_KAFKA__SASL_USERNAME
  value: {{ printf "%s%s" $users.prefix .user | quote }}
{{ include "attune.fromSecret" (dict "variable" "ATTUNE_KAFKA__SASL_PASSWORD" "name" (printf "%s%s" $users.prefix .user) "key" $users.passwordKey "missing" "kafka.users.prefix is empty") }}
{{- end }}
{{- if .root.Values.kafka.caSecret.name }}
- name: ATTUNE_KAFKA__SSL_CAFILE
  value: /etc/attune/kafka-ca/ca.crt
{{- end }}
{{- end -}}

{{/* The container's fixed part of the environment. */}}
{{- define "attune.environment" -}}
- name: ATTUNE_SETTINGS_FILE
  value: /etc/attune/settings/attune.toml
- name: ATTUNE_HOME
  value: /var/lib/attune
{{- end -}}

{{- define "attune.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "attune.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "attune.volumeMounts" -}}
- {name: settings, mountPath: /etc/attune/settings, readOnly: true}
- {name: home, mountPath: /var/lib/attune}
- {name: tmp, mountPath: /tmp}
{{- if .Values.kafka.caSecret.name }}
- {name: kafka-ca, mountPath: /etc/attune/kafka-ca, readOnly: true}
{{- end }}
{{- end -}}

{{/* Takes root and the name of the ConfigMap. */}}
{{- define "attune.volumes" -}}
- name: settings
  configMap: {name: {{ .configMap }}}
- name: home
  emptyDir: {sizeLimit: 64Mi}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{- with .root.Values.kafka.caSecret }}
{{- if .name }}
- name: kafka-ca
  secret:
    secretName: {{ .name }}
    items: [{key: {{ .key }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- end -}}
