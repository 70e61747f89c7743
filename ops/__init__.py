"""What every process root shares: logs, signals, health, readiness, metrics."""
