"""The contract between service and clients: NATS subjects, headers and messages.

Fields have the same names in Python and in JSON.
"""
