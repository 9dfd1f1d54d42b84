"""The machine underneath: logs, clocks, files, networks, processes, systemd."""
