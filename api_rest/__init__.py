"""The thin REST layer and the built web pages."""
