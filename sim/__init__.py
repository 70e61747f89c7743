"""A stranger's client of the public protocol, and a city full of people who use it."""
