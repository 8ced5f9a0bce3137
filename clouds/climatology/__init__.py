"""Climatologies: how often each pattern covers each cell of a grid in degrees.

In reading order: `cells` (the grid), `scenes` (maps read from files), `frequencies`
(daily sums, means and intervals), `dataset` (the NetCDF file), `trajectories`
(values along the course of a ship), `climatology` (the command `bin/climatology`).
"""
