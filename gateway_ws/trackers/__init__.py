"""Stock phone trackers: one module an app that reads its requests, and the door that takes them."""
