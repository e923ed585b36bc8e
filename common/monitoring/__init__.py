"""What both sides are watched by: figures for Prometheus and gRPC health, on the loopback address alone."""
