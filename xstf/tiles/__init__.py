"""How images are computed: jobs, tiles with halos, engines, samples of whole images.

A job (`job`) says what a tile is made of; `run` makes its tiles in threads or hands it to dask
(`lazy`), where tiles lie and what they see is in `geometry`. Whole images are looked at in few
places (`samples`) and known to tiles by `states`; `regrid` brings images to another grid.
The one folder that knows dask. It may import the records, `cubes/` and `numerics/`; it knows no
verb, label or single method.
"""
