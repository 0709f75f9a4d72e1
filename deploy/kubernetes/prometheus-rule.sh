#!/usr/bin/env bash
# Prints base/prometheus-rule.yaml, which is ../prometheus/alerts.yml for the Prometheus operator:
#   deploy/kubernetes/prometheus-rule.sh > deploy/kubernetes/base/prometheus-rule.yaml
# A test keeps the two the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
cat <<'HEAD'
# Made from deploy/prometheus/alerts.yml by prometheus-rule.sh: change that, not this.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: asset-eraser
  labels: { app.kubernetes.io/name: asset-eraser }
spec:
HEAD
sed -n '/^groups:/,$ s/^\(.\)/  \1/p; /^groups:/,$ s/^$//p' ../prometheus/alerts.yml
