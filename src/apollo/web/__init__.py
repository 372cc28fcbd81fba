"""LISTENS. HTTP in, use-cases called, HTTP out. No rule about calling people lives here."""
