"""Arrays in, arrays out: flow, motion boundaries, block statistics and labels, without files, Dask or Zarr."""
