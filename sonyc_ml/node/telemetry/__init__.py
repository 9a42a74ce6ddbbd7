"""What a node tells other machines: metrics for Prometheus, messages over MQTT."""
