"""dinp serve: the server, its connections and ports, its certificate, its log and its metrics."""
