"""Settings and fixtures of the whole suite.

Property tests draw the same examples every time and have no deadline, so that a slow machine changes no result. There is one
server for gs://, because a process keeps one client for one address.
"""

import hypothesis

from tests.engines.gcs_server import gcs_bucket

__all__ = ["gcs_bucket"]

hypothesis.settings.register_profile("stable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("stable")
