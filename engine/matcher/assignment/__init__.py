"""Who goes where when many bookings are open at once: one exact matching instead of one choice after the other."""
