"""TIMS as an older installation has it: the same books and rules as `sandbox.tims`, behind another face.

Its words are written down here by hand and know nothing of the adaptation by which Crossdock speaks to it.
"""
