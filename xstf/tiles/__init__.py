"""How images are computed: tiles with halos, engines, samples of whole images.

The one folder that knows dask. It may import the records, `cubes/` and `numerics/`; it knows no
verb, label or single method.
"""
