"""The people of the city: workers, customers, and what they do with their phones."""
