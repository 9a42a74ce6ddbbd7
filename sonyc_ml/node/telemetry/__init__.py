"""Telemetry: metrics for Prometheus, messages over MQTT."""
