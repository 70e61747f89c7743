"""SafeTap's figures: alarms on their way, with the gateway drowning, Postgres gone, and forgers at the door."""
