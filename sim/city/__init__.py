"""A synthetic city: streets, routes, and people who move along them. Knows no network."""
