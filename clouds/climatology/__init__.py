"""Climatologies: how often each pattern covers each cell of a grid in degrees.

In reading order: `cells` (the grid), `scenes` (maps read from files), `frequencies`
(daily sums, means and intervals), `dataset` (the NetCDF file), `tracks` (values along
a track), `climatology` (the command `bin/climatology`).
"""
