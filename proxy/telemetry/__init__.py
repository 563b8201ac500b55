"""What Backstay says about itself: metrics, log lines, access log.

Every part of the data plane writes here; only ``admin`` and ``app`` read.
"""
