"""Accounts, roles, passwords, tokens, duty."""
