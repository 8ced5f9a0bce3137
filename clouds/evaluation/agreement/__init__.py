"""How far people, and a network, agree on the patterns of images.

Modules, in reading order: `agree` (the command), `overlap` (the intersection over union
of two masks, and its means).
"""
