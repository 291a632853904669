"""Do what the core decided: processes, files, sockets, time."""
