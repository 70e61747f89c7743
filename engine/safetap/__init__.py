"""The silent alarm: trigger, incident, policy, escalation. Postgres only."""
