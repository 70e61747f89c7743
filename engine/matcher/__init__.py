"""Candidates, scores, offers: from an open booking to a worker's yes."""
