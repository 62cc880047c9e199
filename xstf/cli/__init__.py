"""The command line: arguments in, files, tables and pictures out.

It may import all of xstf, and nothing of xstf imports it. It knows argparse and the terminal; what
happens to cubes is the work of the verbs.
"""
