#!/bin/sh
# Prints the rules of deploy/monitoring for the Prometheus Operator: `sh deploy/kubernetes/rules.sh | kubectl apply -f -`.
# The label `release` has the name of the Helm release of kube-prometheus-stack.
set -eu
for name in records alerts; do
  cat <<RULE
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: natscribe-$name, namespace: monitoring, labels: {release: prometheus}}
spec:
RULE
  sed 's/^/  /' "$(dirname "$0")/../monitoring/$name.yml"
done
