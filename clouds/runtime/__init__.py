"""What a command needs of its process, whatever it does.

Modules, in reading order: `startup` (TensorFlow, logging, worker processes),
`interrupts` (Ctrl-C), `progress` (bars), `files` (free space), `locks`.
"""
