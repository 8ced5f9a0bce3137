"""The process of a command, whatever the command does.

Modules, in reading order: `startup` (TensorFlow, logging), `interrupts` (Ctrl-C),
`progress` (bars), `pool` (worker processes), `files` (atomic writes, locks, free
space), `checksums` (of files that the package reads again), `json_types`.
"""
