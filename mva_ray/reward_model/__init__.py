"""A reward model made of preference pairs, for a value that has none: trained, judged, and written for `reward:`."""
