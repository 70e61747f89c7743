"""From what other processes tell to what each client has been sent: every event once, in order, gaps closed."""
