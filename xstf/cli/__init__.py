"""The command line: arguments in, files, tables and pictures out.

`main` is the parser; each command's arguments and its function stand together in `verbs`, `train`,
`evaluate` and `demo`. It may import all of xstf, and nothing of xstf imports it. It knows argparse
and the terminal; what is done to cubes is the work of the verbs.
"""
