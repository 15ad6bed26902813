{{/*
A role's pod. Takes root, role, args and, where they differ from a worker's: live and ready (path and port of the probes),
user (its user at Kafka; empty: none), redis and privacy (whether it is given the URL of Redis and the secret of
identifiers), port (where it serves HTTP), environment (further variables, YAML), surge.
*/}}
{{- define "attune.pod" -}}
{{- $values := index .root.Values .role -}}
metadata:
  labels:
    {{- include "attune.roleSelector" . | nindent 4 }}
    attune.io/job: {{ include "attune.job" .role }}
    {{- with .root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- include "attune.tomlChecksum" .root | nindent 4 }}
    {{- with .root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "attune.serviceAccount" .root }}
  automountServiceAccountToken: false
  # Kubernetes would otherwise add variables ATTUNE_..._PORT, and Attune refuses settings that it does not know.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .root.Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "attune.podSecurity" .root | nindent 4 }}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .root.Values.topologySpread.enabled }}
  topologySpreadConstraints:
    {{- $role := . }}
    {{- range .root.Values.topologySpread.keys }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "attune.roleSelector" $role | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .role }}
      image: {{ include "attune.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      env:
        {{- include "attune.environment" .root | nindent 8 }}
        - name: ATTUNE_METRICS__HOST
          value: 0.0.0.0
        - name: ATTUNE_METRICS__PORT
          value: "9400"
        {{- if .user }}
        {{- include "attune.kafkaUser" (dict "root" .root "user" .user) | trim | nindent 8 }}
        {{- end }}
        {{- if .redis }}
        {{- with .root.Values.redis.existingSecret }}
        {{- include "attune.fromSecret" (dict "variable" "ATTUNE_REDIS__URL" "name" .name "key" .key "missing" "redis.existingSecret.name must be given: a Secret with the URL of Redis") | nindent 8 }}
        {{- end }}
        {{- end }}
        {{- if .privacy }}
        {{- with .root.Values.privacy.existingSecret }}
        {{- include "attune.fromSecret" (dict "variable" "ATTUNE_PRIVACY__SECRET" "name" .name "key" .key "missing" "privacy.existingSecret.name must be given: a Secret with at least 32 characters") | nindent 8 }}
        {{- end }}
        {{- end }}
        {{- with .environment }}
        {{- . | nindent 8 }}
        {{- end }}
      ports:
        - {name: metrics, containerPort: 9400}
        {{- with .port }}
        - {name: http, containerPort: {{ . }}}
        {{- end }}
      # Until the process answers. That clients connect or states are restored, /readyz says, and delays nothing here.
      startupProbe:
        httpGet: {{ toJson (default (dict "path" "/metrics" "port" "metrics") .live) }}
        periodSeconds: 3
        timeoutSeconds: 3
        failureThreshold: 60
      # That the process answers, not that its group advances: what waits for a broker heals in place, and a restart
      # would cost a rebalance. Whoever cannot go on ends by itself; a group that stands still is an alert.
      livenessProbe:
        httpGet: {{ toJson (default (dict "path" "/metrics" "port" "metrics") .live) }}
        periodSeconds: 15
        timeoutSeconds: 5
        failureThreshold: 4
      readinessProbe:
        httpGet: {{ toJson (default (dict "path" "/readyz" "port" "metrics") .ready) }}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 3
      {{- if .port }}
      # Endpoints learn a moment later that this pod goes.
      lifecycle:
        preStop:
          sleep: {seconds: 5}
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        {{- include "attune.containerSecurity" .root | nindent 8 }}
      volumeMounts:
        {{- include "attune.volumeMounts" .root | nindent 8 }}
  volumes:
    {{- include "attune.volumes" (dict "root" .root "configMap" (include "attune.fullname" .root)) | nindent 4 }}
{{- end -}}

{{/* Name and labels of what belongs to a role. Takes root and role. */}}
{{- define "attune.roleMetadata" -}}
name: {{ include "attune.fullname" .root }}-{{ .role }}
labels:
  {{- include "attune.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{/* How many, unless KEDA says it: more than partitions would have nothing to do. Takes root and role. */}}
{{- define "attune.replicas" -}}
{{- $values := index .root.Values .role -}}
{{- $scaling := default dict $values.scaling -}}
{{- $replicas := int (default 1 $values.replicas) -}}
{{- if and (hasKey $values "scaling") (gt $replicas (int .root.Values.partitions)) -}}
{{- fail (printf "%s.replicas is %d, but there are %d partitions: the others would have nothing to do" .role $replicas (int .root.Values.partitions)) -}}
{{- end -}}
{{- if not $scaling.enabled }}
replicas: {{ $replicas }}
{{- end -}}
{{- end -}}

{{/* A role without a name of its own. `surge`: whether a new pod comes before an old one goes. */}}
{{- define "attune.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "attune.roleMetadata" . | nindent 2 }}
spec:
  {{- include "attune.replicas" . | nindent 2 }}
  # For a group each pod that comes or goes is a rebalance: one goes, one comes.
  strategy:
    type: RollingUpdate
    rollingUpdate: {{ if .surge }}{maxSurge: 1, maxUnavailable: 0}{{ else }}{maxSurge: 0, maxUnavailable: 1}{{ end }}
  selector:
    matchLabels:
      {{- include "attune.roleSelector" . | nindent 6 }}
  template:
    {{- include "attune.pod" . | nindent 4 }}
{{- end -}}
