"""What verbs and training read: cubes on one frame, their dates, pairs, nested grids, guides.

One record a verb comes out. It may import `tiles/`, `methods/` and what is below them; it knows no
verb and no training.
"""
