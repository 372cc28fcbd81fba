"""Speaks jambonz's REST API and reads its status webhooks; RotaryRouter speaks the same.

`driver` owns the wire, `calls` the shapes sent and read, `answers` what a refusal means,
`webhooks` signatures and status events. What jambonz does stands in the comments as recorded
against release 0.9; unknown fields are accepted everywhere and only documented ones are sent.
"""

from apollo.telephony.jambonz.driver import JambonzDriver

__all__ = ["JambonzDriver"]
