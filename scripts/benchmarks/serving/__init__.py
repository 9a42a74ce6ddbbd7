"""The service over HTTP: predictions beside bare calls, and beside a service as they are often written."""
