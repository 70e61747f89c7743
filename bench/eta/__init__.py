"""Travel times: our road graph beside Dijkstra and other routers, and beside real trips."""
