"""Where and when an image was taken.

Modules, in reading order: `places` (the place of each image), `names` (what a file's
name says), `rasters` (GeoTIFF tags and world files), `tables` (a csv of places),
`cf` (variables of maps, after the CF conventions), `netcdf`, `zarr_store` with
`zarr_files`, `geotiff` and `geoparquet` (writers), `packages` (optional ones).
"""
