"""A client of the public protocol, written from `docs/protocol.md` alone."""
