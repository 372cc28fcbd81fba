"""The only package that knows every concrete class: settings into parts, parts into processes.

Each process has its file and loads only what it runs, so nothing is imported here. It must hold no
rule: what it does is name things and put them together.
"""
