"""What two processes must agree on, and nothing else: messages, lanes, catalog, errors, settings, clock, vocabulary.

Nothing here talks to a cloud or to a person. The other folders import this one; it imports none of them.
"""
