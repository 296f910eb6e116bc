"""The commands of `h2o`, one module each, and the parts that they share.

Modules here import only click and the standard library at their top, so that `h2o --help` is
quick; everything heavier is imported inside the function that needs it.
"""
