"""Engine.IO 4 on aiohttp: packets, sessions, heartbeats; what they mean is the handlers' business."""
