"""The Socket.IO side of the gateway: three namespaces on our own Engine.IO server."""
