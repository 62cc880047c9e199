"""The verbs: read, align, run a method over tiles, label. `pipeline` has the steps that all share.

They may import all but the accessor, `evaluate/` and the command line.
"""
