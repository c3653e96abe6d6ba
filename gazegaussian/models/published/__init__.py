"""The variant `released`: what the released code does and a released checkpoint needs, where it differs from the default.

Subclasses of our models that override single steps. Numbers in `design.md`, examples in the published fixtures.
"""
