"""Dials: one package for each kind of provider, each a `ports.TelephonyDriver`.

Vendor knowledge ends here. A driver reports what the provider did; it never decides whether to
call, never repeats a request, and knows nothing of campaigns or of the database.
"""
