"""Raw websockets: the thin connection of a phone, its frames, and how they are read without a task."""
