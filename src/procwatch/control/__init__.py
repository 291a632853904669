"""How others talk to a running procwatch: the messages, where its socket is, and the client. Standard library only."""
