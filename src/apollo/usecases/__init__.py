"""Use-cases ACT. One verb per file: read, ask the core, write, commit.

One transaction per step and no network inside it; a use-case never loops over queries. Each takes
what it needs as arguments (`Database`, `Clock`, the caller), so that tests can hand in their own.
"""
