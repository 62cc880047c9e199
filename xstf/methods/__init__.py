"""The methods: one file or folder each, found by their place; no list is kept anywhere.

A method may import its record's types, `numerics/`, `weights/` (networks) and other methods of its
task. It sees plain arrays alone, and knows no labels, tiles or files.
"""
